"""Compare given rules on a few tasks and seeds, quickly and without a search: where to look for faster forms.

python tests/method/explore.py rules.jsonl breastmnist bccd_cells3.npz --data-dir FOLDER

Each line of the file is a rule: {"name": "Adam", "baseline": "adam-constant", "lr0": 0.001}, or a meta-policy's flat
parameters: {"name": "...", "optimizer": "adam", "g": "power", ...}; with "batch_size", for a batch of another size. All
rules train on the same seeds, which no study uses, to the same targets. Times are geometric means over seeds, and over
tasks relative to the first rule. No verdict comes of it.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

# Far from the seeds of any study of this repository, and from those of record.py.
FIRST_SEED = 500_000
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
RATE_SEEDS = 4
BATCH_SIZE = "batch_size"

Rule = dict[str, Any]
# A rule and a seed -> epochs and AUC at every evaluation.
Train = Callable[[Rule, int], tuple[Any, Sequence[float]]]
# The trainer of a task, how to open one for another batch size, and all rules -> how to train one of them.
Trainer = Callable[[Any, Callable[[int], Any], Sequence[Rule]], Train]


def main() -> None:
    """Train all rules on all tasks and print the times."""
    options = parser_of(__doc__).parse_args()
    compare(rules_in(options.rules), options, candidates)


def parser_of(doc: str) -> argparse.ArgumentParser:
    """Return the parser of a look's command line."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("rules", type=Path)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("METAGD_DATA_DIR"))
    parser.add_argument("--examples", type=int, default=10_000, help="per run")
    parser.add_argument("--evaluations", type=int, default=40, help="per run")
    parser.add_argument("--max-train", type=int, default=2500)
    parser.add_argument("--max-eval", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=4)
    return parser


def rules_in(path: Path) -> list[Rule]:
    """Return the rules of a file, one per line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def compare(rules: Sequence[Rule], options: argparse.Namespace, trainer: Trainer) -> None:
    """Train all rules on all tasks and print the times."""
    from metagd_optuna.training.startup import load_tensorflow

    load_tensorflow()
    times = np.array([times_on(task, rules, options, trainer) for task in options.tasks])
    print(f"relative to {rules[0]['name']}, over all tasks: objective, epochs to target, the latter by task")
    for rule, found in zip(rules, np.moveaxis(times / times[:, :1], 1, 0), strict=True):
        overall = np.exp(np.log(found).mean(axis=0))
        print(f"  {rule['name']:40s} {overall[0]:.3f} {overall[1]:.3f}  " + " ".join(f"{t:.2f}" for t in found[:, 1]))


def candidate(rule: Rule) -> Any:
    """Return the candidate of a line."""
    from metagd_optuna.policy import MetaPolicy, baseline_from_params, candidate_of

    rest = {key: value for key, value in rule.items() if key not in ("name", "baseline", BATCH_SIZE)}
    if "baseline" in rule:
        name = rule["baseline"]
        return baseline_from_params(name, {f"{name}.{key}": value for key, value in rest.items()})
    return candidate_of(MetaPolicy.from_params(rest, rule["name"]))


def candidates(task_trainer: Any, open_with: Callable[[int], Any], rules: Sequence[Rule]) -> Train:
    """Return how to train the candidate of a rule; a batch of another size has a timetable of its own."""
    usual = task_trainer.plan.batch_size
    trainers = {usual: task_trainer} | {
        size: open_with(size) for size in {rule.get(BATCH_SIZE, usual) for rule in rules} - {usual}
    }

    def train(rule: Rule, seed: int) -> tuple[Any, Sequence[float]]:
        own = trainers[rule.get(BATCH_SIZE, usual)]
        [record] = own.train([candidate(rule)], [rule["name"]], seed=seed)
        return own.plan.epochs(record.validation.steps), record.validation.auc

    return train


def times_on(name: str, rules: Sequence[Rule], options: argparse.Namespace, trainer: Trainer) -> Any:
    """Return objective and epochs to target of every rule on one task, shape (rules, 2)."""
    from metagd_optuna.analysis import (
        confirmation_target,
        final_best,
        mean_time_to_targets,
        targets_up_to,
        time_to_target,
    )
    from metagd_optuna.tasks import load_task, measure_complexity
    from metagd_optuna.training.device import prepare_device
    from metagd_optuna.tuning.settings import StudySpec
    from metagd_optuna.tuning.task_trainer import open_task_trainer

    device = prepare_device()
    task = load_task(name, data_dir=options.data_dir, max_train=options.max_train, max_eval=options.max_eval)
    complexity = measure_complexity(task.train_images, task.train_labels)
    spec = StudySpec(
        name="explore",
        tasks=("breast_cancer",),
        examples_per_run=options.examples,
        evaluations=options.evaluations,
    )

    def open_with(size: int) -> Any:
        return open_task_trainer(task, StudySpec(**dict(spec) | {"batch_size": size}), device, complexity=complexity)

    task_trainer = open_with(spec.batch_size)
    adam = [{"name": f"{rate}", "baseline": "adam-constant", "lr0": rate} for rate in RATES]
    calibrate, train = candidates(task_trainer, open_with, adam), trainer(task_trainer, open_with, rules)
    with ThreadPoolExecutor(device.lanes) as lanes:
        runs = lanes.map(
            lambda job: calibrate(*job), [(r, FIRST_SEED + 900 + s) for r in adam for s in range(RATE_SEEDS)]
        )
        bests = np.reshape([final_best(auc) for _, auc in runs], (len(RATES), RATE_SEEDS))
        search_target = float(np.median(bests, axis=1).max())
        found = list(
            lanes.map(lambda job: train(*job), [(r, FIRST_SEED + s) for r in rules for s in range(options.seeds)])
        )
    budget = task_trainer.plan.budget_epochs
    targets, headline = (
        targets_up_to(task_trainer.chance, search_target),
        confirmation_target(task_trainer.chance, [search_target]),
    )
    scores = np.array(
        [
            (
                mean_time_to_targets(epochs, auc, targets, budget),
                min(time_to_target(epochs, auc, headline), 2 * budget),
            )
            for epochs, auc in found
        ]
    ).reshape(len(rules), options.seeds, 2)
    print(f"{task.name}: complexity {complexity:.3f}, {budget:.1f} epochs, target {headline:.4f}", flush=True)
    for rule, rows in zip(rules, np.log(scores), strict=True):
        print(
            f"  {rule['name']:40s} objective {np.exp(rows[:, 0].mean()):.3f}, epochs to target "
            f"{np.exp(rows[:, 1].mean()):.3f} (standard deviation of its logarithm {rows[:, 1].std():.2f})",
            flush=True,
        )
    return np.exp(np.log(scores).mean(axis=1))


if __name__ == "__main__":
    main()
