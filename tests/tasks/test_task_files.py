from __future__ import annotations

import contextlib
import io
import re
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import Task, load_task
from metagd_optuna.tasks.validation import validate_arrays


def read(path):
    """The arrays of a file as a task has them."""
    return load_task(path).arrays()


@pytest.fixture
def write(tmp_path):
    def save(arrays, name="mine.npz"):
        path = tmp_path / name
        np.savez(path, **arrays)
        return path

    return save


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(8, 8), (8, 9, 1), (12, 8, 3)])
@pytest.mark.parametrize("label_dtype", [np.uint8, np.int64, np.uint64])
def test_every_allowed_layout_is_read(make_arrays, write, dtype, shape, label_dtype):
    arrays = make_arrays(shape=shape, dtype=dtype, classes=3)
    for part in ("train", "val", "test"):
        arrays[f"{part}_labels"] = arrays[f"{part}_labels"].astype(label_dtype)
    found = read(write(arrays))
    assert found["train_images"].shape == (20, *shape[:2], shape[2] if len(shape) == 3 else 1)
    assert found["train_images"].dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    np.testing.assert_allclose(found["val_images"].reshape(10, -1), arrays["val_images"].reshape(10, -1), rtol=1e-6)
    np.testing.assert_array_equal(found["test_labels"], arrays["test_labels"][:, 0])


def test_floats_are_used_as_they_are_and_other_arrays_are_ignored(make_arrays, write):
    arrays = make_arrays(dtype=np.float32)
    arrays["train_images"] *= 1000
    found = read(write({**arrays, "thumbnails": np.zeros(3)}))
    assert set(found) == set(arrays)
    np.testing.assert_array_equal(found["train_images"][..., 0], arrays["train_images"])


def _set(name, value):
    return lambda arrays: {**arrays, name: value}


def _map(name, change):
    return lambda arrays: {**arrays, name: change(arrays[name])}


def _without(*names):
    return lambda arrays: {key: value for key, value in arrays.items() if key not in names}


def _all_images(change):
    return lambda arrays: {key: change(value) if "images" in key else value for key, value in arrays.items()}


def _with_nan(images):
    images = images.astype(np.float32)
    images[3, 0, 0], images[3, 0, 1], images[5, 1, 1] = np.nan, np.inf, np.nan
    return images


BROKEN = {
    "missing": (_without("val_images", "test_labels"), "missing arrays: val_images, test_labels; found: test_images"),
    "int16 images": (_map("val_images", lambda a: a.astype(np.int16)), "val_images has dtype int16; allowed are uint8"),
    "text images": (_set("train_images", np.array(["a", "b"])), "train_images has dtype <U1"),
    "complex images": (_map("train_images", lambda a: a.astype(complex)), "train_images has dtype complex128"),
    "two channels": (_set("train_images", np.zeros((20, 8, 8, 2), np.uint8)), r"has shape \(20, 8, 8, 2\); allowed"),
    "channels first": (_set("train_images", np.zeros((20, 3, 8, 8), np.uint8)), r"shape \(8, 8, 3\)"),
    "flat images": (_set("train_images", np.zeros((20, 64), np.uint8)), r"has shape \(20, 64\)"),
    "no images": (_set("train_images", np.zeros((0, 8, 8), np.uint8)), "train_images is empty"),
    "empty split": (
        lambda a: {**a, "val_images": a["val_images"][:0], "val_labels": a["val_labels"][:0]},
        "val_images is empty; every part needs images",
    ),
    "small": (_all_images(lambda a: a[:, :7]), "images of 7 x 8 pixels; the network needs at least 8 x 8"),
    "other size": (
        _set("test_images", np.zeros((10, 9, 8), np.uint8)),
        r"test_images holds images of shape \(9, 8, 1\)",
    ),
    "other dtype": (_map("val_images", lambda a: a / 255.0), "val_images is float32 and train_images is uint8"),
    "lengths": (_map("val_labels", lambda a: a[:-1]), "val_images has 10 entries and val_labels has 9"),
    "nan": (
        _map("train_images", _with_nan),
        r"train_images has 3 missing values \(2 NaN, 1 infinite as float32\) in 2 of 20 images, the first in image 3",
    ),
    "too large for float32": (
        _map("train_images", lambda a: a.astype(np.float64) * 1e300),
        "infinite as float32",
    ),
    "multi-label": (
        _set("train_labels", np.zeros((20, 14), np.uint8)),
        r"train_labels has shape \(20, 14\): several labels per image .*exactly one class .*target = .0. to .13.",
    ),
    "scalar labels": (_set("train_labels", np.uint8(1)), r"train_labels has shape \(\)"),
    "float labels": (_map("train_labels", lambda a: a + 0.5), "0.5 is no class but a measured number"),
    "missing labels": (_map("train_labels", lambda a: np.where(a > 0, np.nan, 0.0)), "10 missing labels in 40 cases"),
    "bool labels": (_map("train_labels", lambda a: a > 0), "the training part has no case of 0, 1; put some there"),
    "texts in a part": (_map("test_labels", lambda a: a.astype(str)), "test_labels has dtype <U"),
    "negative": (_map("val_labels", lambda a: a.astype(int) - 1), "val_labels holds the negative label -1"),
    "huge": (_map("val_labels", lambda a: a.astype(np.uint64) + 2**63), "val_labels holds the label 92233720368547758"),
    "gap": (_map("train_labels", lambda a: a * 5), "the training part has no case of 1; put some there"),
    "from one": (_map("train_labels", lambda a: a + 1), "the training part has no case of 0; put some there"),
    "int16 and a part missing": (
        lambda a: {k: v.astype(np.int16) for k, v in a.items() if "val" not in k},
        "train_images has dtype int16",
    ),
    "target of one label": (_set("train_labels", np.ones((20, 3), np.uint8)), "several labels per image"),
    "never in train": (
        _map("test_labels", lambda a: a * 2),
        r"test_labels holds the classes 2, which never occur in train_labels \(0 to 1\)",
    ),
    "one class": (_map("train_labels", lambda a: a * 0), r"train_labels holds one class only \(label 0\)"),
    "one class in val": (_map("val_labels", lambda a: a * 0), r"val_labels holds one class only \(label 0\)"),
    "objects": (
        _map("train_labels", lambda a: a.astype(object)),
        "the array train_labels.npy cannot be read .*unpickled, which can run code and is never done",
    ),
}


def _all_labels(change):
    return lambda arrays: {key: change(value) if "labels" in key else value for key, value in arrays.items()}


def _one_hot(labels):
    return np.eye(2, dtype=np.uint8)[labels[:, 0]]


WIDER = {
    "text labels": (_all_labels(lambda a: np.array(["benign", "malignant"])[a]), ("benign", "malignant")),
    "bytes": (_all_labels(lambda a: np.array([b"x", b"y"])[a]), ("x", "y")),
    "bool labels": (_all_labels(lambda a: a > 0), ("false", "true")),
    "whole floats": (_all_labels(lambda a: a.astype(np.float32)), ("0", "1")),
    "from one": (_all_labels(lambda a: a + 1), ("1", "2")),
    "gap": (_all_labels(lambda a: a.astype(np.int64) * 2_000_000_000), ("0", "2000000000")),
    "negative": (_all_labels(lambda a: a.astype(int) - 1), ("-1", "0")),
    "one-hot": (_all_labels(_one_hot), ("0", "1")),
    "channels first": (_all_images(lambda a: np.stack([a, a, a], axis=1)), ("0", "1")),
    "transparency": (_all_images(lambda a: np.stack([a, a, a, 255 - a], axis=-1)), ("0", "1")),
    "half precision": (_all_images(lambda a: (a / 255).astype(np.float16)), ("0", "1")),
}


@pytest.mark.parametrize("case", WIDER)
def test_what_people_save_is_read_as_what_it_means(make_arrays, write, case):
    change, classes = WIDER[case]
    arrays = make_arrays()
    task = load_task(write(change(arrays)))
    assert task.classes == classes
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(task.arrays()[f"{part}_labels"], arrays[f"{part}_labels"][:, 0])
        pixels = task.arrays()[f"{part}_images"]
        expected = arrays[f"{part}_images"]
        if case == "half precision":
            assert pixels.dtype == np.float32
            expected = (expected / 255).astype(np.float16).astype(np.float32)
        for channel in range(pixels.shape[3]):
            np.testing.assert_array_equal(pixels[..., channel], expected)


def test_deep_pixels_are_scaled_by_the_training_part(make_arrays, write):
    arrays = make_arrays()
    deep = {key: value.astype(np.uint16) * 16 if "images" in key else value for key, value in arrays.items()}
    deep["test_images"][0, 0, 0] = 8000  # beyond what training knows: more than 1
    task = load_task(write(deep))
    assert task.source["pixels"] == "12 bits, divided by 4095"
    np.testing.assert_allclose(task.train_images[..., 0], deep["train_images"] / 4095, rtol=1e-6)
    assert float(task.test_images.max()) == pytest.approx(8000 / 4095)


@pytest.mark.parametrize(
    ("without", "sizes", "text"),
    [
        (("val",), (24, 6, 10), "validation split off the training part"),
        (("test",), (24, 10, 6), "test split off the training part"),
        (("val", "test"), (18, 6, 6), "60% train, 20% validation, 20% test"),
    ],
)
def test_a_part_that_is_missing_is_split_off(make_arrays, write, without, sizes, text):
    arrays = make_arrays(sizes=(30, 10, 10))
    kept = {key: value for key, value in arrays.items() if not key.startswith(without)}
    task = load_task(write(kept))
    assert tuple(task.sizes) == sizes
    assert text in task.source["split"]
    every = [image.tobytes() for part in ("train", "val", "test") for image in task.arrays()[f"{part}_images"]]
    assert len(set(every)) == sum(sizes)


def test_one_set_is_divided_with_its_patients(make_arrays, write):
    arrays = make_arrays(sizes=(60, 10, 10))
    one = {"images": arrays["train_images"], "labels": arrays["train_labels"], "patients": np.arange(60) // 2}
    task = load_task(write(one))
    assert "by patient" in task.source["split"]
    assert sum(task.sizes) == 60
    parts = np.repeat(["train", "val", "test"], 20)
    assert tuple(load_task(write(one | {"split": parts, "patients": np.arange(60)})).sizes) == (20, 20, 20)
    with pytest.raises(MetaGDError, match="30 patients of 30 in more than one part"):
        load_task(write(one | {"split": np.tile(["train", "val"], 30)}))
    with pytest.raises(MetaGDError, match="images has 60 and labels has 59 and patients has 60 entries"):
        load_task(write(one | {"labels": one["labels"][1:]}))


def test_of_several_labels_one_is_the_target(make_arrays, write):
    arrays = make_arrays()
    several = {key: np.hstack([1 - value, value]) if "labels" in key else value for key, value in arrays.items()}
    several["train_labels"][0] = 1  # not one-hot
    path = write(several)
    with pytest.raises(MetaGDError, match=r"take one label at a time, target = .0. to .1."):
        load_task(path)
    np.testing.assert_array_equal(load_task(path, target="1").val_labels, arrays["val_labels"][:, 0])
    np.testing.assert_array_equal(load_task(path, target="0").val_labels, 1 - arrays["val_labels"][:, 0])
    with pytest.raises(MetaGDError, match="target is '2'; there are 2 labels for each image"):
        load_task(path, target="2")
    with pytest.raises(MetaGDError, match="one label for each image, so there is no target"):
        load_task(write(arrays), target="0")


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_with_its_name_and_the_rule(make_arrays, write, case):
    change, text = BROKEN[case]
    path = write(change(make_arrays()))
    with pytest.raises(MetaGDError, match=text) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_labels_beyond_the_known_classes_are_refused(make_arrays):
    with pytest.raises(MetaGDError, match="train_labels holds the label 2; with 2 classes the labels are 0 to 1"):
        Task("mine", classes=("0", "1"), **make_arrays(classes=3))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "not a .npz archive"),
        (b"not a zip at all", "not a .npz archive"),
        (b"\x80\x04\x95\x0b", "not a .npz archive"),
        (b"PK\x03\x04" + bytes(100), "not a .npz archive"),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path, content, text):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(MetaGDError, match=text):
        read(path)


def test_absent_files_and_folders_are_refused(tmp_path):
    with pytest.raises(MetaGDError, match=r"there is no file .*absent\.npz; the folder .* holds no such files"):
        read(tmp_path / "absent.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(MetaGDError, match="cannot be read"):
        read(tmp_path / "folder.npz")


def test_a_truncated_file_is_refused(make_arrays, write):
    path = write(make_arrays())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(MetaGDError, match="cut off"):
        read(path)


def test_a_member_that_is_no_array_is_refused(make_arrays, tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in make_arrays().items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(f"{name}.npy", b"hello" if name == "val_images" else buffer.getvalue())
    with pytest.raises(MetaGDError, match="val_images"):
        read(path)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_is_an_error_of_ours_or_harmless(make_arrays, tmp_path, data):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **make_arrays(sizes=(4, 4, 4)))
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.npz"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content))
    with contextlib.suppress(MetaGDError):
        assert read(path)["train_images"].shape == (4, 8, 8, 1)


@given(data=st.data())
def test_the_advice_on_labels_is_one_mapping_for_all_parts(data):
    """Doing what the text says gives every class one number, whatever classes a part lacks."""
    kinds = data.draw(
        st.sampled_from([(1, 2, 3), (0, 2, 5), (-1, 1), (1.0, 2.5, 4.0), ("a", "b", "c"), (3, 9, 11, 40)])
    )
    labels, arrays = {}, {}
    for part in ("train", "val", "test"):
        found = list(kinds) if part == "train" else data.draw(st.lists(st.sampled_from(kinds), min_size=2, unique=True))
        labels[part] = np.array(found * 2)
        arrays[f"{part}_images"] = np.zeros((len(found) * 2, 8, 8), np.uint8)
        arrays[f"{part}_labels"] = labels[part]
    with pytest.raises(MetaGDError) as refused:
        validate_arrays(arrays, where="mine")
    names = {f"{part}_labels": labels[part] for part in labels}
    classes = eval(ADVICE.search(str(refused.value))[1], {"np": np, **names})
    for part in labels:
        arrays[f"{part}_labels"] = np.searchsorted(classes, labels[part])
    checked = validate_arrays(arrays, where="mine")
    numbers = {}
    for part, given_names in labels.items():
        for name, number in zip(given_names.tolist(), checked[f"{part}_labels"].tolist(), strict=True):
            assert numbers.setdefault(name, number) == number
    assert sorted(numbers.values()) == list(range(len(kinds)))


ADVICE = re.compile(r"classes = (np[.]unique[(].*?[)][)]), then np[.]searchsorted[(]classes, labels[)]")


def test_a_gap_that_another_part_fills_is_no_matter_of_numbers(make_arrays):
    arrays = make_arrays()
    for part, found in (("train", [0, 1, 3]), ("val", [0, 1, 2, 3]), ("test", [0, 1, 3])):
        arrays[f"{part}_labels"] = np.resize(found, len(arrays[f"{part}_labels"]))
    with pytest.raises(
        MetaGDError, match=r"3 classes between 0 and 3, but not 2.*val_labels holds the classes 2, which train lacks"
    ):
        validate_arrays(arrays, where="mine")
