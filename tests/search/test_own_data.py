"""A study of images in a folder, from its file to its report."""

import tomllib

import numpy as np
import pytest
from PIL import Image
from small_study import SMALL_STUDY, UNMEASURED

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.study import run_study

TASKS = 'tasks = [{ path = "scans", name = "chest", image_size = 10, positive = "healthy" }]'


@pytest.fixture
def study_file(tmp_path):
    rng = np.random.default_rng(0)
    for name, bright in (("healthy", 0), ("ill", 60)):
        (tmp_path / "scans" / name).mkdir(parents=True)
        for number in range(60):
            pixels = rng.integers(0, 190, (11 + number % 3, 12), dtype=np.uint8) + np.uint8(bright)
            Image.fromarray(pixels).save(tmp_path / "scans" / name / f"{number}.png")
    lines = [TASKS if line.startswith("tasks") else line for line in SMALL_STUDY.splitlines()]
    (tmp_path / "ours.toml").write_text("\n".join([*lines, UNMEASURED]), encoding="utf-8")
    return tmp_path / "ours.toml"


@pytest.mark.slow
def test_a_folder_of_images_goes_from_a_study_file_to_a_report(study_file, tmp_path):
    found = run_study(study_file, out=tmp_path / "out")
    [task] = found.results.tasks.values()
    assert found.results.tasks.keys() == {"chest"}
    assert task.source["read_with"] == {"positive": "healthy", "image_size": 10}
    assert "60% train" in task.source["split"]
    # What the report shows of the settings is a study file again.
    text = (tmp_path / "out" / "report" / "report.md").read_text(encoding="utf-8")
    shown = text.split("```toml\n")[1].split("```")[0]
    assert tomllib.loads(shown)["tasks"] == tomllib.loads(TASKS)["tasks"]
    assert "/healthy/" not in text
    assert ".png" not in text

    again = run_study(study_file, out=tmp_path / "out")
    assert again.results == found.results
    Image.fromarray(np.zeros((12, 12), np.uint8)).save(tmp_path / "scans" / "ill" / "3.png")
    with pytest.raises(MetaGDError, match="the data of task 'chest' changed since this study began"):
        run_study(study_file, out=tmp_path / "out")
