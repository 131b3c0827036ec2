"""The page of the suite in docs/results is what its stored runs say."""

from pathlib import Path

import pytest

from metagd_optuna.report.markdown import markdown
from metagd_optuna.suite.page import TITLES, exploration_blocks
from metagd_optuna.suite.runs import read_runs, runs_file
from metagd_optuna.suite.workloads import EXPLORE, workloads_of

STORED = Path(__file__).parents[2] / "docs" / "results" / "suite"


@pytest.mark.slow
def test_the_page_is_written_from_the_runs():
    runs = {each.name: read_runs(runs_file(STORED, each.name)) for each in workloads_of(EXPLORE)}
    expected = f"# {TITLES[EXPLORE]}\n\n{markdown(exploration_blocks(runs))}"
    assert (STORED / "explore.md").read_text(encoding="utf-8") == expected
