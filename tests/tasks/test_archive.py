"""What was read, written to one file and read again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import Task, audit, fingerprint, load_task, save_task
from tests.tasks.test_tables import columns_of, write


def test_a_task_comes_back_equal(tmp_path, make_arrays):
    task = Task("scans", classes=("well", "ill"), source={"read_with": {"image_size": 8}}, **make_arrays())
    save_task(task, tmp_path / "again.npz")
    again = load_task(tmp_path / "again.npz")
    assert fingerprint(again) == fingerprint(task)
    assert again.classes == ("well", "ill")
    assert again.source["imported"]["read_with"] == {"image_size": 8}
    assert again.source["imported"]["fingerprint"] == fingerprint(task)


def test_a_table_keeps_its_patients_apart_and_their_names_to_itself(tmp_path):
    task = load_task(write(tmp_path / "labs.csv", columns_of()), target="outcome", patient="case", positive="ill")
    save_task(task, tmp_path / "labs.npz")
    again = load_task(tmp_path / "labs.npz")
    assert fingerprint(again) == fingerprint(task)
    assert again.classes == ("well", "ill")
    groups = [{*again.reading.patients[part].tolist()} for part in ("train", "val", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 30
    assert not any(f"C{number}".encode() in (tmp_path / "labs.npz").read_bytes() for number in range(10, 30))


def test_arrays_that_changed_are_refused(tmp_path, make_arrays):
    save_task(Task("scans", classes=("well", "ill"), **make_arrays()), tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file)
    arrays["val_images"] = arrays["val_images"] // 2
    np.savez(tmp_path / "b.npz", **arrays)
    with pytest.raises(MetaGDError, match=r"its arrays have changed since it was written; import them again"):
        load_task(tmp_path / "b.npz")
    arrays.pop("about")
    np.savez(tmp_path / "c.npz", **arrays)
    assert load_task(tmp_path / "c.npz").classes == ("well", "ill")


@pytest.mark.parametrize(
    "about",
    ["", "[]", "{}", "[" * 10**5, json.dumps({"fingerprint": None}), '{"fingerprint": "1", "source": {"x": NaN}}'],
)
def test_a_strange_description_is_refused(tmp_path, make_arrays, about):
    np.savez(tmp_path / "a.npz", **make_arrays(), about=np.array(about))
    with pytest.raises(MetaGDError, match=r"the array about does not say|have changed"):
        load_task(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("names", "positive", "expected"),
    [(["well", "ill"], None, ("well", "ill")), (["well", "ill"], "0", ("ill", "well")), ([b"a", b"b"], None, None)],
)
def test_class_names_of_ones_own(tmp_path, make_arrays, names, positive, expected):
    np.savez(tmp_path / "a.npz", **make_arrays(), classes=np.array(names))
    found = load_task(tmp_path / "a.npz", positive=positive).classes
    assert found == expected if expected else len(found) == 2


@pytest.mark.parametrize("names", [["one"], ["a", "a"], ["a", "b", "c"], []])
def test_class_names_that_do_not_fit_are_refused(tmp_path, make_arrays, names):
    np.savez(tmp_path / "a.npz", **make_arrays(), classes=np.array(names, "U5"))
    with pytest.raises(MetaGDError, match=r"classes holds .*one name for each label from 0 on"):
        load_task(tmp_path / "a.npz")


def test_patients_in_two_parts_of_a_file_are_refused(tmp_path, make_arrays):
    arrays = make_arrays()
    arrays |= {f"{part}_patients": np.arange(len(arrays[f"{part}_labels"])) for part in ("train", "val", "test")}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(MetaGDError, match=r"10 patients of 20 in more than one part"):
        load_task(tmp_path / "a.npz")


def test_another_ending_is_refused(tmp_path, make_arrays):
    task = Task("scans", classes=("well", "ill"), **make_arrays())
    with pytest.raises(MetaGDError, match=r"call it scans\.npy\.npz"):
        save_task(task, tmp_path / "scans.npy")


def test_numbers_of_cases_stay_those_of_the_parts(tmp_path, make_arrays):
    arrays = make_arrays()
    arrays["val_images"][3] = arrays["train_images"][5]
    np.savez(tmp_path / "a.npz", **arrays)
    [finding] = [each for each in audit(load_task(tmp_path / "a.npz", positive="1")).findings if "copies" in each.text]
    assert finding.cases == {"val": (4,)}


def test_patients_of_some_parts_only_are_refused(tmp_path, make_arrays):
    np.savez(tmp_path / "a.npz", **make_arrays(), train_patients=np.arange(20))
    with pytest.raises(MetaGDError, match="val_patients, test_patients missing"):
        load_task(tmp_path / "a.npz")


@pytest.mark.parametrize("source", [[1], "x", None])
def test_a_source_that_is_no_table_is_refused(tmp_path, make_arrays, source):
    task = Task("scans", classes=("well", "ill"), **make_arrays())
    about = np.array(json.dumps({"fingerprint": fingerprint(task), "source": source}))
    np.savez(tmp_path / "a.npz", **task.arrays(), about=about)
    with pytest.raises(MetaGDError, match="the array about does not say"):
        load_task(tmp_path / "a.npz")
