"""The five tables that users and their packages may add to: names, repeats, what is not there, and plugins."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import own_forms
import pytest
from own_forms import BASELINE, ROOT, TABLES, WEAKEST

from metagd_optuna import (
    MetaPolicy,
    register_baseline,
    register_difficulty_form,
    register_optimizer,
    register_rate_form,
    register_reader,
)
from metagd_optuna.contracts import MetaGDError, MetaGDWarning
from metagd_optuna.policy import BASELINES, DIFFICULTY_FORMS, OPTIMIZERS, InitialPoint, propose_meta_policy
from metagd_optuna.policy.controls import replay_candidate
from metagd_optuna.tasks.readers.registry import READERS, task_name
from metagd_optuna.tuning.methods import methods_of
from metagd_optuna.tuning.study_file import StudySpec

POWER = {"lr0": 1e-2, "a": 0.0, "b": 0.0}


@pytest.fixture(autouse=True)
def _tables(monkeypatch):
    own_forms.forget_afterwards(monkeypatch)


# For each of the five tables: how a row is registered under a name, which row, and how it may be made anew.
KINDS = {
    "difficulty form": (register_difficulty_form, WEAKEST),
    "rate form": (register_rate_form, ROOT),
    "baseline": (lambda name, row: register_baseline(row), BASELINE),
    "optimizer": (lambda name, row: register_optimizer(row), own_forms.OPTIMIZER),
    "reader": (lambda name, row: register_reader(row), own_forms.READER),
}


def named(row, name):
    """Return a copy of a row, with that name if it carries one."""
    return replace(row, name=name) if hasattr(row, "name") else replace(row)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["", "a" * 101, "My-form", "my form", "my-form\n", "-a", "a--b", "1a", "a.b", "ä", 3])
def test_a_name_that_cannot_be_is_refused_alike(kind, name):
    add, row = KINDS[kind]
    with pytest.raises(MetaGDError, match=f"^the name of the {kind} is .*; give small letters .* up to 100 characters"):
        add(name, named(row, name))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_row_may_be_registered_again_and_another_one_not(kind):
    add, row = KINDS[kind]
    name = ("a-1" * 34)[:100]
    mine = named(row, name)
    if kind == "baseline":
        mine = replace(mine, initial_points=())
    add(name, mine)
    add(name, mine)
    [table] = [table for table in TABLES if name in table]
    assert table[name] is mine
    with pytest.raises(MetaGDError, match=r"is taken; give yours another; to replace the one .*, start Python anew$"):
        add(name, named(row, name))
    own = next(iter(table))
    with pytest.raises(MetaGDError, match=f"^the name '{own}' of the {kind} is taken; give yours another$"):
        add(own, named(row, own))
    assert table[name] is mine


@pytest.mark.parametrize(
    "use",
    [
        lambda: MetaPolicy("own-sdg", "power", POWER, "gap"),
        lambda: MetaPolicy.from_params({"optimizer": "own-sdg", "g": "article", "f": "gap"}),
        lambda: propose_meta_policy(None, difficulty_forms=("gap",), rate_forms=("power",), optimizers=("own-sdg",)),
        lambda: StudySpec(name="x", tasks=("breast_cancer",), optimizers=("own-sdg",)),
        lambda: replay_candidate([1e-3], "own-sdg"),
        lambda: register_baseline(replace(BASELINE, optimizer="own-sdg")),
        lambda: register_rate_form("mine", replace(ROOT, initial=(InitialPoint("own-sdg", {}),))),
    ],
)
def test_an_optimizer_that_is_not_here_is_refused_with_what_to_do(use):
    register_optimizer(own_forms.OPTIMIZER)
    with pytest.raises(MetaGDError) as caught:
        use()
    said = str(caught.value)
    assert "'own-sdg'" in said
    assert re.search(r"[Dd]id you mean 'own-sgd'\?", said)
    assert said.endswith(
        "If a package brings the optimizer, install it; if it is your own, call register_optimizer() first"
    )


def plugin(folder, code):
    """Install a package with one module and the entry point that names its function."""
    (folder / "brought.py").write_text(code, encoding="utf-8")
    info = folder / "brought-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[metagd_optuna.forms]\nmine = brought:register\n", encoding="utf-8")


def test_a_package_brings_forms_when_they_are_asked_for(tmp_path):
    plugin(tmp_path, "from own_forms import register\n")
    program = """if True:
        import sys
        from metagd_optuna.policy import RATE_FORMS, MetaPolicy
        MetaPolicy("adam", "article", {}, "gap")
        assert "brought" not in sys.modules
        assert MetaPolicy("adam", "cuts", {"lr0": 0.01, "cut": 0.5}).formula
        assert "brought" in sys.modules
        assert "root" in list(RATE_FORMS)
    """
    paths = [str(tmp_path), *sys.path]
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {paths}\n{program}"], check=True)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: "weakest" in DIFFICULTY_FORMS,
        lambda: MetaPolicy("adam", "cuts", {"lr0": 0.01, "cut": 0.5}).formula,
        lambda: "linear-warmup" in list(BASELINES),
        lambda: MetaPolicy("own-sgd", "power", POWER, "gap").formula,
        lambda: OPTIMIZERS["own-sgd"],
        lambda: "own-sgd" in list(OPTIMIZERS),
        lambda: StudySpec(name="x", tasks=("breast_cancer",), optimizers=("own-sgd",)).optimizers,
        lambda: READERS["own-cells"],
        lambda: "own-cells" in list(READERS),
        lambda: task_name("a.cells.npz") == "a",
    ],
)
def test_whatever_is_asked_for_first_a_package_brings_all(ask, tmp_path, monkeypatch):
    plugin(tmp_path, "from own_forms import register_all as register\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert MetaPolicy("adam", "power", POWER, "gap").formula
    assert not any({"weakest", "cuts", "linear-warmup", "own-sgd", "own-cells"} & set(t._rows) for t in TABLES)
    assert ask()
    assert all({"weakest", "cuts", "linear-warmup", "own-sgd", "own-cells"} & set(t._rows) for t in TABLES)


def test_a_package_that_cannot_be_loaded_is_named_and_stops_nobody_else(tmp_path, monkeypatch):
    plugin(tmp_path, "import a_package_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert MetaPolicy("adam", "article", {}, "gap").formula
    problem = (
        r"the plugin 'mine' \(brought:register, .*could not be loaded: ModuleNotFoundError: .*; update or uninstall"
    )
    with pytest.warns(MetaGDWarning, match=problem):
        spec = StudySpec(name="x", tasks=("breast_cancer",), rate_forms=("power",))
    assert methods_of(spec)
    with pytest.raises(MetaGDError, match=f"rate.form is 'cuts'.*{problem}"):
        MetaPolicy("adam", "cuts", {"lr0": 0.01, "cut": 0.5})
