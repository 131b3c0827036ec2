"""A study of images in a folder, from its file to its report."""

import sys
import tomllib

import numpy as np
import pytest
from PIL import Image
from small_study import SMALL_STUDY, UNMEASURED

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.study import run_study
from metagd_optuna.tasks.resampling import resampled

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


CODE = """
from metagd_optuna.training.cnn import article_cnn


def small(input_shape, classes, *, seed):
    return article_cnn(input_shape, classes, seed=seed)
"""


@pytest.mark.slow
def test_a_study_of_a_function_deals_its_cases_anew_for_every_confirmation_seed(study_file, tmp_path, monkeypatch):
    (tmp_path / "our_study_networks.py").write_text(CODE, encoding="utf-8")
    with study_file.open("a", encoding="utf-8") as stream:
        stream.write('network = "our_study_networks:small"\nresample_splits = true\n')
    with pytest.raises(MetaGDError, match="give --allow-code"):
        run_study(study_file, out=tmp_path / "out")
    dealt = []
    monkeypatch.setattr(
        "metagd_optuna.tuning.task_trainer.resampled", lambda task, seed: dealt.append(seed) or resampled(task, seed)
    )
    found = run_study(study_file, out=tmp_path / "out", allow_code=True)
    [task] = found.results.tasks.values()
    assert dealt == list(task.seeds)
    assert task.resampled
    assert task.network.startswith("our_study_networks:small, ")
    report = (tmp_path / "out" / "report" / "report.md").read_text(encoding="utf-8")
    assert "Every seed dealt the cases into parts of its own" in report
    assert "Few data: on 24 validation cases" in report
    sys.modules.pop("our_study_networks")


@pytest.mark.slow
def test_nothing_is_searched_where_nothing_learns(study_file, tmp_path):
    """Labels that have nothing to do with the images: chance alone would set the target, so the study ends before."""
    rng = np.random.default_rng(1)
    for file in (tmp_path / "scans").rglob("*.png"):
        Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8)).save(file)
    with pytest.raises(MetaGDError, match=r"task 'chest': .*(nothing is shown to learn|no calibrated rate did better)"):
        run_study(study_file, out=tmp_path / "out")
