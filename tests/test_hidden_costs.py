"""Small files that would take any time or memory: they are refused before they do."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import zipfile
from contextlib import closing

import numpy as np
import pytest
from dicom_files import dataset
from optuna.study import StudyDirection

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import nearest
from metagd_optuna.tasks import load_task
from metagd_optuna.tasks.readers import dicom_file
from metagd_optuna.tasks.readers.pictures import read_pictures
from metagd_optuna.tuning.storage import open_storage, opened_storage


def dicom(path, syntax, picture, **tags):
    """Write a DICOM file of 8 x 8 grey pixels, but for some tags."""
    found = dataset(np.zeros((8, 8), np.uint8), bits=8, **tags)
    found.file_meta.TransferSyntaxUID, found.PixelData = syntax, picture
    found["PixelData"].VR = "OB"
    found.save_as(path, enforce_file_format=True)


def test_a_dicom_palette_in_segments_is_refused(tmp_path, monkeypatch):
    """Segments that repeat segments are unpacked twice as often with each of them: 18 take 40 seconds."""
    from pydicom import pixels
    from pydicom.uid import ExplicitVRLittleEndian

    words = [0, 1, 5, *[2, 3, 11, 0, 2, 3, 11, 0] * 40, 0, 1, 5]
    table = struct.pack(f"<{len(words)}H", *words)
    palette = {f"Segmented{colour}PaletteColorLookupTableData": table for colour in ("Red", "Green", "Blue")}
    palette |= {f"{colour}PaletteColorLookupTableDescriptor": [256, 0, 16] for colour in ("Red", "Green", "Blue")}
    dicom(tmp_path / "a.dcm", ExplicitVRLittleEndian, bytes(64), photometric="PALETTE COLOR", **palette)
    monkeypatch.setattr(pixels, "apply_color_lut", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(MetaGDError, match="a palette in segments"):
        read_pictures([tmp_path / "a.dcm"], "x")


def test_tags_behind_the_pixels_change_nothing(tmp_path, monkeypatch):
    from pydicom import pixels
    from pydicom.uid import ExplicitVRLittleEndian

    dicom(tmp_path / "a.dcm", ExplicitVRLittleEndian, bytes(64))
    assert read_pictures([tmp_path / "a.dcm"], "x").images.shape == (1, 8, 8, 1)
    behind = b"".join(struct.pack("<HH2sHH", 0x0028, tag, b"US", 2, 5_000) for tag in (0x0010, 0x0011))
    with (tmp_path / "a.dcm").open("ab") as file:
        file.write(behind)
    monkeypatch.setattr(pixels, "pixel_array", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(MetaGDError, match="tags behind its pixels say something else"):
        read_pictures([tmp_path / "a.dcm"], "x")


@pytest.mark.filterwarnings("ignore:The decoded RLE segment contains non-conformant padding")
@pytest.mark.parametrize("extra", [0, 1, 10, 1_000])
def test_runs_of_a_dicom_picture_are_counted_before_they_are_unpacked(tmp_path, monkeypatch, extra):
    from pydicom import pixels
    from pydicom.encaps import encapsulate
    from pydicom.uid import RLELossless

    runs = bytes([129, 7]) if extra > 1 else b""  # 128 sevens
    runs = runs * extra + bytes([256 - 31, 5, 128, 256 - 30, 6, 0, 9]) + b"\0" * 17 * (extra % 2)
    dicom(tmp_path / "a.dcm", RLELossless, encapsulate([struct.pack("<16L", 1, 64, *[0] * 14) + runs]))
    if extra > 1:
        monkeypatch.setattr(pixels, "pixel_array", lambda *_: pytest.fail("it was unpacked"))
        with pytest.raises(MetaGDError, match="more pixels are packed than its header says"):
            read_pictures([tmp_path / "a.dcm"], "x")
    else:
        found = dicom_file.pixels(tmp_path / "a.dcm", dicom_file.header(tmp_path / "a.dcm"), (128, 256))
        assert [len(np.unique(part)) for part in (found[:4], found[4:])] == [1, 2]


@pytest.mark.parametrize("side", [8, 16])
@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_a_packed_dicom_picture_has_the_size_that_its_header_says(tmp_path, side, kind):
    import io

    from PIL import Image
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

    Image.new("L", (side, 8), 99).save(packed := io.BytesIO(), format=kind)
    syntax = JPEGBaseline8Bit if kind == "JPEG" else JPEG2000Lossless
    dicom(tmp_path / "a.dcm", syntax, encapsulate([packed.getvalue()]))
    if side == 8:
        assert read_pictures([tmp_path / "a.dcm"], "x").images.shape == (1, 8, 8, 1)
    else:
        with pytest.raises(MetaGDError, match="its header says 8 x 8 pixels, and 8 x 16 are packed"):
            read_pictures([tmp_path / "a.dcm"], "x")


@pytest.mark.parametrize("side", [16, 16_384])
def test_tiles_of_a_tiff_picture_are_no_larger_than_pictures(tmp_path, side):
    import zlib

    tile = zlib.compress(bytes(min(side, 16) ** 2))
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 325: len(tile)}
    place = 8 + 2 + 12 * (len(tags) + 1) + 4
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in sorted({**tags, 324: place}.items()))
    head = struct.pack("<2sHLH", b"II", 42, 8, len(tags) + 1)
    (tmp_path / "a.tif").write_bytes(head + entries + struct.pack("<L", 0) + tile)
    if side == 16:
        assert not read_pictures([tmp_path / "a.tif"], "x").images.any()
    else:
        with pytest.raises(MetaGDError, match="16,384 x 16,384 pixels, more than 50,000,000"):
            read_pictures([tmp_path / "a.tif"], "x")


@pytest.mark.parametrize("dtype", ["|u1", "<U0", "<f8"])
def test_an_array_of_no_bytes_has_not_any_number_of_rows(tmp_path, dtype):
    shape = "(1000000000000,)" if dtype == "<U0" else "(1000000000000, 0)"
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name in ("images", "labels"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    with pytest.raises(MetaGDError, match=r"a\.npz: the array .*its header promises"):
        load_task(tmp_path / "a.npz")


def test_a_name_is_compared_with_those_of_about_its_length_only(monkeypatch):
    from metagd_optuna import given

    compared = []
    counted = given._edits
    monkeypatch.setattr(given, "_edits", lambda one, two: compared.append(two) or counted(one, two))
    assert nearest("labels", ["label", "label" * 1_000, "l", "labels-of-all"]) == "label"
    assert compared == ["label"]
    assert nearest("labels-of", ["x" * 10_000, "labels-of-all-cases"]) == "labels-of-all-cases"


def saved_network(path, change):
    """Write the file of a small network whose architecture, as JSON, is changed."""
    import keras

    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    config = change(json.loads(model.to_json()))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
    return path


def with_activation(config, activation):
    config["config"]["layers"][-1]["config"]["activation"] = activation
    return config


def in_networks(config, depth):
    for _ in range(depth):
        config = {**config, "config": {**config["config"], "name": "n", "layers": [config]}}
    return config


def texts(config):
    return with_activation(config, {"class_name": "__numpy__", "config": {"value": ["a"] * 4, "dtype": "S100000000"}})


def metric(config, module="keras.metrics", name="AUC"):
    of = {"module": module, "class_name": name, "config": {"num_thresholds": 10**8}, "registered_name": None}
    return with_activation(config, of)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (texts, "a constant of dtype S100000000, which is none of numbers"),
        (lambda config: texts(config)["config"]["layers"][-1]["config"]["activation"], "which is none of numbers"),
        (metric, r"keras\.metrics\.AUC is no part of a network's architecture"),
        (
            lambda config: metric(config, "keras.src.metrics.confusion_metrics"),
            "is no part of a network's architecture",
        ),
        (lambda config: in_networks(config, 300), "nested more than 100 levels deep"),
        (lambda config: '{"a":' * 600 + "1" + "}" * 600, "nested more than 100 levels deep"),
    ],
)
def test_a_network_file_holds_an_architecture_only(tmp_path, change, message):
    from metagd_optuna.training.saved_network import read_network

    with pytest.raises(MetaGDError, match=message):
        read_network(saved_network(tmp_path / "a.keras", change))


def test_networks_in_a_network_file_are_not_compiled(tmp_path, monkeypatch):
    import keras

    from metagd_optuna.training.saved_network import read_network
    from metagd_optuna.training.transfer import head_on

    def change(config):
        inner = {**config, "config": {**config["config"], "name": "inner"}}
        inner["compile_config"] = {"optimizer": "adam", "metrics": [metric({"config": {"layers": [{"config": {}}]}})]}
        return {**config, "config": {**config["config"], "layers": [inner]}}

    file = saved_network(tmp_path / "a.keras", change)
    assert read_network(file)((8, 8, 1), 2, seed=0).output_shape == (None, 2)
    monkeypatch.setattr(keras.Model, "compile_from_config", lambda *_: pytest.fail("it was compiled"))
    with pytest.raises(MetaGDError, match="cannot be read with its weights"):
        head_on(file)  # it has none


COMPUTED = {
    "the view 'studies'": """
        ALTER TABLE studies RENAME TO held;
        CREATE VIEW studies AS WITH RECURSIVE n(study_id) AS (SELECT 1 UNION ALL SELECT study_id + 1 FROM n)
        SELECT study_id, 's' || study_id AS study_name FROM n;
    """,
    "the view 'STUDIES_OF'": """
        CREATE VIEW STUDIES_OF AS SELECT 1 AS study_id;
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET type = 'VIEW' WHERE type = 'view';
    """,
    "the trigger 'each'": "CREATE TRIGGER each AFTER INSERT ON trials BEGIN DELETE FROM trials; END;",
    "the column 'more'": "ALTER TABLE studies ADD COLUMN more GENERATED ALWAYS AS (zeroblob(1000000000)) VIRTUAL;",
    "the table 'words'": "CREATE VIRTUAL TABLE words USING fts5(text);",
}


def test_networks_of_layers_that_keras_keeps_for_old_files_are_read(tmp_path):
    import keras

    from metagd_optuna.training.saved_network import read_network

    old = keras.src.legacy.layers.ThresholdedReLU(0.5)
    keras.Sequential([keras.Input((8, 8, 1)), old, keras.layers.Flatten(), keras.layers.Dense(2)]).save(
        tmp_path / "a.keras"
    )
    assert read_network(tmp_path / "a.keras")((8, 8, 1), 2, seed=0).output_shape == (None, 2)


@pytest.mark.parametrize("named", COMPUTED)
def test_a_database_that_computes_what_it_holds_is_refused(tmp_path, named):
    for must_exist in (False, True):
        with opened_storage(tmp_path / "a.db", must_exist=must_exist) as opened:
            opened.create_new_study([StudyDirection.MINIMIZE], f"study {must_exist}")
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.executescript(COMPUTED[named])
    with pytest.raises(MetaGDError, match=f"computes what it holds \\({named}\\).*choose another file"):
        open_storage(tmp_path / "a.db", must_exist=True)  # as everything does that reads one


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.parquet", "a.tar.gz"])
def test_a_pipe_is_no_file(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / name).symlink_to(tmp_path / "pipe")
    with pytest.raises(MetaGDError, match=r"neither a file nor a folder|cannot be read as a task"):
        load_task(tmp_path / name)
