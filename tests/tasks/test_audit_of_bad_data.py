"""Data made bad on purpose: each fault is found, in the right cases, with what to do about it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import Task, audit, audit_arrays, load_task
from metagd_optuna.tasks.audit.near_duplicates import BITS, MOST_BITS, nearest, perceptual_hashes

RNG = np.random.default_rng(1)


def scene(size=(48, 48)):
    """An image with structure on several scales, as a scan has."""
    found = sum(gaussian_filter(RNG.normal(size=size), width) * width for width in (1, 3, 8))
    return np.uint8(255 * (found - found.min()) / np.ptp(found))


def jpeg(image, quality=80):
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "JPEG", quality=quality)
    return np.asarray(Image.open(packed))


def task_of(**changes):
    """Thirty different scenes in every part, with changes by part and case: (part, case) -> image."""
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = np.stack([scene() for _ in range(30)])
        arrays[f"{part}_labels"] = np.arange(30) % 2
    for key, change in changes.items():
        part, case = key.split("_")
        arrays[f"{part}_images"][int(case)] = change(arrays) if callable(change) else change
    return Task("bad", classes=("well", "ill"), **arrays)


def found_in(task, words):
    """Return the one finding that has these words in it."""
    [finding] = [finding for finding in audit(task).findings if words in finding.text]
    return finding


ALTERED = {
    "stored as JPEG": jpeg,
    "brighter": lambda image: np.uint8(image * 0.8 + 40),
    "noise": lambda image: np.uint8(np.clip(image + RNG.normal(0, 3, image.shape), 0, 255)),
    "resized and back": lambda image: np.asarray(Image.fromarray(image).resize((64, 64)).resize((48, 48))),
}


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED)
def test_a_near_copy_in_another_part_is_found_and_nothing_else_is(alter):
    task = task_of(test_4=lambda arrays: alter(arrays["train_images"][17]))
    found = audit(task)
    assert found.near_duplicates == {"train-val": 0, "train-test": 1, "val-test": 0}
    finding = found_in(task, "nearly as in train")
    assert finding.cases == {"test": (5,)}
    assert "patient" in finding.remedy


def test_exact_copies_are_no_near_copies():
    task = task_of(test_4=lambda arrays: arrays["train_images"][17])
    assert audit(task).duplicates["train-test"] == 1
    assert audit(task).near_duplicates["train-test"] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 70), st.integers(8, 70), st.sampled_from([1, 3]), st.integers(0, 2**31))
def test_hashes_are_those_of_a_plain_cosine_transform(height, width, channels, seed):
    """The fast path, two matrix products, against SciPy's transform of a grid averaged pixel by pixel."""
    from scipy.fft import dctn

    images = np.random.default_rng(seed).integers(0, 256, (2, height, width, channels), dtype=np.uint8)
    grey = images.mean(axis=3)
    # Every pixel cut into 32 x 32 equal pieces: a cell of the grid is the mean of whole pieces.
    pieces = np.kron(grey, np.ones((1, 32, 32)))
    grid = pieces.reshape(2, 32, height, 32, width).mean(axis=(2, 4))
    waves = dctn(grid, axes=(1, 2), norm="ortho")[:, :12, :12].reshape(2, -1)[:, 1:]
    sure = np.abs(waves) > 0.05
    hashes = perceptual_hashes(images)
    assert hashes.shape == (2, BITS)
    assert (hashes[sure] == np.sign(waves[sure])).all()


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**31))
def test_the_nearest_is_that_of_all_pairs(count, other, seed):
    rng = np.random.default_rng(seed)
    first, second = (np.float32(rng.choice([-1, 1], (n, BITS))) for n in (count, other))
    places, bits = nearest(first, second)
    all_bits = (first[np.newaxis] != second[:, np.newaxis]).sum(axis=2)
    assert (bits == all_bits.min(axis=1)).all()
    assert (all_bits[np.arange(other), places] == bits).all()


def test_images_without_structure_are_like_no_other():
    flat = np.stack([np.full((16, 16), value, np.uint8) for value in (0, 100, 255)])
    _, bits = nearest(perceptual_hashes(flat), perceptual_hashes(flat))
    assert (bits > MOST_BITS).all()


def _cut_off(arrays):
    image = arrays["val_images"][8].copy()
    image[30:] = 128
    return image


def test_blank_and_cut_off_images_are_found():
    blank = np.full((48, 48), 40, np.uint8)
    blank[::7, ::9] = 42
    task = task_of(train_2=blank, train_3=np.zeros((48, 48), np.uint8), val_8=_cut_off)
    assert found_in(task, "constant image").cases == {"train": (4,)}
    assert found_in(task, "blank image").cases == {"train": (3,)}
    assert found_in(task, "flat lower end").cases == {"val": (9,)}


def test_borders_that_all_images_have_are_no_fault():
    task = task_of()
    arrays = {name: array.copy() for name, array in task.arrays().items()}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"][:, 34:] = 0
    assert not any(audit(Task("framed", classes=("a", "b"), **arrays)).cut_off_images.values())
    # Letterboxed images have as much above as below.
    arrays = {name: array.copy() for name, array in task.arrays().items()}
    arrays["train_images"][5, :14] = arrays["train_images"][5, 34:] = 0
    assert not any(audit(Task("wide", classes=("a", "b"), **arrays)).cut_off_images.values())


def test_a_shift_of_brightness_is_found():
    task = task_of()
    arrays = {name: array.copy() for name, array in task.arrays().items()}
    arrays["test_images"] = np.uint8(arrays["test_images"] // 2)
    findings = [str(each) for each in audit(Task("dim", classes=("a", "b"), **arrays)).findings]
    assert sum("shift from train to test: brightness" in text for text in findings) == 1
    assert not any("train to val" in text for text in findings)


# Tables


def clinic(count=100, **changes):
    """A made-up clinic without a fault: two weak numbers and a category; 100 rows by their columns."""
    outcome = np.arange(count) % 2
    return {
        "age": [f"{value:.1f}" for value in RNG.normal(60, 10, count) + outcome],
        "marker": [f"{value:.3f}" for value in RNG.normal(5, 1, count)],
        "ward": [["a", "b", "c"][i % 3] for i in range(count)],
        "outcome": [["well", "ill"][value] for value in outcome],
    } | changes


def table(path, columns):
    lines = [",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


ILL = np.arange(100) % 2 == 1
BAD_COLUMNS = {
    "gaps": (
        {"ph": ["" if i % 7 == 0 else f"{i * 37 % 100 / 50}" for i in range(100)]},
        "the column 'ph' is empty in 15% of cases",
        "fill what you know",
    ),
    "gaps of one class": (
        {"ph": ["" if ILL[i] and i % 5 else f"{i * 37 % 100 / 50}" for i in range(100)]},
        "empty in 40% of cases: 0% of well, 80% of ill",
        "depends on the class",
    ),
    "constant": ({"site": ["x"] * 100}, "one value throughout train: 'site'", "left out"),
    "texts that identify": (
        {"sample": [f"S-{i * 7919 % 1000}" for i in range(100)]},
        "nearly every case: 'sample'",
        "leave_out",
    ),
    "numbers that identify": (
        {"row": [str(1000 + i * 37 % 100) for i in range(100)]},
        "nearly every case: 'row'",
        "leave_out",
    ),
    "whose it is": (
        {"patient_id": [f"P{i // 3}" for i in range(100)]},
        "seems to say whose a case is",
        "give patient = 'patient_id'",
    ),
    "a number that is the answer": (
        {"score": [f"{ILL[i] + RNG.normal(0, 0.1):.3f}" for i in range(100)]},
        "'score' alone tells the classes of train apart (AUC 1.000)",
        "after the diagnosis",
    ),
    "a category that is the answer": (
        {"therapy": [("chemo" if i % 4 == 1 else "surgery") if ILL[i] else "none given" for i in range(100)]},
        "'therapy' alone tells the classes of train apart (balanced accuracy 1.000)",
        "after the diagnosis",
    ),
    "a gap that is the answer": (
        {"biopsy": [f"{i * 37 % 100 / 50}" if ILL[i] else "" for i in range(100)]},
        "'biopsy' alone tells the classes of train apart",
        "after the diagnosis",
    ),
}


def test_a_clean_table_has_no_findings(tmp_path):
    assert audit(load_task(table(tmp_path / "labs.csv", clinic()), target="outcome")).findings == ()


@pytest.mark.parametrize(("column", "text", "remedy"), BAD_COLUMNS.values(), ids=BAD_COLUMNS)
def test_a_bad_column_is_found(tmp_path, column, text, remedy):
    task = load_task(table(tmp_path / "labs.csv", clinic(**column)), target="outcome")
    [finding] = [finding for finding in audit(task).findings if text in finding.text]
    assert remedy in finding.remedy


def test_what_the_remedy_says_helps(tmp_path):
    [name] = column = {"score": [f"{value + RNG.normal(0, 0.1):.3f}" for value in ILL]}
    path = table(tmp_path / "labs.csv", clinic(**column))
    assert audit(load_task(path, target="outcome", leave_out=[name])).findings == ()
    with pytest.raises(MetaGDError, match=r"leave_out is 'scor'.*did you mean 'score'"):
        load_task(path, target="outcome", leave_out=["scor"])


def test_rows_are_those_of_the_table(tmp_path):
    columns = clinic()
    for values in columns.values():
        values[40] = values[12]
    columns["outcome"][40] = "ill"
    assert columns["outcome"][12] == "well"
    columns["split"] = ["train"] * 60 + ["val"] * 20 + ["test"] * 20
    finding = found_in(load_task(table(tmp_path / "labs.csv", columns), target="outcome"), "contradictory")
    assert finding.cases == {"train": (13, 41)}


def test_a_shift_names_the_columns(tmp_path):
    columns = clinic() | {"split": ["train"] * 60 + ["val"] * 20 + ["test"] * 20}
    columns["marker"][80:] = [f"{float(value) + 5:.3f}" for value in columns["marker"][80:]]
    finding = found_in(load_task(table(tmp_path / "labs.csv", columns), target="outcome"), "shift from train to test")
    assert "'marker' by" in finding.text
    assert "'age'" not in finding.text


def test_a_patient_in_two_parts_is_refused_with_the_rows(tmp_path):
    columns = clinic() | {"split": ["train"] * 60 + ["val"] * 20 + ["test"] * 20}
    columns["patient"] = [f"P{i}" for i in range(100)]
    columns["patient"][90] = "P5"
    with pytest.raises(MetaGDError, match=r"1 patient of 99 in more than one part, in the cases 6, 91; .*one part"):
        load_task(table(tmp_path / "labs.csv", columns), target="outcome")


# Files


@pytest.fixture
def scans(tmp_path):
    """Twelve files of each of two classes, 32 x 32."""
    for name in ("ill", "well"):
        (tmp_path / name).mkdir()
        for number in range(12):
            Image.fromarray(scene((32, 32))).save(tmp_path / name / f"{number:02d}.png")
    return tmp_path


def test_files_of_other_sizes_and_kinds_are_named(scans):
    Image.fromarray(scene((40, 20))).save(scans / "ill" / "03.png")
    Image.fromarray(np.stack([scene((32, 32))] * 3, axis=2)).save(scans / "well" / "00.png")
    task = load_task(scans, image_size=32)
    sizes = found_in(task, "images of 2 sizes: 23 32 x 32, 1 40 x 20")
    assert sizes.cases == {"": (4,)}
    assert sizes.told(task.reading.names).startswith(
        "images of 2 sizes: 23 32 x 32, 1 40 x 20; case ill/03.png; each was"
    )
    assert found_in(task, "images of 2 kinds: 23 grey, 1 colour").cases == {"": (13,)}
    assert "03.png" not in str(audit(task).to_dict())


def test_files_that_were_left_out_keep_the_others_numbers(scans):
    (scans / "ill" / "02.png").write_bytes(b"no image")
    file = scans / "well" / "05.png"
    file.write_bytes(file.read_bytes()[:200])
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(scans / "well" / "07.png")
    with pytest.raises(MetaGDError, match=r"2 images of 24 cannot be read|1 image of 24 cannot be read"):
        load_task(scans)
    task = load_task(scans, skip_unreadable=True)
    assert found_in(task, "2 files of 24 left out as unreadable").cases == {"": (3, 18)}
    [numbers] = found_in(task, "constant image").cases.values()
    assert [task.reading.names[number - 1] for number in numbers] == ["well/07.png"]


def test_a_modality_that_does_not_belong_is_named(tmp_path):
    pytest.importorskip("pydicom")
    from tests.tasks.test_dicom import dataset, grey

    for name in ("ill", "well"):
        (tmp_path / name).mkdir()
        for number in range(8):
            odd = (name, number) == ("well", 3)
            found = dataset(grey(), patient=f"{name}{number}", Modality="MR" if odd else "CT")
            found.save_as(tmp_path / name / f"{number}.dcm", enforce_file_format=True)
    finding = found_in(load_task(tmp_path), "images of 2 kinds: 15 CT, grey, 1 MR, grey")
    assert finding.cases == {"": (12,)}


# Cases that once went wrong


def test_one_bright_image_does_not_hide_near_copies():
    images = np.stack([scene().astype(np.float32) / 255 for _ in range(6)])
    images[5] *= 1e5
    assert (np.abs(perceptual_hashes(images)) == 1).all()


def test_what_stands_in_a_column_of_texts_is_not_told(tmp_path):
    columns = clinic() | {"split": ["train"] * 60 + ["val"] * 20 + ["test"] * 20}
    columns["who"] = ["Ann Smith" if i < 60 or i % 5 == 0 else "Bob Jones" for i in range(100)]
    columns["who"][::7] = ["Cy"] * len(columns["who"][::7])
    columns["who"][1:60:4] = ["Bob Jones"] * len(columns["who"][1:60:4])
    task = load_task(table(tmp_path / "labs.csv", columns), target="outcome")
    said = str(audit(task).to_dict())
    assert "'who' by" in said
    assert "Smith" not in said


def test_truth_values_and_rows_of_a_table_are_audited(tmp_path):
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = RNG.random((8, 9, 9)) < 0.5
        arrays[f"{part}_labels"] = np.arange(8) % 2
    assert audit_arrays(arrays).sizes["train"] == 8
    columns = {"flag": [str(i % 3 % 2) for i in range(100)], "outcome": clinic()["outcome"]}
    assert not any(audit(load_task(table(tmp_path / "one.csv", columns), target="outcome")).constant_images.values())
