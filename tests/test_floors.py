"""The architecture, kept by a test: who may import whom, and where a heavy package may be loaded."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "metagd_optuna"
FLOORS = {
    "contracts": 0,
    "archives": 1,
    "given": 1,
    "records": 1,
    "files": 1,
    "models": 2,
    "registry": 2,
    "policy": 3,
    "tasks": 3,
    "analysis": 3,
    "training": 4,
    "tuning": 5,
    "report": 5,
    "terminal": 5,
    "study": 6,
    "suite": 6,
    "cli": 7,
}
# Each package on the left may only be imported by the folders, or the modules, on the right.
HOMES = {
    "tensorflow": ("training",),
    "keras": ("training", "suite", "tuning.pruning_callback"),
    "optuna": ("tuning", "study", "suite"),
    "optuna_dashboard": ("tuning",),
    "distributed": ("tuning.clients", "tuning.cluster", "tuning.worker", "study"),
    "sqlalchemy": ("tuning",),
    "sqlite3": ("tuning",),
    "plotly": ("report",),
    "sklearn": ("tasks", "tuning"),
    "pooch": ("tasks",),
    "pydantic": ("models", "policy", "report", "tuning", "tasks.entry"),
    "pandas": ("tasks.readers.frame",),
    "pyarrow": ("tasks.readers.parquet_file",),
    "PIL": ("tasks.readers.pillow_file", "tasks.pixels"),
    "pydicom": ("tasks.readers.dicom_file",),
    "filelock": ("tuning",),
    "scipy": ("analysis", "policy", "tasks"),
    "click": ("cli",),
    "tqdm": ("tuning.progress",),
    "rich": ("terminal", "tuning.progress"),
    "bottle": (),
    "torch": (),
    "medmnist": (),
    "pickle": (),
}


def imports_of(source: str, module: str) -> list[str]:
    """Return the full name of everything that a module imports, inside functions and for typing too."""
    package = module.rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = ["metagd_optuna", *package.split(".")][: -node.level + 1 or None]
                base = ".".join(part for part in [*parents, base] if part)
            found += [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("import_module", "importlib.import_module"):
            found += [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return found


def violations(source: str, module: str) -> list[str]:
    """Return what ``module`` (its name without the package's) must not import, in words."""
    folder = module.partition(".")[0]
    wrong = []
    for name in imports_of(source, module):
        top, _, rest = name.partition(".")
        if top == "metagd_optuna":
            target = rest.partition(".")[0]
            if target not in FLOORS:
                wrong.append(f"{module} imports {name}: import from the module that defines it")
            elif target != folder and FLOORS[target] >= FLOORS[folder]:
                wrong.append(f"{module} imports {name}, which is not on a lower floor")
        elif top in HOMES and not any(module == home or folder == home for home in HOMES[top]):
            wrong.append(f"{module} imports {name}, which belongs in {' or '.join(HOMES[top]) or 'no module'}")
    return wrong


def modules() -> dict[str, Path]:
    """Return every module by its name without the package's."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            found[".".join(parts)] = path
    return found


def circle(sources: Mapping[str, str]) -> list[str]:
    """Return modules that import one another in a circle, inside functions and for typing too; [] if none do."""
    graph = {}
    for module, source in sources.items():
        names = [name.removeprefix("metagd_optuna.") for name in imports_of(source, module)]
        # what is imported is a module, or else something that a module, or a package, defines
        places = {name if name in sources else name.rpartition(".")[0] for name in names}
        graph[module] = {place if place in sources else f"{place}.__init__" for place in places} & sources.keys()
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("folder", FLOORS)
def test_no_modules_of_a_folder_import_one_another_in_a_circle(folder: str) -> None:
    paths = {module: path for module, path in modules().items() if module.partition(".")[0] == folder}
    assert circle({module: path.read_text(encoding="utf-8") for module, path in paths.items()}) == []


@pytest.mark.parametrize(
    "source",
    [
        "from metagd_optuna.tasks.b import f",
        "from metagd_optuna.tasks import b",
        "from .b import f",
        "import metagd_optuna.tasks.b",
        "def f():\n    from metagd_optuna.tasks.b import f",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from metagd_optuna.tasks.b import B",
        "from metagd_optuna.tasks import Task",
    ],
)
def test_a_planted_circle_is_found(source: str) -> None:
    package = "from metagd_optuna.tasks.a import Task"
    sources = {"tasks.__init__": package, "tasks.a": source, "tasks.b": "from metagd_optuna.tasks.a import g"}
    assert {"tasks.a"} < set(circle(sources))
    assert circle(sources | {"tasks.a": "from metagd_optuna.contracts import MetaGDError"}) == []


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_from_lower_floors_only(module: str) -> None:
    assert violations(modules()[module].read_text(encoding="utf-8"), module) == []


def test_every_folder_has_a_floor() -> None:
    assert {module.partition(".")[0] for module in modules()} == set(FLOORS)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("policy.rate", "from metagd_optuna.tasks.task import Task"),
        ("policy.rate", "import metagd_optuna.analysis.scores"),
        ("policy.rate", "from metagd_optuna import tasks"),
        ("policy.rate", "from ..training import callback"),
        ("policy.rate", "from metagd_optuna import load_task"),
        ("policy.rate", "def f():\n    import tensorflow as tf"),
        ("policy.rate", "import pickle"),
        ("tasks.task", "import torch"),
        ("tasks.task", "from optuna import Trial"),
        ("tasks.task", "import importlib\nimportlib.import_module('keras')"),
        ("training.population", "from metagd_optuna.tuning.runner import train_study"),
        ("training.population", "import optuna.trial"),
        ("tuning.runner", "from metagd_optuna.report.results import build_results"),
        ("tuning.runner", "import plotly.graph_objects as go"),
        ("tuning.runner", "from rich.console import Console"),
        ("report.page", "from metagd_optuna.tuning.record import winning_policy"),
        ("report.page", "import sklearn"),
        ("report.page", "import tensorflow"),
        ("contracts", "from metagd_optuna.policy.signal import SIGNALS"),
        ("files", "from metagd_optuna.models import Model"),
        ("registry", "from metagd_optuna.models import did_you_mean"),
        ("tuning.runner", "from metagd_optuna.study import run_study"),
        ("study", "from metagd_optuna.cli import main"),
        ("study", "import tensorflow"),
        ("cli", "import optuna"),
        ("analysis.scores", "from metagd_optuna.cli import main"),
        ("analysis.scores", "if True:\n    from keras import ops"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("policy.rate", "from metagd_optuna.contracts import MetaGDError\nimport numpy as np"),
        ("policy.rate", "from metagd_optuna.policy.coefficients import Coefficient"),
        ("policy.rate", "from .coefficients import Coefficient"),
        ("policy.rate", "from ..contracts import Context"),
        ("policy.rate", "def f():\n    from scipy.interpolate import PchipInterpolator"),
        ("training.population", "import tensorflow as tf\nfrom metagd_optuna.tasks import Task"),
        ("tuning.progress", "from rich.progress import Progress"),
        ("report.page", "from metagd_optuna.analysis.verdict import verdicts"),
        ("cli", "import click\nfrom metagd_optuna.study import run_study"),
        ("study", "from metagd_optuna.report.results import build_results\nfrom metagd_optuna.tuning import runner"),
    ],
)
def test_what_is_allowed_is_not_reported(module: str, source: str) -> None:
    assert violations(source, module) == []


def test_every_function_of_a_test_module_is_a_test_or_used() -> None:
    """A test whose name does not begin with test_ never runs, and nothing else would say so."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    named = {node.id for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.Name)}
    named |= {node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.alias)}
    idle = [
        f"{file.name}: {node.name}"
        for file, tree in trees.items()
        if file.name.startswith("test_")
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("test_") and node.name not in named
        if not any("fixture" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert not idle
