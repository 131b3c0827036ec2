"""The searches that docs/results keeps: this version takes them, or whoever repeats a result would search again."""

import json
import shutil
from pathlib import Path

import optuna
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.search import trial_store
from metagd_optuna.search.columns import Columns
from metagd_optuna.search.runner import versions
from metagd_optuna.search.study_file import load_study

RESULTS = Path(__file__).parents[2] / "docs" / "results"
STORED = sorted(RESULTS.glob("*/columns/*.json"))
# Their designs were over forms that are one now, so they show what was searched, and a repetition searches anew.
OTHER_DESIGN = ("universal", "universal_six")


@pytest.fixture
def columns_of(tmp_path):
    """Makes the columns of the study that a file belongs to, with nothing in its storage yet."""

    def make(file, folder=None):
        league = file.parents[1]
        names = (file.stem, league.name, f"{file.stem}_{league.name}")
        study = next(path for path in (league / f"{name}.toml" for name in names) if path.is_file())
        shutil.copy(study, tmp_path)
        for name in ("bccd_cells3", "chula_rbc12", "mednist6"):
            (tmp_path / f"{name}.npz").touch()  # a study file's paths have to be there; nothing is read
        spec = load_study(tmp_path / study.name)
        identity = trial_store.Identity(spec.name, spec.to_dict(), versions(), "any")
        return Columns(folder or file.parent, optuna.storages.InMemoryStorage(), identity, spec, lambda line: None)

    return make


@pytest.mark.parametrize("file", STORED, ids=lambda file: f"{file.parents[1].name}-{file.stem}")
def test_a_stored_column_is_taken(columns_of, file):
    facts = json.loads(file.read_text(encoding="utf-8"))["facts"]
    if file.parents[1].name in OTHER_DESIGN:
        with pytest.raises(
            MetaGDError, match="the settings of meta-policy are not those that this version's design has"
        ):
            columns_of(file).check(file.stem, facts)
        return
    columns_of(file).check(file.stem, facts)
    with pytest.raises(MetaGDError, match="of other data or another network"):
        columns_of(file).check(file.stem, facts | {"fingerprint": "0"})


def test_there_are_some():
    assert len(STORED) >= 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda column: column["trials"]["meta-policy"][0][4].update({"half_life": 99.0}),
            "bccd_cells3.json: .*damaged",
        ),
        (lambda column: column["trials"]["meta-policy"][0].__setitem__(3, None), "bccd_cells3.json: .*damaged"),
        (lambda column: column["trials"]["meta-policy"][0].__setitem__(2, "8 steps"), "bccd_cells3.json: .*damaged"),
        (lambda column: column["trials"]["meta-policy"][0].__setitem__(1, float("nan")), "is no row of a trial"),
        (lambda column: column["trials"]["meta-policy"][0].__setitem__(1, 10**400), "bccd_cells3.json: .*damaged"),
        (lambda column: column["trials"]["meta-policy"][0].__setitem__(0, 1), "is no row of a trial"),
        (lambda column: [row.__setitem__(0, True) for row in column["trials"]["meta-policy"]], "are complete"),
        (lambda column: column["trials"].update(calibrate=[]), "runs of the calibration are missing"),
        (lambda column: column["trials"]["calibrate"].pop(), "runs of the calibration are missing"),
        (lambda column: column.update(t_search=2.0), r"t_search 2 is not between guessing \(0.5\) and 1"),
        (lambda column: column.update(t_search=float("nan")), "t_search nan is not between guessing"),
    ],
)
def test_numbers_that_no_search_has_are_refused_before_they_are_in_the_storage(columns_of, tmp_path, change, message):
    """A target of 2 could never be reached, and a study would end all the same."""
    file = RESULTS / "evidence" / "columns" / "bccd_cells3.json"
    column = json.loads(file.read_text(encoding="utf-8"))
    facts = dict(column["facts"])
    change(column)
    (tmp_path / "columns").mkdir()
    (tmp_path / "columns" / file.name).write_text(json.dumps(column), encoding="utf-8")
    with pytest.raises(MetaGDError, match=message) as refused:
        columns_of(file, tmp_path / "columns").check(file.stem, facts)
    assert "bccd_cells3.json: no column of a study, or a damaged one" in str(refused.value)


def test_text_that_nests_too_deeply_is_refused(columns_of, tmp_path):
    file = RESULTS / "evidence" / "columns" / "bccd_cells3.json"
    (tmp_path / "columns").mkdir()
    (tmp_path / "columns" / file.name).write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(MetaGDError, match="no column of a study, or a damaged one"):
        columns_of(file, tmp_path / "columns").check(file.stem, {"chance": 0.5})
