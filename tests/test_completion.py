"""What the shell completes on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from command_line import POLICY

from metagd_optuna.cli import metagd
from metagd_optuna.tasks.catalogue import CATALOGUE


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with two studies, one of them with its report."""
    monkeypatch.chdir(tmp_path)
    for study, task in (("first", "breastmnist"), ("second", "retinamnist")):
        folder = Path("runs", study, "policies")
        folder.mkdir(parents=True)
        POLICY.save(folder / f"{task}.json")
        (folder.parent / "optuna.db").touch()
    Path("runs", "first", "report").mkdir()
    Path("runs", "first", "report", "results.json").touch()


def completed(*words: str) -> list[tuple[str, str]]:
    """Return kind and value of what is offered for the last word."""
    *given, incomplete = words
    found = BashComplete(metagd, {}, "metagd", "_METAGD_COMPLETE").get_completions(given, incomplete)
    return [(item.type, item.value) for item in found]


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["policies", "show", "uni"], ["universal", "universal-constant"]),
        (
            ["policies", "show", "runs/"],
            ["runs/first/policies/breastmnist.json", "runs/second/policies/retinamnist.json"],
        ),
        (["tasks", "show", ""], list(CATALOGUE)),
        (["tasks", "audit", "chest"], ["chestmnist"]),
        (["recommend", "breast"], ["breast_cancer", "breastmnist"]),
        (["export", "--study", ""], ["first", "second"]),
        (["export", "--study", "second", "--task", ""], ["retinamnist"]),
        (["export", "--task", "b"], ["breastmnist"]),
        (["report", ""], ["runs/first"]),
        (["suite", "run", "explore", "--workload", "mlp-narrow_b"], ["mlp-narrow_breast_cancer_8"]),
        (["suite", "run", "explore", "--workload", "none"], []),
        (["suite", "run", "confirm", "--policy", "uni"], ["universal", "universal-constant"]),
        (["schema", ""], ["study", "policy", "results"]),
        (["pol"], ["policies"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_names_are_completed(words: list[str], names: list[str]) -> None:
    assert completed(*words) == [("plain", name) for name in names]


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["policies", "show", "./mine"], "file"),
        (["tasks", "audit", "scans"], "file"),
        (["report", "elsewhere"], "dir"),
        (["run", "studies/q"], "file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_where_no_name_begins_so_the_shell_looks_for_files(words: list[str], kind: str) -> None:
    assert completed(*words) == [(kind, words[-1])]
