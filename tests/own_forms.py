"""Forms and a baseline of a user's own, as a package outside this one would bring them."""

import math
import sys
from typing import NamedTuple

import numpy as np

from metagd_optuna import (
    Optimizer,
    register_baseline,
    register_difficulty_form,
    register_optimizer,
    register_rate_form,
    register_reader,
    registry,
)
from metagd_optuna.policy import (
    BASELINES,
    DIFFICULTY_FORMS,
    OPTIMIZERS,
    RATE_FORMS,
    Baseline,
    Categorical,
    Coefficient,
    DifficultyForm,
    InitialPoint,
    RateCoefficient,
    RateForm,
    ScheduleController,
    without_memory,
)
from metagd_optuna.policy.optimizers import imported
from metagd_optuna.tasks import Reader
from metagd_optuna.tasks.readers.registry import READERS

WEAKEST = DifficultyForm(
    lambda c, p, *, w: max(w * c, 1 - p),
    {"w": Coefficient(0, 1)},
    trend=lambda k: (1 if k["w"] > 0 else 0, -1),
    text="max({w} c, 1 - p)",
    latex="\\max({w}\\,c, 1 - p)",
)
ROOT = RateForm(
    without_memory(lambda d, p, *, lr0, s: lr0 / math.sqrt(1 + s * p)),
    {"lr0": RateCoefficient(), "s": Coefficient(0, 100)},
    uses_difficulty=False,
    trend=lambda k: (0, -1 if k["s"] > 0 else 0),
    text="{lr0} / sqrt(1 + {s} p)",
    latex="{lr0} / \\sqrt{{1 + {s}\\,p}}",
    neutral={"s": 0.0},
    initial=(InitialPoint("adam", {"lr0": 1e-3}),),
)


def polynomial_decay(now, k, memory):
    """lr0 (1 - t / B)^a (1 + d), one rate per step; a is 1 or 2."""
    left = 1 - np.arange(now.step, now.step + now.steps) / now.budget
    return k["lr0"] * np.maximum(left, 0.0) ** (1 if k["shape"] == "linear" else 2) * (1 + now.difficulty), memory


DECAY = RateForm(
    polynomial_decay,
    {"lr0": RateCoefficient(), "shape": Categorical(("linear", "quadratic"))},
    uses_difficulty=True,
    trend=lambda k: (1, 0),
    text="{shape} decay from {lr0}, times 1 + d",
    latex="\\text{{{shape} decay from }} {lr0} (1 + d)",
    timed=True,
)


class Progress(NamedTuple):
    best: float = 0.0


def cut_when_stuck(now, k, memory):
    """The last rate, times exp(-cut) whenever performance is not above its best so far."""
    memory = memory or Progress()
    last = k["lr0"] if now.last is None else now.last
    stuck = now.fresh and now.performance <= memory.best
    return last * math.exp(-k["cut"]) if stuck else last, Progress(max(memory.best, now.performance))


CUTS = RateForm(
    cut_when_stuck,
    {"lr0": RateCoefficient(), "cut": Coefficient(0, 1)},
    uses_difficulty=False,
    trend=lambda k: (0, 1 if k["cut"] > 0 else 0),
    text="lr exp(-{cut}) whenever p is not above its best; from {lr0}",
    latex="lr \\leftarrow lr\\,e^{{-{cut}}} \\text{{ from }} {lr0}",
    memory=Progress,
)
BASELINE = Baseline(
    "linear-warmup",
    "adam",
    {"lr0": RateCoefficient(), "share": Coefficient(0, 0.5)},
    lambda k: ScheduleController("constant", k["lr0"], 1.0, k["share"]),
    ({"linear-warmup.lr0": 1e-3, "linear-warmup.share": 0.1},),
    "{lr0} after {share} of the budget",
    "{lr0} \\text{{ after }} {share}\\,B",
    "a test",
)
# Optimizer and reader of the user's own: what they are called, and a name of a file that the reader reads.
OPTIMIZER = Optimizer(
    name="own-sgd",
    bounds=(1e-3, 1e-1),
    keras=imported("keras.optimizers:SGD"),
    accepted=("SGD",),
    rule=imported("metagd_optuna.training.optimizers:sgd"),
)
READER = Reader(name="own-cells", reads="cells", read=lambda path: None, endings=(".cells.npz",))
RATES = {"root": ROOT, "decay": DECAY, "cuts": CUTS}


def register():
    """Register all of them, as the function does that a package names in its entry points."""
    register_difficulty_form("weakest", WEAKEST)
    for name, form in RATES.items():
        register_rate_form(name, form)
    register_baseline(BASELINE)


def register_all():
    """Register an optimizer and a reader as well."""
    register()
    register_optimizer(OPTIMIZER)
    register_reader(READER)


TABLES = (DIFFICULTY_FORMS, RATE_FORMS, BASELINES, OPTIMIZERS, READERS)


def forget_afterwards(monkeypatch):
    """See to it that what a test registers is gone after it, and that no plugin was loaded before."""
    for table in TABLES:
        monkeypatch.setattr(table, "_rows", dict(table._rows))
    monkeypatch.setattr(registry, "PLUGINS", registry.Plugins())
    sys.modules.pop("brought", None)  # of the test before
