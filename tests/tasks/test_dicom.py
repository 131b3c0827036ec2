"""DICOM files: what a radiologist would see is what trains, and no patient is in two parts."""

from __future__ import annotations

import sys

import numpy as np
import pydicom
import pytest
from dicom_files import dataset
from PIL import Image
from pydicom.uid import JPEGLSLossless, RLELossless

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import load_task
from metagd_optuna.tasks.readers import dicom_file
from metagd_optuna.tasks.readers.image_file import Header, UnreadableError

RNG = np.random.default_rng(0)
GREY = Header(12, 10, False, True)


def grey(high=4095, dtype=np.uint16):
    return RNG.integers(0, high + 1, (12, 10)).astype(dtype)


def shares(tmp_path, found, window=None):
    """What a file becomes, from 0 to 1."""
    found.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    image = dicom_file.pixels(tmp_path / "one.dcm", GREY, window)
    assert image.dtype == np.uint16
    return image[..., 0] / 65535


def test_all_that_the_bits_hold_is_kept_without_a_window(tmp_path):
    pixels = grey()
    np.testing.assert_allclose(shares(tmp_path, dataset(pixels)), pixels / 4095, atol=1e-5)
    signed = RNG.integers(-2048, 2048, (12, 10)).astype(np.int16)
    found = shares(tmp_path, dataset(signed, signed=True, RescaleSlope=2, RescaleIntercept=-1000))
    np.testing.assert_allclose(found, (signed + 2048.0) / 4095, atol=1e-5)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_a_window_is_in_rescaled_units_and_monochrome1_is_inverted(tmp_path, photometric):
    pixels = grey()
    tags = {"RescaleSlope": 0.5, "RescaleIntercept": -1000}
    rescaled = pixels * 0.5 - 1000
    for window in ((40.0, 400.0), (-600.0, 1500.0)):
        found = shares(tmp_path, dataset(pixels, photometric=photometric, **tags), window)
        # PS3.3 C.11.2.1.2.1, the linear function.
        expected = np.clip((rescaled - (window[0] - 0.5)) / (window[1] - 1) + 0.5, 0, 1)
        np.testing.assert_allclose(found, 1 - expected if photometric == "MONOCHROME1" else expected, atol=1e-5)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, lambda x: (x - 1999.5) / 999 + 0.5),
        ({"VOILUTFunction": "LINEAR_EXACT"}, lambda x: (x - 2000) / 1000 + 0.5),
        ({"VOILUTFunction": "SIGMOID"}, lambda x: 1 / (1 + np.exp(-4 * (x - 2000) / 1000))),
    ],
    ids=["linear", "exact", "sigmoid"],
)
def test_the_files_own_window_is_the_default(tmp_path, tags, expected):
    pixels = grey()
    found = dataset(pixels, WindowCenter=[2000, 300], WindowWidth=[1000, 80], **tags)
    np.testing.assert_allclose(shares(tmp_path, found), np.clip(expected(pixels.astype(float)), 0, 1), atol=1e-5)


def test_a_lookup_table_is_followed(tmp_path):
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 16], (65535 - 16 * np.arange(4096)).astype("<u2").tobytes()
    pixels = grey()
    found = dataset(pixels, VOILUTSequence=[table])
    np.testing.assert_allclose(shares(tmp_path, found), (65535 - 16.0 * pixels) / 65535, atol=1e-4)


def test_colours_come_out_as_colours(tmp_path):
    colours = RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8)
    dataset(colours, photometric="RGB", bits=8).save_as(tmp_path / "rgb.dcm", enforce_file_format=True)
    assert dicom_file.header(tmp_path / "rgb.dcm") == Header(12, 10, True, False)
    found = dicom_file.pixels(tmp_path / "rgb.dcm", Header(12, 10, True, False), None)
    np.testing.assert_array_equal(found, colours)
    index = RNG.integers(0, 256, (12, 10), dtype=np.uint8)
    palette = dataset(index, photometric="PALETTE COLOR", bits=8)
    for number, name in enumerate(("Red", "Green", "Blue")):
        setattr(palette, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        values = (np.arange(256, dtype=np.uint16) * (number + 1) % 256) * 256
        setattr(palette, f"{name}PaletteColorLookupTableData", values.tobytes())
    palette.save_as(tmp_path / "palette.dcm", enforce_file_format=True)
    found = dicom_file.pixels(tmp_path / "palette.dcm", Header(12, 10, True, False), None)
    np.testing.assert_array_equal(found, np.stack([index.astype(int) * n % 256 for n in (1, 2, 3)], axis=-1))


@pytest.fixture
def folder(tmp_path):
    """Forty files of two classes and twenty patients, half of them without an ending."""
    for name, bright in (("benign", 0), ("malignant", 1000)):
        (tmp_path / "dicom" / name).mkdir(parents=True)
        for number in range(20):
            found = dataset(grey(3000) + bright, patient=f"{name[0]}{number // 2}")
            ending = ".dcm" if number % 2 else ""
            found.save_as(tmp_path / "dicom" / name / f"IM{number:04d}{ending}", enforce_file_format=True)
    return tmp_path / "dicom"


def test_a_folder_of_dicom_files_is_a_task(folder):
    task = load_task(folder)
    assert (task.classes, sum(task.sizes), task.input_shape) == (("benign", "malignant"), 40, (12, 10, 1))
    assert task.train_images.dtype == np.float32
    assert 0.5 < float(task.train_images.max()) <= 1.0
    assert "by patient" in task.source["split"]
    assert task.source["pixels"] == "16 bits, divided by 65535"
    narrow = load_task(folder, window=(2000, 100))
    assert narrow.source["read_with"] == {"window": [2000.0, 100.0]}
    assert load_task(folder, image_size=16).input_shape == (16, 16, 1)
    assert float(np.mean((narrow.train_images > 0) & (narrow.train_images < 1))) < 0.1
    assert "by class" in load_task(folder, patient="none").source["split"]


def test_a_table_of_dicom_files_asks_them_for_the_patients(folder):
    rows = [f"dicom/{file.relative_to(folder)},{file.parent.name}" for file in sorted(folder.rglob("*.dcm"))]
    table = folder.parent / "scans.csv"
    table.write_text("\n".join(["path,label", *rows]))
    task = load_task(table)
    assert sum(task.sizes) == 20
    assert "by patient" in task.source["split"]


def test_patients_that_only_some_files_name_are_an_error(folder):
    dataset(grey(), patient="").save_as(folder / "benign" / "unknown.dcm", enforce_file_format=True)
    with pytest.raises(MetaGDError, match=r"1 of 41 DICOM files do not say whose they are \(PatientID\); .*none"):
        load_task(folder)
    with pytest.raises(MetaGDError, match="patient is 'PatientNumber', which is no keyword of DICOM"):
        load_task(folder, patient="PatientNumber")


def test_dicom_and_other_files_do_not_mix(folder):
    Image.fromarray(grey(255, np.uint8)).save(folder / "benign" / "a.png")
    with pytest.raises(MetaGDError, match="40 of 41 images are DICOM files, and the others are not"):
        load_task(folder)


@pytest.mark.parametrize("window", [(40, 0), (40, -3), (40,), "lung"])
def test_a_window_has_a_width(folder, window):
    with pytest.raises(MetaGDError, match="window"):
        load_task(folder, window=window)


def without_pixels(found):
    for name in ("PixelData", "Rows", "Columns"):
        delattr(found, name)


def frames(found):
    found.NumberOfFrames, found.PixelData = 3, found.PixelData * 3


def cut(found):
    found.PixelData = found.PixelData[:40]


def unknown_compression(found):
    found.file_meta.TransferSyntaxUID = JPEGLSLossless
    found.PixelData = pydicom.encaps.encapsulate([found.PixelData])
    found["PixelData"].is_undefined_length = True


def test_a_file_that_does_not_say_how_it_is_stored_is_unreadable(tmp_path, monkeypatch):
    found = dataset(grey())
    found.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    del found.file_meta.TransferSyntaxUID
    monkeypatch.setattr(pydicom, "dcmread", lambda *_, **__: found)
    with pytest.raises(UnreadableError, match="does not say how its pixels are stored"):
        dicom_file.header(tmp_path / "one.dcm")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_pixels, "a DICOM file without pixels"),
        (frames, "3 frames in one file; save each frame that counts"),
        (cut, "pixel data|bytes"),
        (unknown_compression, "compressed as JPEG-LS .*, for which one of these has to be installed: .*pyjpegls"),
    ],
)
def test_a_bad_file_is_named_and_skipped_on_request(folder, spoil, message):
    found = dataset(grey(), patient="b0")
    spoil(found)
    found.save_as(folder / "benign" / "bad.dcm", enforce_file_format=True)
    with pytest.raises(MetaGDError, match=rf"1 image of 41 cannot be read: .*bad\.dcm \(.*({message})"):
        load_task(folder)
    assert load_task(folder, skip_unreadable=True).source["skipped"] == 1


def test_what_is_no_dicom_file_is_told(folder):
    (folder / "benign" / "bad.dcm").write_text("no DICOM")
    with pytest.raises(MetaGDError, match=r"bad\.dcm \(no DICOM file, or damaged at its beginning\)"):
        load_task(folder)


def test_compressed_pixels_are_the_same(tmp_path):
    found = dataset(grey())
    plain = shares(tmp_path, found)
    found.compress(RLELossless)
    np.testing.assert_array_equal(shares(tmp_path, found), plain)


def test_without_pydicom_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MetaGDError, match=r"which is not installed: pip install 'metagd-optuna\[dicom\]'"):
        load_task(folder)
