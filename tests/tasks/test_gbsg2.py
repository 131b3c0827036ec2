"""The table of lifelines, made up here in its form: who counts as what, and who is left out."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import find_entry, list_tasks, load_task

COLUMNS = "horTh,age,menostat,tsize,tgrade,pnodes,progrec,estrec,time,cens"


@pytest.fixture
def lifelines(tmp_path, monkeypatch):
    """A package of that name with a table of 100 women: of five, two with an event before two years."""
    rng = np.random.default_rng(0)
    rows = [COLUMNS]
    for case in range(100):
        # Event early; event late; no event, followed long; none, followed shortly; event on the last day.
        days, event = [(300, 1), (900, 1), (1500, 0), (700, 0), (730, 1)][case % 5]
        age, size, nodes = rng.integers(30, 80), rng.integers(5, 60), rng.integers(1, 20)
        rows.append(f"{'yes' if case % 2 else 'no'},{age},Post,{size},I,{nodes},{case},{case % 7},{days},{event}")
    (tmp_path / "lifelines" / "datasets").mkdir(parents=True)
    (tmp_path / "lifelines" / "datasets" / "gbsg2.csv").write_text("\n".join(rows), encoding="utf-8")
    about = tmp_path / "lifelines-0.30.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lifelines\nVersion: 0.30\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("lifelines")
def test_who_was_not_followed_for_two_years_is_left_out():
    task = load_task("gbsg2")
    assert sum(task.sizes) == 80
    labels = np.concatenate([task.train_labels, task.val_labels, task.test_labels])
    assert np.bincount(labels).tolist() == [40, 40]
    assert task.classes == ("no recurrence", "recurrence")
    assert not {"time", "cens"} & {*task.reading.columns}
    assert "lifelines" not in sys.modules  # only its table is read


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    import importlib.metadata

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(MetaGDError, match="pip install --no-deps lifelines"):
        load_task("gbsg2")


def test_the_catalogue_knows_it():
    [row] = [row for row in list_tasks() if row["name"] == "gbsg2"]
    assert row["source"] == "lifelines"
    assert find_entry("gbsg2").input_shape == (12,)
