"""Folders and tables of image files, as people have them."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import audit, load_task
from metagd_optuna.tasks.memory import check_memory
from metagd_optuna.tasks.pixels import fitted
from metagd_optuna.tasks.readers import pillow_file

RNG = np.random.default_rng(0)


def grey(size=(12, 10), high=255, dtype=np.uint8):
    return RNG.integers(0, high + 1, size, dtype=dtype)


def folder_of(path, classes=("healthy", "ill"), count=10, ending="png", make=grey, **options):
    for name in classes:
        (path / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(make()).save(path / name / f"{number:03d}.{ending}", **options)
    return path


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "jpg", "JPEG"])
def test_a_folder_of_classes_is_a_task(tmp_path, ending):
    (tmp_path / "Thumbs.db").write_text("no image")
    task = load_task(folder_of(tmp_path / "scans", ending=ending, count=10))
    assert (task.name, task.classes, tuple(task.sizes)) == ("scans", ("healthy", "ill"), (12, 4, 4))
    assert task.input_shape == (12, 10, 1)
    assert task.source["split"].startswith("60% train")
    assert audit(task).classes == task.classes
    assert task.train_images.dtype == np.uint8


def test_pixels_are_those_of_the_files_and_labels_those_of_the_folders(tmp_path):
    folder_of(tmp_path / "scans", count=6)
    task = load_task(tmp_path / "scans")
    files = {np.asarray(Image.open(file)).tobytes(): file.parent.name for file in (tmp_path / "scans").rglob("*.png")}
    found = [
        (image.tobytes(), task.classes[label])
        for part in ("train", "val", "test")
        for image, label in zip(task.arrays()[f"{part}_images"], task.arrays()[f"{part}_labels"], strict=True)
    ]
    assert dict(found) == files
    assert len(found) == 12


def test_folders_of_parts_stay_parts(tmp_path):
    for part, count in (("train", 8), ("Validation", 3), ("test", 4)):
        folder_of(tmp_path / "scans" / part, count=count)
    assert tuple(load_task(tmp_path / "scans").sizes) == (16, 6, 8)
    (tmp_path / "scans" / "notes").mkdir()
    with pytest.raises(MetaGDError, match=r"names of parts, and beside them are notes"):
        load_task(tmp_path / "scans")


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3)],
)
def test_every_kind_of_8_bits(tmp_path, mode, channels):
    source = RNG.integers(0, 256, (12, 12, 4), dtype=np.uint8)
    for name in ("a", "b"):
        (tmp_path / "scans" / name).mkdir(parents=True)
        for number in range(4):
            image = Image.fromarray(np.roll(source, number, axis=0)).convert("RGB" if mode == "P" else mode)
            image = image.convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else image
            image.save(
                tmp_path / "scans" / name / f"{number}.png", **({"transparency": b"\0\7"} if mode == "P" else {})
            )
    task = load_task(tmp_path / "scans")
    assert task.input_shape == (12, 12, channels)
    if mode in ("RGB", "RGBA"):  # transparency is dropped, and what lies under it kept
        assert any(np.array_equal(image, source[..., :3]) for image in task.train_images)


@pytest.mark.parametrize(("ending", "bits"), [("png", 12), ("tif", 16), ("png", 10)])
def test_more_than_8_bits_are_kept_and_scaled_by_the_training_part(tmp_path, ending, bits):
    largest = 2**bits - 1

    def make():
        image = grey(high=largest, dtype=np.uint16)
        image[0, 0] = largest
        return image

    folder_of(tmp_path / "scans", ending=ending, make=make)
    task = load_task(tmp_path / "scans")
    assert task.train_images.dtype == np.float32
    assert float(task.train_images.max()) == float(task.test_images.max()) == 1.0
    assert task.source["pixels"] == f"{bits} bits, divided by {largest}"
    steps = task.val_images * largest
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-2)


def test_grey_among_colours_becomes_colour_and_8_bits_among_16_are_refused(tmp_path):
    folder_of(tmp_path / "scans")
    Image.fromarray(RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(tmp_path / "scans" / "ill" / "colour.png")
    assert load_task(tmp_path / "scans").input_shape == (12, 10, 3)
    Image.fromarray(grey(dtype=np.uint16)).save(tmp_path / "scans" / "ill" / "deep.png")
    with pytest.raises(MetaGDError, match="1 of 22 images have more than 8 bits"):
        load_task(tmp_path / "scans")


def test_a_camera_held_upright_is_turned(tmp_path):
    folder_of(tmp_path / "scans", make=lambda: np.full((10, 12), 99, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.full((12, 10), 99, np.uint8)).save(tmp_path / "scans" / "ill" / "turned.jpg", exif=exif)
    assert load_task(tmp_path / "scans").input_shape == (10, 12, 1)


def test_sizes_that_differ_are_told_and_fitted_on_request(tmp_path):
    folder_of(tmp_path / "scans")
    Image.fromarray(grey((30, 20))).save(tmp_path / "scans" / "ill" / "large.png")
    with pytest.raises(MetaGDError, match=r"differ in size: 20 of 12 x 10, 1 of 30 x 20; give image_size"):
        load_task(tmp_path / "scans")
    task = load_task(tmp_path / "scans", image_size=16)
    assert task.input_shape == (16, 16, 1)
    assert task.source["read_with"] == {"image_size": 16}
    folder_of(tmp_path / "wide", make=lambda: grey((600, 9)))
    with pytest.raises(MetaGDError, match=r"600 x 9 pixels are larger than 512 x 512; give image_size"):
        load_task(tmp_path / "wide")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_image_is_fitted_whole_and_undistorted(dtype):
    image = np.full((20, 10, 2), 200, dtype)
    image[:, :, 1] = 1000 if dtype == np.uint16 else 7
    found = fitted(image, 8)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[:, 2:6], np.broadcast_to(image[0, 0], (8, 4, 2)))
    assert not found[:, [0, 1, 6, 7]].any()
    np.testing.assert_array_equal(fitted(image[:9, :9], 9), image[:9, :9])
    assert fitted(image[:1], 8).any()  # thinner than a pixel, it keeps one


def truncated(path):
    path.write_bytes(path.read_bytes()[:-20])


def huge(path):
    """A PNG whose header promises 50,000 x 50,000 pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    checksum = struct.pack(">I", zlib.crc32(chunk))
    data = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + checksum + data)


def several(path):
    frames = [Image.fromarray(grey()) for _ in range(3)]
    frames[0].save(path.with_suffix(".tif"), save_all=True, append_images=frames[1:])
    path.unlink()


def floating(path):
    Image.fromarray(np.ones((12, 10), np.float32)).save(path.with_suffix(".tif"))
    path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncated, "image file is truncated"),
        (lambda path: path.write_bytes(b""), "no PNG, JPEG, BMP or TIFF image, or damaged"),
        (lambda path: path.write_text("<html>"), "no PNG, JPEG, BMP or TIFF image, or damaged"),
        (huge, "more than 50,000,000"),
        (several, "3 pictures in one file; save each"),
        (floating, "pixels of the kind 'F'"),
    ],
    ids=["truncated", "empty", "html", "huge", "several", "floating"],
)
def test_a_bad_file_is_named_and_skipped_on_request(tmp_path, spoil, message):
    folder_of(tmp_path / "scans", ending="jpg")
    spoil(tmp_path / "scans" / "ill" / "003.jpg")
    with pytest.raises(MetaGDError, match=rf"1 image of 20 cannot be read: .*003.*\(.*{message}.*skip_unreadable"):
        load_task(tmp_path / "scans")
    task = load_task(tmp_path / "scans", skip_unreadable=True)
    assert sum(task.sizes) == 19
    assert task.source["skipped"] == 1


def test_nothing_that_can_be_read_is_an_error_too(tmp_path):
    folder_of(tmp_path / "scans", count=2)
    for file in (tmp_path / "scans").rglob("*.png"):
        file.write_text("")
    with pytest.raises(MetaGDError, match="none of 4 images could be read"):
        load_task(tmp_path / "scans", skip_unreadable=True)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    folder_of(tmp_path / "scans")
    monkeypatch.setattr("metagd_optuna.tasks.memory.available_memory", lambda: 10_000)
    monkeypatch.setattr(pillow_file, "pixels", None)  # not even one
    with pytest.raises(MetaGDError, match=r"20 images of 12 x 10 would take 0.0 MiB of memory, and 0.0 MiB are free"):
        load_task(tmp_path / "scans")
    check_memory(7_000, "ours", "")


def test_arrays_that_do_not_fit_into_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "ours.npz", images=np.zeros((40, 8, 8), np.uint8), labels=np.arange(40) % 2)
    monkeypatch.setattr("metagd_optuna.tasks.memory.available_memory", lambda: 2_000)
    with pytest.raises(MetaGDError, match=r"ours.npz would take 0.0 MiB of memory, .* save smaller images in it"):
        load_task(tmp_path / "ours.npz")


@pytest.mark.parametrize("source", ["scans", "ours.npz", "ours.csv"])
def test_how_much_memory_large_data_will_take_is_said_before_it_is_taken(tmp_path, monkeypatch, source):
    folder_of(tmp_path / "scans")
    np.savez_compressed(tmp_path / "ours.npz", images=np.zeros((40, 8, 8), np.uint8), labels=np.arange(40) % 2)
    files = sorted((tmp_path / "scans").rglob("*.png"))
    table_of(tmp_path / "ours.csv", ("path", "label"), [(file, file.parent.name) for file in files])
    lines = []
    load_task(tmp_path / source, log=lines.append)
    assert not lines  # such data are small
    monkeypatch.setattr("metagd_optuna.tasks.memory.SAID_FROM", 1_000)
    monkeypatch.setattr("metagd_optuna.tasks.memory.available_memory", lambda: 3 * 2**30)
    load_task(tmp_path / source, log=lines.append)
    assert len(lines) == 1
    assert lines[0].endswith("will take 0.0 MiB of memory of 3.0 GiB that are free")


def test_folders_that_are_no_classes_are_told(tmp_path):
    folder_of(tmp_path / "one", classes=("ill",))
    with pytest.raises(MetaGDError, match="only the class ill; give a subfolder for each"):
        load_task(tmp_path / "one")
    (tmp_path / "bare").mkdir()
    with pytest.raises(MetaGDError, match=r"cannot be read as a task; allowed are .*subfolder for each class"):
        load_task(tmp_path / "bare")


def table_of(path, header, rows, separator=",", encoding="utf-8"):
    lines = [separator.join(header), *(separator.join(map(str, row)) for row in rows)]
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


@pytest.fixture
def listed(tmp_path):
    """Paths of 24 images, of two classes and 12 patients."""
    folder_of(tmp_path / "png", count=12)
    return [
        (f"png/{name}/{number:03d}.png", name, f"P{number // 2}-{name}")
        for name in ("healthy", "ill")
        for number in range(12)
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_of_paths_is_a_task(tmp_path, listed, separator, encoding):
    table = table_of(tmp_path / "images.csv", ("file", "label", "patient"), listed, separator, encoding)
    task = load_task(table)
    assert (task.name, task.classes, sum(task.sizes)) == ("images", ("healthy", "ill"), 24)
    assert "by patient" in task.source["split"]
    assert not any("P0" in str(value) or ".png" in str(value) for value in task.source.values())
    turned = load_task(table, positive="healthy")
    assert turned.classes == ("ill", "healthy")
    np.testing.assert_array_equal(turned.train_labels, 1 - task.train_labels)


def test_columns_are_named_where_they_are_called_otherwise(tmp_path, listed):
    parts = ["train"] * 6 + ["val"] * 2 + ["test"] * 4
    rows = [(*row, part, "x") for row, part in zip(listed, parts * 2, strict=True)]
    table = table_of(tmp_path / "images.csv", ("file", "finding", "case", "fold", "comment"), rows)
    with pytest.raises(MetaGDError, match=r"which column holds the labels.*finding, case, fold, comment; name it"):
        load_task(table)
    task = load_task(table, target="finding", patient="case", split="fold")
    assert tuple(task.sizes) == (12, 4, 8)
    assert task.source["split"] == "as given"
    with pytest.raises(
        MetaGDError, match=r"target is 'findings', and there is no such column \(did you mean 'finding'"
    ):
        load_task(table, target="findings")
    leaking = table_of(
        tmp_path / "leak.csv", ("file", "label", "patient", "split"), [(*row[:2], "A", row[3]) for row in rows]
    )
    with pytest.raises(MetaGDError, match="1 patient of 1 in more than one part"):
        load_task(leaking)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (
            ("file", "label"),
            [("png/healthy/000.png", "a"), ("png/gone.png", "b")] * 3,
            r"gone\.png.*there is no such file",
        ),
        (("file", "file"), [("a.png", "b.png")], "more than one column is called 'file'"),
        (("file", "other"), [("a.png", "b.png")], "'file', 'other' all hold paths"),
        (("name", "label"), [("a", "b")], "every case has the label 'b'"),
        (("file", "label"), [], "a table without rows"),
        (("file", "label"), [("a.png", "b", "c", "d")], "rows have more fields than the 2 columns"),
    ],
)
def test_a_table_that_is_none_is_told(tmp_path, listed, header, rows, message):
    with pytest.raises(MetaGDError, match=message):
        load_task(table_of(tmp_path / "images.csv", header, rows))


def test_a_table_that_is_no_text_is_told(tmp_path, listed):
    table = table_of(tmp_path / "images.csv", ("file", "label"), [("png/ä.png", "a")], encoding="latin-1")
    with pytest.raises(MetaGDError, match=r"not a text in UTF-8 \(byte \d+\); save it as UTF-8"):
        load_task(table)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(MetaGDError, match="an empty file"):
        load_task(tmp_path / "empty.csv")


def test_an_option_that_a_reader_does_not_take_is_refused(tmp_path):
    folder_of(tmp_path / "scans")
    with pytest.raises(
        MetaGDError, match=r"target cannot be given for what the reader 'folder' reads .*; allowed: patient"
    ):
        load_task(tmp_path / "scans", target="label")
    with pytest.raises(MetaGDError, match=r"'breast_cancer' is a task of the catalogue, .*; leave out image_size"):
        load_task("breast_cancer", image_size=32)


@pytest.mark.parametrize("named", [("images", "labels"), ("train_images", "train_labels")])
@pytest.mark.parametrize("shape", [(4,), (4, 5), (0, 5, 5), (4, 0, 5), (4, 5, 5, 1, 1), (4, 5, 5, 0), (9, 0, 5), (9,)])
@pytest.mark.parametrize("image_size", [None, 9])
def test_arrays_that_are_no_images_are_refused(tmp_path, named, shape, image_size):
    """Found by `make fuzz`: some of them ended in an error of NumPy's, where they were to be brought to a size."""
    np.savez(tmp_path / "a.npz", **{named[0]: np.zeros(shape, np.uint8), named[1]: np.arange(shape[0]) % 2})
    with pytest.raises(MetaGDError):
        load_task(tmp_path / "a.npz", image_size=image_size)
