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
    "channels first": (_set("train_images", np.zeros((20, 3, 8, 8), np.uint8)), "channels last"),
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
        r"train_labels has shape \(20, 14\): several labels per image .*exactly one class per image.*argmax",
    ),
    "scalar labels": (_set("train_labels", np.uint8(1)), r"train_labels has shape \(\)"),
    "float labels": (_map("train_labels", lambda a: a * 1.0), "train_labels has dtype float64; labels are integer"),
    "bool labels": (_map("train_labels", lambda a: a > 0), "train_labels has dtype bool"),
    "text labels": (_map("train_labels", lambda a: a.astype(str)), "np.unique"),
    "negative": (_map("val_labels", lambda a: a.astype(int) - 1), "val_labels holds the negative label -1"),
    "huge": (_map("val_labels", lambda a: a.astype(np.uint64) + 2**63), "val_labels holds the label 92233720368547758"),
    "gap": (_map("train_labels", lambda a: a * 5), r"2 classes between 0 and 5, but not 1, 2, 3, 4; labels must be"),
    "from one": (_map("train_labels", lambda a: a + 1), "2 classes between 1 and 2, but not 0"),
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


def test_huge_gaps_are_told_briefly(make_arrays, write):
    arrays = make_arrays()
    arrays["train_labels"] = arrays["train_labels"].astype(np.int64) * 2_000_000_000
    with pytest.raises(MetaGDError, match="but not 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 989 more") as caught:
        read(write(arrays))
    assert len(str(caught.value)) < 500


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
