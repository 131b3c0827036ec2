"""The page of the suite in docs/results is what its stored runs say."""

from pathlib import Path

import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.report.markdown import markdown
from metagd_optuna.suite.page import TITLES, confirmation_blocks, exploration_blocks
from metagd_optuna.suite.runs import append, read_runs, runs_file
from metagd_optuna.suite.workloads import CONFIRM, EXPLORE, workloads_of

STORED = Path(__file__).parents[2] / "docs" / "results" / "suite"


@pytest.mark.slow
@pytest.mark.parametrize(("half", "blocks"), [(EXPLORE, exploration_blocks), (CONFIRM, confirmation_blocks)])
def test_the_page_is_written_from_the_runs(half, blocks):
    runs = {each.name: read_runs(runs_file(STORED, each.name)) for each in workloads_of(half)}
    expected = f"# {TITLES[half]}\n\n{markdown(blocks(runs))}"
    assert (STORED / f"{half}.md").read_text(encoding="utf-8") == expected


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_told():
    with pytest.raises(
        MetaGDError, match=r"^/dev/full: cannot be written \(No space left on device: the disk is full\)"
    ):
        append("{}\n", Path("/dev/full"))
