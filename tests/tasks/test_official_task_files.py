"""What is known about the official files, checked on those that METAGD_DATA_DIR holds.

The same traps are planted in made-up files by test_audit.py and test_loading.py, which always run.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from metagd_optuna.tasks import CATALOGUE, audit, load_task, measure_complexity

FOLDER = os.environ.get("METAGD_DATA_DIR")
FILES = {entry.name: entry.file_name for entry in CATALOGUE.values() if entry.file_name and not entry.refusal}
PRESENT = {name for name, file in FILES.items() if FOLDER and (Path(FOLDER).expanduser() / file).is_file()}

COMPLEXITY = {"breastmnist": 0.59, "retinamnist": 0.83}
FINDINGS = {
    "breastmnist": [
        "17 val images nearly as in train: at most 8 of 143 bits of a perceptual hash differ",
        "1 test image also in train with another label: contradictory",
    ],
    "pneumoniamnist": [
        "8 val images also in train: exact copies",
        "prevalence shift: normal is 25.8% of val and 37.5% of test",
    ],
    "retinamnist": ["val: fewer than 10 images of retinopathy grade 4 (6)"],
}


def _official(name: str) -> object:
    absent = pytest.mark.skipif(name not in PRESENT, reason=f"official file not in METAGD_DATA_DIR ({FOLDER})")
    return pytest.param(name, marks=absent)


@pytest.mark.parametrize("name", [_official(name) for name in FILES])
def test_an_official_file_is_as_the_catalogue_says(name):
    entry, task = CATALOGUE[name], load_task(name)
    assert task.sizes == entry.sizes
    assert task.input_shape == entry.input_shape
    assert len(np.unique(task.train_labels)) == len(entry.classes)
    assert set(FINDINGS.get(name, [])) <= {finding.text for finding in audit(task).findings}
    if name in COMPLEXITY:
        assert measure_complexity(task.train_images, task.train_labels) == pytest.approx(COMPLEXITY[name], abs=0.02)
