from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys

import pytest

import metagd_optuna

HEAVY = ("tensorflow", "keras", "optuna", "sklearn", "scipy", "plotly", "pooch", "rich", "click")
EXPORTED = [
    "MetaGDError",
    "MetaGDWarning",
    "MetaPolicy",
    "MetaPolicyCallback",
    "MetaPolicyObjective",
    "Optimizer",
    "PruningCallback",
    "ResumableTPESampler",
    "ScheduleFreeAdamW",
    "StudyResults",
    "UpdateRule",
    "__version__",
    "class_frequencies",
    "load_policy",
    "load_study",
    "load_task",
    "measure_complexity",
    "recalibrate_batch_norm",
    "register_baseline",
    "register_difficulty_form",
    "register_optimizer",
    "register_rate_form",
    "register_reader",
    "run_study",
    "save_average",
    "search",
    "suggest_meta_policy",
]


def loaded_after(statement: str) -> set[str]:
    """Return which heavy packages a fresh interpreter has loaded after ``statement``."""
    code = f"{statement}\nimport sys, json\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_public_names_are_these() -> None:
    assert sorted(metagd_optuna.__all__) == sorted(EXPORTED)
    assert set(EXPORTED) <= set(dir(metagd_optuna))


@pytest.mark.parametrize("name", [name for name in EXPORTED if name != "MetaPolicyCallback"])
def test_a_public_name_is_what_it_says(name: str) -> None:
    value = getattr(metagd_optuna, name)
    if name == "__version__":
        assert value == importlib.metadata.version("metagd-optuna")
    else:
        assert value.__name__ == name
        assert value.__module__.startswith("metagd_optuna.")
        assert value.__doc__


def test_the_public_name_that_loads_tensorflow_is_what_it_says() -> None:
    code = "import metagd_optuna; print(metagd_optuna.MetaPolicyCallback.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "MetaPolicyCallback\n", done.stderr


def test_an_unknown_name_is_an_attribute_error_that_lists_the_names() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'load_polcy'; its names are .*load_policy"):
        _ = metagd_optuna.load_polcy


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import metagd_optuna", set()),
        ("import metagd_optuna; metagd_optuna.__version__", set()),
        ("from metagd_optuna import MetaGDError", set()),
        ("from metagd_optuna import MetaPolicy, load_policy", set()),
        ("from metagd_optuna import load_task, measure_complexity, class_frequencies", set()),
        ("from metagd_optuna import load_study", set()),
        ("import metagd_optuna.cli", {"rich", "click"}),
        ("from metagd_optuna import StudyResults, run_study", set(HEAVY) - {"tensorflow", "keras", "click"}),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(statement: str, allowed: set[str]) -> None:
    assert loaded_after(statement) <= allowed


def test_the_import_takes_less_than_half_a_second() -> None:
    code = "import time; start = time.process_time(); import metagd_optuna; print(time.process_time() - start)"
    times = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3)]
    assert min(times) < 0.5
