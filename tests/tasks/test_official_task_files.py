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
PRESENT = sorted(name for name, file in FILES.items() if FOLDER and (Path(FOLDER).expanduser() / file).is_file())

COMPLEXITY = {"breastmnist": 0.59, "retinamnist": 0.83}
FINDINGS = {
    "breastmnist": ["1 test image also in train with another label: contradictory"],
    "pneumoniamnist": [
        "8 val images also in train: exact copies",
        "prevalence shift: normal is 25.8% of val and 37.5% of test",
    ],
    "retinamnist": ["val: fewer than 10 images of retinopathy grade 4 (6)"],
}


def test_official_files_that_did_not_run():
    absent = sorted(set(FILES) - set(PRESENT))
    if absent:
        pytest.skip(f"official files not in METAGD_DATA_DIR ({FOLDER or 'not set'}): {', '.join(absent)}")


def test_official_files_are_as_the_catalogue_says():
    for name in PRESENT:
        entry, task = CATALOGUE[name], load_task(name)
        assert task.sizes == entry.sizes, name
        assert task.input_shape == entry.input_shape, name
        assert len(np.unique(task.train_labels)) == len(entry.classes), name
        findings = audit(task).findings
        for expected in FINDINGS.get(name, []):
            assert expected in findings, name
        if name in COMPLEXITY:
            assert measure_complexity(task.train_images, task.train_labels) == pytest.approx(COMPLEXITY[name], abs=0.02)
