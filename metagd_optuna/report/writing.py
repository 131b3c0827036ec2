"""Writing a report's three files so that a failure leaves the old ones as they were."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from metagd_optuna.contracts import MetaGDError
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
    staged: list[tuple[Path, Path]] = []
    target = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            target = folder / name
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            staged.append((_staged(text, target), target))
        for temporary, target in staged:
            temporary.replace(target)
    except OSError as error:
        raise MetaGDError(
            f"cannot write {target}: {error.strerror or error}; what was there before is unchanged. "
            "Free some space, or name a folder that you may write to with --out"
        ) from error
    finally:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)
    return folder / "index.html"


def _staged(text: str, target: Path) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        # A path that is no valid UTF-8 reaches us as lone surrogates; as escapes they are still valid JSON.
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner may read; a report is for others too.
        temporary.chmod(0o644)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
