"""Runs as pictures: every run that there can be is drawn, as XML that a browser takes."""

import re
from xml.etree import ElementTree

import pytest

from metagd_optuna.contracts import Curve, RunRecord
from metagd_optuna.tuning.run_pictures import HEIGHT, WIDTH, run_picture


def run(seed=0, rates=(1e-3,) * 100, scores=(0.6, 0.8), diverged=False):
    steps = tuple(50 * (place + 1) for place in range(len(scores)))
    curve = Curve(steps, scores, scores, scores, scores)
    return RunRecord("c", seed, 100, len(rates), curve, None, (1,), (0.0,), (0.0,), rates, diverged)


def falling(count):
    return tuple(0.1 * 0.9**step for step in range(count))


RUNS = {
    "one that is constant": {"seed 0": [run()]},
    "one that falls over decades": {"seed 0": [run(rates=falling(100))]},
    "a rate of zero": {"seed 0": [run(rates=(0.0, 1e-3, 0.0))]},
    "zero alone": {"seed 0": [run(rates=(0.0, 0.0))]},
    "diverged at once": {"seed 0": [run(rates=(), scores=(), diverged=True)]},
    "diverged and another": {"seed 0": [run(rates=(), scores=(), diverged=True)], "seed 1": [run(1)]},
    "the same score always": {"seed 0": [run(scores=(1.0, 1.0))]},
    "two groups": {'a<b>&"c"': [run(), run(1, falling(7))], "d": [run(2)]},
    "more than there are colours": {f"seed {seed}": [run(seed)] for seed in range(12)},
}


@pytest.mark.parametrize("case", RUNS)
def test_all_is_drawn_within_the_picture(case):
    runs = RUNS[case]
    picture = run_picture(runs, "auc", steps_per_epoch=10.0)
    root = ElementTree.fromstring(picture)
    lines = [element for element in root.iter() if element.tag.endswith("polyline")]
    assert len(lines) == 2 * sum(map(len, runs.values()))
    for line in lines:
        for x, y in re.findall(r"(\S+),(\S+)", line.get("points")):
            assert 0 <= float(x) <= WIDTH
            assert 0 <= float(y) <= HEIGHT
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"learning rate", "validation auc", *runs} <= set(texts)


def test_a_whole_confirmation_stays_small():
    many = {name: [run(seed, falling(20_000)) for seed in range(20)] for name in ("a", "b")}
    assert len(run_picture(many, "auc", steps_per_epoch=10.0)) < 20_000
