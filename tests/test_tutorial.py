"""The blocks of docs/tutorial.md run one after the other, as in a notebook."""

import re
from pathlib import Path

import pytest

from metagd_optuna import load_policy

PAGE = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
# The rule that wins may have been found in trainings of another length; then the callback says so.
@pytest.mark.filterwarnings("ignore:this training has:metagd_optuna.MetaGDWarning")
def test_every_block_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = {}
    for block in BLOCKS:
        exec(compile(block, "docs/tutorial.md", "exec"), cells)
    results = cells["results"]
    assert len(BLOCKS) == 6
    assert load_policy("runs/tumours/policies/tumours.json") == cells["policy"] == results.best
    assert (tmp_path / "report" / "index.html").is_file()
    assert len(cells["history"].history["learning_rate"]) == 8
    assert capsys.readouterr().out == ""  # one bar, on standard error
