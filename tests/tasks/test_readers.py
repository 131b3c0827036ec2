from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import Reader, TaskData, audit, load_task, register_reader
from metagd_optuna.tasks.readers.registry import READERS, is_path, reader_of, task_name

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"


@pytest.fixture(autouse=True)
def _registry_as_it_was(monkeypatch):
    monkeypatch.setattr(READERS, "_rows", dict(READERS))


def _read_nothing(path: Path) -> TaskData:
    raise AssertionError(path)


def _reader(**values) -> Reader:
    return Reader(**{"name": "toy", "reads": "a toy", "read": _read_nothing, "endings": (".toy",), **values})


@pytest.fixture
def write_json(make_arrays, tmp_path):
    def write(name, without="", **changes):
        arrays = {key: array.tolist() for key, array in make_arrays().items() if key != without} | changes
        (tmp_path / name).write_text(json.dumps({"arrays": arrays, "classes": ["benign", "malignant"]}))
        return tmp_path / name

    return write


@pytest.fixture
def json_reader(tmp_path, monkeypatch, write_json):
    """The reader that docs/tasks.md writes, registered by running that page's code."""
    [code] = re.findall(r"```python\n([^`]*register_reader\(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    write_json("cells.json")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, PAGE, "exec"), {})


@pytest.mark.usefixtures("json_reader")
def test_the_pages_reader_gives_a_task_like_any_other(write_json, make_arrays):
    task = load_task(write_json("Our cells.json"))
    assert (task.name, task.classes) == ("Our cells", ("benign", "malignant"))
    np.testing.assert_array_equal(task.train_images[..., 0], make_arrays()["train_images"])
    assert set(task.source) == {"file", "md5"}
    assert load_task("cells.json", max_train=4).sizes.train == 4
    assert audit(task).classes == task.classes
    assert audit(task).duplicates["train"] == 0


@pytest.mark.usefixtures("json_reader")
@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("cell.json", r"there is no file cell.json \(did you mean 'cells.json'\?\); files there: cells.json"),
        ("there/cells.json", "there is no file there/cells.json; there is no folder there either"),
        ("cells.xlsx", r"cells.xlsx: there is no such file .* end in .npz .*, .json \(six lists"),
        ("broken.json", "broken.json: missing arrays: val_labels; found"),
        ("three.json", "three.json: train_labels holds the label 2; with 2 classes the labels are 0 to 1"),
    ],
)
def test_its_errors_are_as_good_as_those_of_the_packages_own(write_json, given, text):
    if given == "three.json":
        write_json(given, train_labels=[0, 1, 2, 0] * 5)
    elif given == "broken.json":
        write_json(given, without="val_labels")
    with pytest.raises(MetaGDError, match=text):
        load_task(given)


def _read_folder(path: Path) -> TaskData:
    return TaskData(arrays={file.stem: np.load(file) for file in path.glob("*.npy")}, source={"files": 6})


def test_a_folder_can_be_a_task(make_arrays, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    with pytest.raises(MetaGDError, match=r"scans: cannot be read as a task; allowed are .* register a reader"):
        load_task(f"{folder}/")
    holds_arrays = _reader(
        name="arrays", read=_read_folder, endings=(), reads_folder=lambda path: any(path.glob("*_*"))
    )
    register_reader(holds_arrays)
    with pytest.raises(MetaGDError, match="cannot be read as a task"):
        load_task(folder)
    for name, array in make_arrays(classes=3).items():
        np.save(folder / f"{name}.npy", array)
    task = load_task(f"{folder}/")
    assert (task.name, task.classes, task.source) == ("scans", ("0", "1", "2"), {"folder": "scans", "files": 6})
    register_reader(_reader(endings=(), reads_folder=Path.is_dir))
    with pytest.raises(MetaGDError, match="the readers arrays, toy all take this folder"):
        load_task(folder)


@pytest.mark.parametrize("name", ["cells.npz", "cells"])
def test_a_folder_that_may_not_be_entered_is_an_error_of_ours(tmp_path, name):
    (tmp_path / "closed").mkdir(mode=0)
    uid = os.geteuid()
    try:
        if uid == 0:  # root may enter every folder, so it gives that up for a moment
            os.seteuid(65534)
        with pytest.raises(MetaGDError, match=rf"closed/{name}: cannot be read \(Permission denied\); check its"):
            reader_of(tmp_path / "closed" / name)
    finally:
        os.seteuid(uid)


def test_the_longest_ending_reads(tmp_path):
    register_reader(_reader())
    register_reader(_reader(name="second", endings=(".v2.toy",)))
    for name, reader, task in (("a.toy", "toy", "a"), ("a.v2.toy", "second", "a"), ("b.v2.npz", "npz", "b.v2")):
        (tmp_path / name).touch()
        assert (reader_of(tmp_path / name).name, task_name(tmp_path / name)) == (reader, task)


@pytest.mark.parametrize(
    ("entry", "path", "name"),
    [
        ("breast_cancer", False, "breast_cancer"),
        ("mine.npz", True, "mine"),
        ("a/b", True, "b"),
        ("scans/", True, "scans"),
        ("..\\mine.csv", True, "..\\mine"),
        (Path("mine"), True, "mine"),
        (".npz", True, ".npz"),
        ("cifar-10-binary.tar.gz", True, "cifar-10-binary"),
    ],
)
def test_a_path_is_told_from_a_name(entry, path, name):
    assert (is_path(entry), task_name(entry)) == (path, name)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"name": "npz"}, "the name 'npz' of the reader is taken; give yours another$"),
        ({"endings": (".toy", ".npz")}, r"paths that end in .npz are read by the reader 'npz'; .* such as .toy.npz"),
        ({"name": ""}, "the name of the reader is ''; give small letters"),
        ({"reads": None}, "reader 'toy': reads is None; give a text"),
        ({"read": "toy"}, "reader 'toy': read is 'toy'; give a function"),
        ({"reads_folder": True}, "reader 'toy': reads_folder is True; give a function"),
        ({"endings": ".toy"}, r"endings is '.toy'; give a tuple of texts with a dot, such as \(\".json\",\)"),
        ({"endings": ("toy",)}, "endings is"),
        ({"endings": (".",)}, "endings is"),
        ({"endings": ()}, "recognises no path"),
    ],
)
def test_a_reader_that_cannot_be_is_refused(values, text):
    with pytest.raises(MetaGDError, match=text):
        register_reader(_reader(**values))
    assert "toy" not in READERS


def test_what_is_no_reader_or_no_data_is_refused(tmp_path):
    with pytest.raises(MetaGDError, match=r"a reader is a metagd_optuna.tasks.Reader, but <function _read_nothing"):
        register_reader(_read_nothing)
    register_reader(_reader(read=lambda path: path.name))
    (tmp_path / "a.toy").touch()
    with pytest.raises(
        MetaGDError, match=r"a.toy: the reader 'toy' returned 'a.toy'; its read has to return a TaskData"
    ):
        load_task(tmp_path / "a.toy")


@pytest.mark.slow
@pytest.mark.usefixtures("json_reader")
def test_a_study_takes_what_a_reader_of_ones_own_reads_to_its_report(write_json, tmp_path):
    from small_study import SMALL_STUDY, UNMEASURED

    from metagd_optuna import load_policy, run_study

    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 80), ("val", 24), ("test", 24)):
        labels = np.arange(count) % 2
        arrays[f"{part}_labels"] = labels.tolist()
        arrays[f"{part}_images"] = (rng.integers(0, 60, (count, 8, 8)) + 90 * labels[:, None, None]).tolist()
    write_json("cells.json", **arrays)
    file = tmp_path / "mine.toml"
    file.write_text(SMALL_STUDY.replace('"breast_cancer"', '"cells.json"') + UNMEASURED, encoding="utf-8")
    found = run_study(file, out=tmp_path / "out")
    assert list(found.results.tasks) == ["cells"]
    assert found.results.tasks["cells"].source["file"] == "cells.json"
    assert "cells" in found.report.with_name("report.md").read_text(encoding="utf-8")
    assert load_policy(found.policies["cells"]).provenance["task"] == "cells"
