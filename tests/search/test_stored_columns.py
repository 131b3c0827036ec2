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


@pytest.fixture
def columns_of(tmp_path):
    """Makes the columns of the study that a file belongs to, with nothing in its storage yet."""

    def make(file):
        league = file.parents[1]
        study = next(path for path in (league / f"{file.stem}.toml", league / f"{league.name}.toml") if path.is_file())
        shutil.copy(study, tmp_path)
        for name in ("bccd_cells3", "chula_rbc12", "mednist6"):
            (tmp_path / f"{name}.npz").touch()  # a study file's paths have to be there; nothing is read
        spec = load_study(tmp_path / study.name)
        identity = trial_store.Identity(spec.name, spec.to_dict(), versions(), "any")
        return Columns(file.parent, optuna.storages.InMemoryStorage(), identity, spec, lambda line: None)

    return make


@pytest.mark.parametrize("file", STORED, ids=lambda file: f"{file.parents[1].name}-{file.stem}")
def test_a_stored_column_is_taken(columns_of, file):
    facts = json.loads(file.read_text(encoding="utf-8"))["facts"]
    columns_of(file).check(file.stem, facts)
    with pytest.raises(MetaGDError, match="of other data or another network"):
        columns_of(file).check(file.stem, facts | {"fingerprint": "0"})


def test_there_are_some():
    assert len(STORED) >= 11
