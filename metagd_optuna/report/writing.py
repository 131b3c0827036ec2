"""Writing a report's three files so that a failure leaves the old ones as they were."""

from __future__ import annotations

from pathlib import Path

from metagd_optuna.files import make_folder, write_texts
from metagd_optuna.report.document import Results
from metagd_optuna.report.json_values import json_text
from metagd_optuna.report.markdown import markdown_report
from metagd_optuna.report.page import page


def write_report(results: Results, folder: Path) -> Path:
    """Write ``results.json``, ``report.md`` and ``index.html`` into ``folder`` and return the path of the page.

    All three are written beside their places first and moved there once all of them are complete, so a disk that
    runs full or a folder that cannot be written loses nothing that was there before.

    Args:
        results: what ``build_results`` or ``merge_results`` returned.
        folder: made if it does not exist.

    Raises:
        MetaGDError: naming the path, if it cannot be written.
    """
    texts = {
        "results.json": json_text(results.model_dump()) + "\n",
        "report.md": markdown_report(results),
        "index.html": page(results),
    }
    make_folder(folder)
    write_texts({folder / name: text for name, text in texts.items()})
    return folder / "index.html"
