"""How many members of a study share one program: as stored, as the study file says, one, or as measured on a GPU."""

import pytest

from metagd_optuna.tasks import load_task
from metagd_optuna.training import open_trainer
from metagd_optuna.training.device import Device
from metagd_optuna.training.population_size import PopulationSize
from metagd_optuna.tuning.settings import StudySpec
from metagd_optuna.tuning.task_trainer import open_task_trainer


@pytest.fixture(scope="module")
def task():
    return load_task("breast_cancer", max_train=64)


@pytest.fixture
def opened(task, monkeypatch):
    """Open a trainer on some lanes; return its population and what was said. ``measured`` None allows no measuring."""

    def open_(*, lanes, measured, stored=0, compiled=False, **settings):
        def measure(engine, device, log):
            assert measured is not None, "it measured"
            return PopulationSize(measured, "measured")

        monkeypatch.setattr(open_trainer, "population_size", measure)
        said = []
        spec = StudySpec(name="x", tasks=("breast_cancer",), examples_per_run=1, **settings)
        device = Device("made up", compiled=compiled, lanes=lanes)
        opened = open_task_trainer(task, spec, device, complexity=0.5, population=stored, log=said.append)
        return opened.trainer.population, said

    return open_


def test_stored_population_is_kept(opened):
    members, said = opened(lanes=2, measured=None, stored=4, population=8)
    assert members == 4
    assert said == ["  2 lanes x 4 members per program (as the study began)"]


def test_study_file_overrides_the_measurement(opened):
    members, said = opened(lanes=1, measured=None, population=8)
    assert members == 8
    assert said == ["  1 lane x 8 members per program (as the study file says)"]


@pytest.mark.parametrize(
    ("lanes", "at_once", "members", "line"),
    [
        (2, 16, 4, "  2 lanes x 4 members per program (measured)"),
        (2, 5, 3, "  2 lanes x 3 members per program (4 measured, but a batch has to fill all lanes)"),
        (8, 2, 1, "  8 lanes x 1 member per program (4 measured, but a batch has to fill all lanes)"),
        (1, 2, 4, "  1 lane x 4 members per program (measured)"),
    ],
)
def test_measured_population_leaves_no_lane_idle(opened, lanes, at_once, members, line):
    assert opened(lanes=lanes, measured=4, compiled=True, trials_at_once=at_once) == (members, [line])


@pytest.mark.parametrize(
    ("lanes", "line"),
    [
        (1, "  1 lane x 1 member per program (so that results do not depend on the number of cores)"),
        (2, "  2 lanes x 1 member per program (so that results do not depend on the number of cores)"),
        (64, "  64 lanes x 1 member per program (so that results do not depend on the number of cores)"),
    ],
)
def test_on_a_cpu_one_member_has_a_program_and_nothing_is_measured(opened, lanes, line):
    assert opened(lanes=lanes, measured=None) == (1, [line])
