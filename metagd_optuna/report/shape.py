"""What a ``results.json`` must look like before a report is written from it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from metagd_optuna.analysis import median_time
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.report.json_values import times
from metagd_optuna.report.sentences import FEEDBACK_WORDS, LABEL_WORDS, LEAGUES, METRIC_NAMES

# Takes a value and where it stands; raises if the value does not fit.
Shape = Callable[[Any, str], None]
ROUNDING = 1e-8  # results have ten digits
REMEDY = "run the study again, which trains nothing anew and writes the file anew"


def check_document(document: Mapping[str, Any], place: str) -> None:
    """Check everything that a report and its verdicts are written from.

    Args:
        document: a parsed ``results.json`` of the schema of this version.
        place: what to call it in an error.

    Raises:
        MetaGDError: naming the first place that does not fit, what stands there, and what belongs there.
    """
    DOCUMENT(document, place)
    for study in {task["study"] for task in document["tasks"].values()} | document["runs"].keys():
        for part in ("runs", "timing"):
            if study not in document[part]:
                raise MetaGDError(f"{place}: {part} holds no study {study!r}, only {sorted(document[part])}; {REMEDY}")
    for study, run in document["runs"].items():
        held = sorted(name for name, task in document["tasks"].items() if task["study"] == study)
        wanted = run["settings"].get("tasks", held)
        # Without some of its tasks, Holm's correction would be too small for the others.
        if isinstance(wanted, list) and len(held) != len(wanted):
            raise MetaGDError(f"{place}: study {study!r} is about the tasks {wanted}, but holds {held}; {REMEDY}")
    for name, task in document["tasks"].items():
        _check_contenders(task, f"{place}: tasks.{name}")


def _check_contenders(task: Mapping[str, Any], place: str) -> None:
    if len(set(task["seeds"])) < len(task["seeds"]):
        raise MetaGDError(f"{place}: seeds {task['seeds']} are not unique, so times are not paired; {REMEDY}")
    names = [row["name"] for row in task["contenders"]]
    if len(set(names)) < len(names):
        raise MetaGDError(f"{place}: contenders {names} are not unique; {REMEDY}")
    for role in ("policy", "best_baseline"):
        if task[role] not in names:
            raise MetaGDError(f"{place}: {role} {task[role]!r} is not among the contenders {names}; {REMEDY}")
    for row in task["contenders"]:
        for key in ("per_seed", "per_seed_test"):
            if len(row[key]) != len(task["seeds"]):
                raise MetaGDError(
                    f"{place}: {key} of {row['name']} has {len(row[key])} times for {len(task['seeds'])} seeds; "
                    + REMEDY
                )
            late = [time for time in row[key] if time is not None and time > task["budget_epochs"] * (1 + ROUNDING)]
            if late:
                raise MetaGDError(
                    f"{place}: {key} of {row['name']} holds {late[0]}, but a run has {task['budget_epochs']} epochs; "
                    + REMEDY
                )
        _check_summary(row, place)
    [best] = [row for row in task["contenders"] if row["name"] == task["best_baseline"]]
    if best["kind"] != "baseline":
        raise MetaGDError(f"{place}: best_baseline {best['name']!r} is a {best['kind']!r} and no baseline; {REMEDY}")


def _check_summary(row: Mapping[str, Any], place: str) -> None:
    """Check that what is printed of a contender's times is what its times say."""
    found = median_time(times(row["per_seed"]))
    pairs = {
        "reached": (row["reached"], found.reached),
        "epochs_to_target.median": (times([row["epochs_to_target"]["median"]])[0], found.median),
    }
    for key, (given, own) in pairs.items():
        if not math.isclose(given, own, rel_tol=ROUNDING):
            raise MetaGDError(f"{place}: {key} of {row['name']} is {given}, but per_seed says {own}; {REMEDY}")


def _leaf(expected: str, fits: Callable[[Any], bool]) -> Shape:
    def check(value: Any, place: str) -> None:
        if not fits(value):
            raise _misfit(value, place, expected)

    return check


def _misfit(value: Any, place: str, expected: str) -> MetaGDError:
    given = repr(value)
    given = given if len(given) <= 60 else given[:60] + "..."
    return MetaGDError(f"{place} is {given}, but must be {expected}; {REMEDY}")


def _is_number(value: Any) -> bool:
    # An integer may be too large for a float, and compares all the same.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _number_or_null(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _one_of(names: Mapping[str, Any]) -> Shape:
    return _leaf(f"one of {sorted(names)}", lambda value: isinstance(value, str) and value in names)


def _list(item: Shape, *, least: int = 0) -> Shape:
    def check(value: Any, place: str) -> None:
        if not isinstance(value, list) or len(value) < least:
            raise _misfit(value, place, f"a list of at least {least}" if least else "a list")
        for number, one in enumerate(value):
            item(one, f"{place}[{number}]")

    return check


def _table_of(item: Shape, *, least: int = 0) -> Shape:
    """Return the shape of an object with any keys."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict) or len(value) < least:
            raise _misfit(value, place, f"an object with at least {least} entry" if least else "an object")
        for key, one in value.items():
            item(one, _inside(place, key))

    return check


def _table(shapes: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    """Return the shape of an object with known keys; others may stand beside them."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise _misfit(value, place, "an object")
        missing = sorted(shapes.keys() - value.keys())
        if missing:
            raise MetaGDError(f"{place}: the keys {missing} are missing; {REMEDY}")
        for key, shape in {**shapes, **(optional or {})}.items():
            if key in value:
                shape(value[key], _inside(place, key))

    return check


def _inside(place: str, key: str) -> str:
    # The document's own place is a file; what stands in it follows a colon.
    return f"{place}.{key}" if ": " in place else f"{place}: {key}"


def _or_null(shape: Shape) -> Shape:
    def check(value: Any, place: str) -> None:
        if value is not None:
            shape(value, place)

    return check


def _interval(value: Any, place: str) -> None:
    if not isinstance(value, list) or len(value) != 2 or not all(end is None or _is_number(end) for end in value):
        raise _misfit(value, place, "a list of two ends, each a number or null")


def _bounded_interval(value: Any, place: str) -> None:
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)):
        raise _misfit(value, place, "a list of two numbers")


def _anything(value: Any, place: str) -> None:
    """Accept a value that is only printed."""


TEXT = _leaf("a text", lambda value: isinstance(value, str))
FLAG = _leaf("true or false", lambda value: isinstance(value, bool))
FLAG_OR_NULL = _leaf("true, false or null", lambda value: value is None or isinstance(value, bool))
NUMBER = _leaf("a number", _is_number)
NUMBER_OR_NULL = _leaf("a number or null", _number_or_null(_is_number))
POSITIVE = _leaf("a number above 0", lambda value: _is_number(value) and value > 0)
COUNT = _leaf("a number of at least 0", lambda value: _is_number(value) and value >= 0)
TIME = _leaf("a time above 0 or null", _number_or_null(lambda value: _is_number(value) and value > 0))
CURVE = _list(NUMBER_OR_NULL)
OBJECT = _table_of(_anything)

SPEEDUP = _table({"speedup": POSITIVE, "ci95": _interval, "p_value": NUMBER}, {"pairs": COUNT})
CONTENDER = _table(
    {
        **dict.fromkeys(("name", "kind", "optimizer", "formula", "latex"), TEXT),
        **dict.fromkeys(("trials", "reached", "diverged"), COUNT),
        "settings": OBJECT,
        "open_loop": FLAG_OR_NULL,
        "steers_on_validation": FLAG,
        "epochs_to_target": _table({"median": TIME, "ci95": _interval}),
        "per_seed": _list(TIME, least=1),
        "per_seed_test": _list(TIME, least=1),
        "test": _table(dict.fromkeys(("auc", "accuracy", "balanced_accuracy"), NUMBER)),
        "curve": _table(dict.fromkeys(("median", "low", "high", "rate", "rate_low", "rate_high"), CURVE)),
        "versus_best_baseline": SPEEDUP,
    }
)
SEARCH = _table(
    {
        **dict.fromkeys(("trials", "completed", "pruned", "spent_epochs", "pruned_epochs"), COUNT),
        "best_objective": NUMBER_OR_NULL,
        "objectives": CURVE,
    }
)
SURFACE = _table(
    {
        "performance": _list(NUMBER, least=1),
        "difficulty": _list(NUMBER),
        "rate": _list(_list(COUNT, least=1), least=1),
        "path": _or_null(_list(NUMBER)),
    }
)
VERDICT = _table(
    {
        **dict.fromkeys(("speedup", "test_speedup"), POSITIVE),
        **dict.fromkeys(("ci95", "test_ci95"), _interval),
        **dict.fromkeys(("p_value", "p_holm"), NUMBER),
        **dict.fromkeys(("detectable", "payback_trainings"), NUMBER_OR_NULL),
        "label": _one_of(LABEL_WORDS),
        "reasons": _list(TEXT),
        "feedback": _one_of(FEEDBACK_WORDS),
        "feedback_evidence": _table_of(SPEEDUP),
    },
    {"complexity_evidence": _or_null(SPEEDUP)},
)
LEVEL = _table(
    {
        "share": POSITIVE,
        "target": NUMBER,
        **dict.fromkeys(("policy", "baseline"), TIME),
        "speedup": POSITIVE,
        "ci95": _interval,
    },
    dict.fromkeys(("policy_reached", "baseline_reached"), NUMBER_OR_NULL),
)
OPTIMISM = _table(
    {"method": TEXT, "trial": COUNT, **dict.fromkeys(("best", "search", "shortlist", "confirmation"), COUNT)}
)
REGRET = _table(
    {
        "method": TEXT,
        "stopped": FLAG,
        **dict.fromkeys(("trial", "best_trial"), COUNT),
        **dict.fromkeys(("chosen", "best"), POSITIVE),
    }
)
TASK = _table(
    {
        **dict.fromkeys(("study", "complexity_measure", "network", "policy", "policy_in_words", "best_baseline"), TEXT),
        **dict.fromkeys(("target", "chance", "complexity"), NUMBER),
        **dict.fromkeys(("test_target", "t_search"), NUMBER_OR_NULL),
        **dict.fromkeys(("classes", "evaluations", "spent_epochs", "population"), COUNT),
        **dict.fromkeys(("steps_per_epoch", "budget_epochs"), POSITIVE),
        "metric": _one_of(METRIC_NAMES),
        "sizes": _table(dict.fromkeys(("train", "validation", "test"), COUNT)),
        "source": OBJECT,
        "audit": _table({}, {"findings": _list(TEXT)}),
        "evaluation_epochs": _list(NUMBER),
        "resolution_limited": FLAG,
        "seeds": _list(NUMBER, least=1),
        "spent_by_phase": _table_of(COUNT),
        "baselines_left_out": _list(TEXT),
        "contenders": _list(CONTENDER, least=1),
        "levels": _list(LEVEL, least=1),
        "searches": _table_of(SEARCH),
        "importances": _table_of(NUMBER),
        "importance_ci95": _table_of(_bounded_interval),
        "surface": _or_null(SURFACE),
        "verdict": VERDICT,
    },
    {"league": _one_of(LEAGUES), "optimism": _list(OPTIMISM), "regrets": _list(REGRET)},
)
RUN = _table({"settings": OBJECT, "versions": _table_of(TEXT), "device": TEXT})
ACROSS = _table(
    {
        "tasks": _list(TEXT, least=2),
        "speedup": POSITIVE,
        "ci95": _interval,
        "probability_of_improvement": NUMBER,
        "profile": _table({"factors": _list(POSITIVE, least=1), "shares": _table_of(_list(NUMBER, least=1), least=1)}),
        "profile_left_out": _list(TEXT),
    },
    {
        **dict.fromkeys(("settings_that_differ", "not_comparable"), _list(TEXT)),
        "spent_epochs": COUNT,
        "over_keras_adam": _or_null(_table({"speedup": POSITIVE, "ci95": _interval})),
        "regrets": _table_of(_table({"factor": POSITIVE, "stopped": FLAG})),
    },
)
DOCUMENT = _table(
    {
        "study": TEXT,
        "versions": _table_of(TEXT),
        "device": TEXT,
        "runs": _table_of(RUN, least=1),
        "timing": _table_of(OBJECT),
        "tasks": _table_of(TASK, least=1),
    },
    {"across": ACROSS},
)
