"""One policy on a page: its formula, what it does, where it was measured, how to train with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from metagd_optuna.given import counted, in_python
from metagd_optuna.policy.complexities import COMPLEXITIES
from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.policy.probes import probe_steps
from metagd_optuna.policy.rules import Policy
from metagd_optuna.policy.words import in_words
from metagd_optuna.report import blocks
from metagd_optuna.report.sentences import LABEL_WORDS, OTHER_SYMBOLS, SYMBOLS, interval, ratio
from metagd_optuna.report.task_document import Interval

OWN = "metagd_optuna."
COMPLEXITY = 0.5  # of a task that is not known
EPOCHS = 10
LINE = 76  # a terminal's 80 columns, less the indent


def policy_page(policy: Policy, place: str) -> list[blocks.Block]:
    """Return what there is to know of a policy.

    Args:
        policy: of any kind.
        place: the name or the path that it was loaded by.
    """
    symbols, complexity, does = OTHER_SYMBOLS, COMPLEXITY, ""
    if policy.needs_complexity:
        symbols = SYMBOLS
        if isinstance(stored := policy.provenance.get("complexity"), float) and 0 <= stored <= 1:
            complexity = stored  # a policy that a study wrote knows that of its task
    elif isinstance(policy, MetaPolicy) and policy.reads_complexity:
        symbols = f"c: {COMPLEXITIES[policy.complexity]}. {OTHER_SYMBOLS}"
    if symbols != OTHER_SYMBOLS:  # the rule reads c
        does = f"At complexity c = {complexity:.3g}{_until(policy)}: "
    return [
        blocks.Heading(2, place),
        blocks.Formula(policy.formula),
        blocks.Prose(symbols, "note"),
        blocks.Heading(3, "What it does"),
        blocks.Prose(does + in_words(policy, complexity)),
        blocks.Heading(3, "Where it was measured"),
        *_measured(policy.provenance),
        blocks.Heading(3, "In your own training"),
        blocks.Listing(example(policy, place), "python"),
    ]


def _until(policy: Policy) -> str:
    """Return how long a complexity holds that probes measure."""
    if not isinstance(policy, MetaPolicy) or not policy.complexity_probes:
        return ""
    *before, last = map(str, probe_steps(policy.complexity_probes))
    return f", which it is until probes after {', '.join(before)} and {last} steps measure it"


def example(policy: Policy, place: str) -> str:
    """Return how to train with a policy, in Python."""
    optimizer = OPTIMIZERS[policy.optimizer].example
    names = ["MetaPolicyCallback", "class_frequencies", "load_policy"]
    given = ["policy", "class_frequencies=class_frequencies(y)"]
    if policy.needs_complexity:
        names.append("measure_complexity")
        given.insert(1, "complexity=measure_complexity(x, y)")
    if isinstance(policy, MetaPolicy) and policy.probes:
        given.append("probe=(x, y)")
    if optimizer.startswith(OWN):
        optimizer = optimizer.removeprefix(OWN)
        names.append(optimizer.partition("(")[0])
    elif "." not in optimizer.partition("(")[0]:
        optimizer = f"keras.optimizers.{optimizer}"
    epochs = policy.provenance.get("budget_epochs")
    fit = [
        "x",
        "y",
        *(["batch_size=policy.batch_size"] if policy.batch_size else []),
        f"epochs={max(1, round(epochs)) if isinstance(epochs, float) else EPOCHS}",
        *(["validation_data=(x_val, y_val)"] if policy.steers_on_validation else []),
        "callbacks=[callback]",
    ]
    return "\n".join(
        [
            *(["import keras"] if optimizer.startswith("keras.") else []),
            _call("from metagd_optuna import ", sorted(names), bare=True),
            "",
            f"policy = load_policy({in_python(place)})",
            _call("callback = MetaPolicyCallback", given),
            _call("model.compile", [optimizer, '"sparse_categorical_crossentropy"']),
            _call("model.fit", fit),
        ]
    )


def _call(begin: str, parts: Sequence[str], *, bare: bool = False) -> str:
    """Return Python on one line where it fits, and else with a line for every part."""
    line = ", ".join(parts)
    whole = begin + (line if bare else f"({line})")
    if len(whole) <= LINE:
        return whole
    return "\n".join([f"{begin}(", *(f"    {part}," for part in parts), ")"])


def _measured(provenance: Mapping[str, Any]) -> list[blocks.Block]:
    """Return the verdicts that travel with a policy as a table; what others wrote in their place is left out."""
    several, one = provenance.get("results"), provenance.get("result")
    against = ""
    if isinstance(provenance.get("role"), str):
        about = provenance.get("searched_policy")
        several, one = (about, None) if isinstance(about, Mapping) and "label" not in about else (None, about)
        against = f"It is the {provenance['role']} of its study, with which the searched policy was compared. "
    found = several if isinstance(several, Mapping) else {str(provenance.get("task")): one}
    rows = [(task, *cells) for task, one in found.items() if (cells := _cells(one))]
    if not rows:
        return [blocks.Prose("It holds no result of a confirmation, so nothing is known of how fast it is.")]
    suite = provenance.get("suite")
    if isinstance(suite, Mapping):
        how = f"Against {suite.get('against')}, on {_seeds(provenance)} of workloads that no choice had seen."
    elif isinstance(several, Mapping):
        how = (
            "Each of these tasks was left out in turn: what is judged on it is the rule that the others chose, "
            "against the best baseline that they chose."
        )
    else:
        how = f"Against the best tuned baseline on {_seeds(provenance)} that no choice had seen{_case(provenance)}."
    study = provenance.get("study")
    named = f" It is of the study {study}." if isinstance(study, str) else ""
    return [
        blocks.Prose(f"{against}{how}{named} In brackets: 95% intervals."),
        blocks.Table(("workload" if suite else "task", "speed-up", "on the test cases", "verdict"), rows),
    ]


def _cells(one: object) -> tuple[str, str, str] | None:
    if not isinstance(one, Mapping) or one.get("label") not in LABEL_WORDS or not _is_speedup(one):
        return None
    test = {"speedup": one.get("test_speedup"), "ci95": one.get("test_ci95")}
    on_test = _in_words(test) if _is_speedup(test) else "not known"
    return _in_words(one), on_test, LABEL_WORDS[one["label"]]


def _is_speedup(one: Mapping[str, Any]) -> bool:
    ends = one.get("ci95")
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        return False
    return all(end is None or isinstance(end, float) for end in ends) and isinstance(one.get("speedup"), float)


def _in_words(one: Mapping[str, Any]) -> str:
    low, high = one["ci95"]
    return f"{ratio(one['speedup'])} ({interval(cast(Interval, (low, high)))})"


def _seeds(provenance: Mapping[str, Any]) -> str:
    seeds = provenance.get("confirmation_seeds")
    return counted(len(seeds), "paired seed") if isinstance(seeds, list | tuple) else "paired seeds"


def _case(provenance: Mapping[str, Any]) -> str:
    found = provenance.get("properties")
    if not isinstance(found, Mapping) or not all(
        isinstance(found.get(key), int) for key in ("train_images", "classes")
    ):
        return ""
    return f", with {counted(found['train_images'], 'training case')} of {found['classes']} classes"
