"""How often an interval from 200 cases holds the speed-up on more: 40 disjoint sets, with and without resample_splits.

python tests/method/few_cases.py      (with METAGD_DATA_DIR, where chula_rbc12 is; writes docs/results/few-cases.jsonl)

Each set of 200 cases is split as any data are, and gets a target from the reference rule's runs as a study's does.
Then every rule trains on ten fresh seeds, with the split that was given and with one of each seed's own. The same is
done once for all 8,000 cases, on twenty seeds. What is finished is not trained again.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).resolve().parents[2] / "docs" / "results" / "few-cases.jsonl"
SOURCE = "chula_rbc12.npz"
# Every set needs cases of every class in every part; the other seven are each below a twentieth of all cases.
CLASSES = 5
SETS, CASES = 40, 200
SEEDS, WHOLE_SEEDS, TARGET_SEEDS = 10, 20, 3
FIRST_SEED = 950_000
RULES = {
    "constant 0.0025": {"schedule-free-r1.lr0": 0.0025, "schedule-free-r1.warmup": 0.0},
    "constant 0.00125": {"schedule-free-r1.lr0": 0.00125, "schedule-free-r1.warmup": 0.0},
    "adam 0.001": {"adam-constant.lr0": 0.001},
}
REFERENCE = "adam 0.001"


def main() -> None:
    """Train what is missing, then print how often the intervals hold."""
    finished = [json.loads(line) for line in FILE.read_text().splitlines()] if FILE.exists() else []
    known = {(each["set"], each["resampled"]) for each in finished}
    wanted = [(number, mode) for number in (*range(SETS), None) for mode in (False, True)]
    missing = [each for each in wanted if each not in known]
    if missing:
        images, labels = common_cases()
        sets = disjoint_sets(labels)
        for number, mode in missing:
            rows = np.concatenate(sets) if number is None else sets[number]
            found = {"set": number, "resampled": mode} | measured(images[rows], labels[rows], number, resample=mode)
            finished.append(found)
            with FILE.open("a") as stream:
                stream.write(json.dumps(found) + "\n")
            print(found["set"], found["resampled"], found["target"], flush=True)
    print(table(finished))


def common_cases() -> tuple[Any, Any]:
    """Return all cases of the most common classes, in an order that a seed draws."""
    from metagd_optuna import load_task

    task = load_task(Path(os.environ["METAGD_DATA_DIR"]) / SOURCE)
    images = np.concatenate([task.train_images, task.val_images, task.test_images])
    labels = np.concatenate([task.train_labels, task.val_labels, task.test_labels])
    common = np.sort(np.argsort(-np.bincount(labels), kind="stable")[:CLASSES])
    rows = np.random.default_rng(0).permutation(np.flatnonzero(np.isin(labels, common)))
    return images[rows], np.searchsorted(common, labels[rows])


def disjoint_sets(labels: Any) -> list[Any]:
    """Return the rows of each set, which share none."""
    return list(np.arange(SETS * CASES).reshape(SETS, CASES))


def measured(images: Any, labels: Any, number: int | None, *, resample: bool) -> dict[str, Any]:
    """Return the target of a set and every rule's epochs to it, by seed; a miss is None."""
    from metagd_optuna import load_task, measure_complexity
    from metagd_optuna.analysis.convergence import confirmation_target, time_to_target
    from metagd_optuna.policy import baseline_from_params
    from metagd_optuna.training.device import prepare_device, repeatable
    from metagd_optuna.tuning.settings import StudySpec
    from metagd_optuna.tuning.task_trainer import open_task_trainer

    device = prepare_device()
    task = load_task((images, labels), name="set" if number is None else f"set{number}", max_eval=1000)
    spec = StudySpec(name="few-cases", tasks=("breast_cancer",))
    complexity = measure_complexity(task.train_images, task.train_labels)
    rules = [baseline_from_params(next(iter(p)).split(".")[0], p) for p in RULES.values()]
    names = list(RULES)
    first = FIRST_SEED + 1000 * (SETS if number is None else number)
    with repeatable(device):
        trainer = open_task_trainer(task, spec, device, complexity=complexity)
        reference = rules[names.index(REFERENCE)]
        scores = [
            trainer.best_score(trainer.train([reference], [REFERENCE], seed=seed)[0])
            for seed in range(first, first + TARGET_SEEDS)
        ]
        target = confirmation_target(trainer.chance, scores)
        times: dict[str, list[float | None]] = {name: [] for name in names}
        for seed in range(first + 100, first + 100 + (WHOLE_SEEDS if number is None else SEEDS)):
            assert trainer.resampled is not None
            dealt = trainer.resampled(seed) if resample else trainer
            for name, run in zip(names, dealt.train(rules, names, seed=seed), strict=True):
                time = time_to_target(
                    dealt.plan.epochs(run.validation.steps), run.validation.metric(spec.metric), target
                )
                times[name].append(None if math.isinf(time) else round(time, 6))
    return {"target": round(target, 6), "budget": trainer.plan.budget_epochs, "times": times}


def table(finished: list[dict[str, Any]]) -> str:
    """Return how often the intervals of the sets hold the speed-up on the whole and the mean over all sets."""
    from metagd_optuna.analysis.paired import paired_speedup

    lines = [
        "| rule against adam 0.001 | parts | all 8,000 cases | mean of the sets | interval holds the first "
        "| the second | median ratio of its ends |",
        "|---|---|---|---|---|---|---|",
    ]

    def result(each: dict[str, Any], rule: str) -> Any:
        times = {name: [math.inf if t is None else t for t in each["times"][name]] for name in (REFERENCE, rule)}
        return paired_speedup(times[REFERENCE], times[rule], each["budget"])

    for rule in (name for name in RULES if name != REFERENCE):
        [truth] = [result(each, rule).speedup for each in finished if each["set"] is None and each["resampled"]]
        for mode in (False, True):
            sets = [result(each, rule) for each in finished if each["set"] is not None and each["resampled"] is mode]
            mean = math.exp(np.mean([math.log(one.speedup) for one in sets]))
            held = [sum(one.ci95[0] <= value <= one.ci95[1] for one in sets) for value in (truth, mean)]
            width = np.median([one.ci95[1] / one.ci95[0] for one in sets])
            parts = "drawn anew" if mode else "as given"
            lines.append(
                f"| {rule} | {parts} | {truth:.2f} | {mean:.2f} | {held[0]} of {len(sets)} "
                f"| {held[1]} of {len(sets)} | {width:.2f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
