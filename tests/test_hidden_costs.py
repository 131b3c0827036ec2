"""Small files that would take any time or memory: they are refused before they do."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import struct
import zipfile
from contextlib import closing

import h5py
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
    monkeypatch.setattr(pixels, "apply_color_lut", lambda *_, **__: pytest.fail("it was unpacked"))
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
    monkeypatch.setattr(pixels, "pixel_array", lambda *_, **__: pytest.fail("it was unpacked"))
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
        monkeypatch.setattr(pixels, "pixel_array", lambda *_, **__: pytest.fail("it was unpacked"))
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


@pytest.mark.parametrize("second", [8, 13_000])
def test_of_several_packed_frames_none_is_unpacked(tmp_path, monkeypatch, second):
    """However many the table of their places has, and whatever the header says."""
    import io

    from PIL import Image
    from pydicom import pixels
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    packed = []
    for side in (8, second):
        Image.new("L", (side, side), 99).save(file := io.BytesIO(), format="JPEG")
        packed.append(file.getvalue())
    dicom(tmp_path / "a.dcm", JPEGBaseline8Bit, encapsulate(packed))
    monkeypatch.setattr(pixels, "pixel_array", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(MetaGDError, match="2 frames are packed, and its header says one"):
        read_pictures([tmp_path / "a.dcm"], "x")


def test_a_table_of_places_does_not_lead_to_another_picture(tmp_path):
    import io

    from PIL import Image
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless

    packed = []
    for grey in (50, 200):
        Image.new("L", (8, 8), grey).save(file := io.BytesIO(), format="JPEG2000")
        packed.append(file.getvalue() + b"\0" * (len(file.getvalue()) % 2))
    tables = {"ExtendedOffsetTable": struct.pack("<Q", 8 + len(packed[0]))}
    tables["ExtendedOffsetTableLengths"] = struct.pack("<Q", len(packed[1]))
    dicom(tmp_path / "a.dcm", JPEG2000Lossless, encapsulate(packed, has_bot=False), **tables)
    with pytest.raises(MetaGDError, match="cannot be read"):  # two pictures in one, and not the second alone
        read_pictures([tmp_path / "a.dcm"], "x")


def test_segments_of_runs_are_in_order(tmp_path):
    from pydicom.encaps import encapsulate
    from pydicom.uid import RLELossless

    begins = struct.pack("<16L", 2, 90, 64, *[0] * 13)
    dicom(tmp_path / "a.dcm", RLELossless, encapsulate([begins + bytes([256 - 63, 5]) * 20]))
    with pytest.raises(MetaGDError, match="its segments are in no order"):
        read_pictures([tmp_path / "a.dcm"], "x")


@pytest.mark.parametrize("bits", [0, 17, 60_000])
def test_the_table_of_a_dicom_window_has_as_many_bits_as_one_has(tmp_path, bits):
    from pydicom.dataset import Dataset
    from pydicom.uid import ExplicitVRLittleEndian

    table = Dataset()
    table.add_new("LUTDescriptor", "US", [256, 0, bits])
    table.add_new("LUTData", "US", list(range(256)))
    dicom(tmp_path / "a.dcm", ExplicitVRLittleEndian, bytes(64), VOILUTSequence=[table])
    with pytest.raises(MetaGDError, match=f"the table of its window is of {bits} bits"):
        read_pictures([tmp_path / "a.dcm"], "x")


@pytest.mark.parametrize(
    "encoding", ["ISO_IR 100", "ISO IR 192", "UTF-8", "cp1251", "KOI8-R", "big5", "punycode", "IDNA", "unicode_escape"]
)
@pytest.mark.filterwarnings("ignore:Incorrect value for Specific Character Set", "ignore:Unknown encoding")
def test_texts_of_dicom_are_in_no_encoding_of_pythons_own(tmp_path, encoding):
    """Python's own decode some of theirs in quadratic time."""
    from pydicom.uid import ExplicitVRLittleEndian

    dicom(tmp_path / "a.dcm", ExplicitVRLittleEndian, bytes(64), PatientID="p1", SpecificCharacterSet="ISO_IR 192")
    name = encoding.encode().ljust(len(encoding) + len(encoding) % 2)
    whole, old = (tmp_path / "a.dcm").read_bytes(), struct.pack("<HH2sH", 8, 5, b"CS", 10) + b"ISO_IR 192"
    assert whole.count(old) == 1
    new = struct.pack("<HH2sH", 8, 5, b"CS", len(name)) + name
    (tmp_path / "a.dcm").write_bytes(whole.replace(old, new))
    if encoding in ("punycode", "IDNA", "unicode_escape"):
        with pytest.raises(MetaGDError, match=f"its texts are in {encoding}, which is no character set"):
            read_pictures([tmp_path / "a.dcm"], "x")
    else:
        assert dicom_file.patient_of(tmp_path / "a.dcm", "PatientID", "x") == "p1"


def test_what_is_empty_in_a_dicom_file_is_not_there(tmp_path):
    from pydicom.uid import ExplicitVRLittleEndian

    picture = bytes(range(64))
    dicom(tmp_path / "a.dcm", ExplicitVRLittleEndian, picture)
    empty = dict.fromkeys(("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"))
    dicom(tmp_path / "b.dcm", ExplicitVRLittleEndian, picture, **empty)
    one, other = (read_pictures([tmp_path / name], "x").images for name in ("a.dcm", "b.dcm"))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("tags", [{"RescaleSlope": None}, {}], ids=["empty", "absent"])
def test_of_slope_and_intercept_either_may_be_left_out(tmp_path, tags):
    from pydicom.uid import ExplicitVRLittleEndian

    picture, window = bytes(range(0, 256, 4)), {"WindowCenter": -900, "WindowWidth": 100}
    dicom(tmp_path / "a.dcm", ExplicitVRLittleEndian, picture, RescaleSlope=1, RescaleIntercept=-1024, **window)
    dicom(tmp_path / "b.dcm", ExplicitVRLittleEndian, picture, RescaleIntercept=-1024, **window, **tags)
    one, other = (read_pictures([tmp_path / name], "x").images for name in ("a.dcm", "b.dcm"))
    np.testing.assert_array_equal(one, other)
    assert len(np.unique(one)) > 10


def test_whose_a_picture_is_cannot_be_read_from_what_is_none(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"no picture")
    with pytest.raises(MetaGDError, match="PatientID cannot be read"):
        dicom_file.patient_of(tmp_path / "a.dcm", "PatientID", "x")


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


def archive_of(path, header, names=("images", "labels"), version=1):
    """Write an archive of arrays without content."""
    length = struct.pack("<H" if version == 1 else "<L", len(header))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(f"{name}.npy", b"\x93NUMPY" + bytes([version, 0]) + length + header.encode())
    return path


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("|u1", "(1000000000000, 0)"),
        ("<f8", "(1000000000000, 0)"),
        ("<U0", "(1000000000000,)"),
        ("<U0", "(1, 1000000000000)"),
        ("|S0", "(2, 3000000, 1)"),
    ],
)
def test_an_array_of_no_bytes_has_not_any_number_of_rows(tmp_path, dtype, shape):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    with pytest.raises(MetaGDError, match=r"a\.npz: the array .*its header promises"):
        load_task(archive_of(tmp_path / "a.npz", header))


@pytest.mark.parametrize("header", ["{'descr': (((", "{'descr': (), 'fortran_order': False, 'shape': (1,), }", "40L"])
def test_whatever_a_header_of_an_array_is_the_error_says_so(tmp_path, header):
    with pytest.raises(MetaGDError, match=r"a\.npz: the array .* cannot be read"):
        load_task(archive_of(tmp_path / "a.npz", header.ljust(117) + "\n"))


def test_a_header_of_an_array_is_short(tmp_path, monkeypatch):
    from metagd_optuna.tasks.readers import npz_file

    monkeypatch.setattr(npz_file, "_READ_HEADER", {(2, 0): lambda *_: pytest.fail("it was read")})
    with pytest.raises(MetaGDError, match="a header of 2,000,000 bytes"):
        load_task(archive_of(tmp_path / "a.npz", " " * 2_000_000, version=2))


def test_a_name_is_compared_with_those_of_about_its_length_only(monkeypatch):
    from metagd_optuna import given

    compared = []
    counted = given._edits
    monkeypatch.setattr(given, "_edits", lambda one, two: compared.append(two) or counted(one, two))
    assert nearest("labels", ["label", "label" * 1_000, "l", "labels-of-all"]) == "label"
    assert compared == ["label"]
    assert nearest("labels-of", ["x" * 10_000, "labels-of-all-cases"]) == "labels-of-all-cases"


def network_file(path, change):
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


def metric(config, module="keras.metrics"):
    of = {"module": module, "class_name": "AUC", "config": {"num_thresholds": 10**8}, "registered_name": None}
    return with_activation(config, of)


def with_layers(config, layers):
    first, *others = config["config"]["layers"]
    return {**config, "config": {**config["config"], "layers": [first, *layers, *others]}}


def activation(number, called_on=None):
    """Return a layer as Keras writes it, in a graph called on another one, of which -1 is its input."""
    layer = {"module": "keras.layers", "class_name": "Activation", "registered_name": None}
    layer["config"] = {"name": f"a{number}", "activation": "linear"}
    if called_on is not None:
        layer |= {"name": f"a{number}", "inbound_nodes": [call("in" if called_on < 0 else f"a{called_on}")]}
    return layer


def dense(units, initializer="zeros"):
    config = {"units": units, "kernel_initializer": initializer}
    return {"module": "keras.layers", "class_name": "Dense", "registered_name": None, "config": config}


def call(name, node=0, **given):
    tensor = {"shape": [None, 8], "dtype": "float32", "keras_history": [name, node, 0]}
    return {"args": [{"class_name": "__keras_tensor__", "config": tensor}], "kwargs": given}


def split(sections, times=1):
    config = {"name": "a0", "indices_or_sections": sections, "axis": -1}
    found = {**activation(0, -1), "module": "keras.src.ops.numpy", "class_name": "Split", "config": config}
    return {**found, "inbound_nodes": found["inbound_nodes"] * times}


def in_arguments(given):
    return {**activation(0, -1), "inbound_nodes": [call("in", unknown=given)]}


AUGMENT = {"module": "keras.layers", "class_name": "RandAugment", "config": {}}
PIPELINE = {"module": "keras.layers", "class_name": "Pipeline", "config": {"layers": [AUGMENT]}}
LOOKUP = {"module": "keras", "class_name": "layers.StringLookup", "config": {}}
TIMES = {"class_name": "TimeDistributed"}
STATEFUL = {"module": "keras.layers", "class_name": "LSTM", "config": {"units": 10**5, "stateful": True}}


BUILT = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 10**4}}
BUILT["build_config"] = {"input_shape": [None, 30_000]}


def in_key(network):
    return {"name": "a0", "layers": [], "layer": network}


def graph(layers, name="graph", shape=(None, 8)):
    """Return a network of layers, the first of which is its output."""
    given = {"module": "keras.layers", "class_name": "InputLayer", "registered_name": None, "name": "in"}
    given |= {"config": {"name": "in", "batch_shape": list(shape)}, "inbound_nodes": []}
    last = layers[0]
    ends = {"input_layers": [["in", 0, 0]], "output_layers": [[last["name"], len(last["inbound_nodes"]) - 1, 0]]}
    config = {"name": name, "trainable": True, "layers": [*layers, given], **ends}
    return {"module": "keras.src.models.functional", "class_name": "Functional", "config": config}


def called_twice(depth):
    """Return a network that calls one twice in a row that does so, each on another shape than it was made with."""
    made = graph([activation(0, called_on=-1)], shape=(None, None))
    for level in range(depth):
        name = f"n{level}"
        inner = {**made, "name": name, "registered_name": None, "inbound_nodes": [call("in"), call(name)]}
        inner["config"]["name"] = name
        made = graph([inner], shape=(None, None if level < depth - 1 else 8))
        made["config"]["output_layers"] = [[name, 2, 0]]
    return made


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
        (
            lambda config: with_activation(
                config, {"module": "keras", "class_name": "function", "config": "metrics.AUC"}
            ),
            r"keras\.metrics\.AUC is no part of a network's architecture",
        ),
        (
            lambda config: with_activation(
                config, {"module": "keras.layers", "class_name": "MelSpectrogram", "config": {"num_mel_bins": 10**6}}
            ),
            "MelSpectrogram is no layer for images",
        ),
        (
            lambda config: with_activation(
                config, {"module": "keras.layers", "class_name": "StringLookup", "config": {"num_oov_indices": 10**9}}
            ),
            "StringLookup is no layer for images",
        ),
        (
            lambda config: with_layers(config, [activation(n) for n in range(300)]),
            "takes more than 1,000 axes of tensors",
        ),
        (lambda config: graph([activation(n, n - 1) for n in reversed(range(400))]), "takes more than 1,000 axes"),
        (lambda config: graph([split(10**6)], shape=(None, 10**6)), "takes more than 1,000 axes"),
        (lambda config: graph([split(list(range(900)), times=2)], shape=(None, 1000)), "takes more than 1,000 axes"),
        (lambda config: graph([in_arguments([1] * 10_000)]), "takes more than 9,000 parts"),
        (lambda config: called_twice(20), "takes more than 1,000 axes"),
        (lambda config: graph([in_arguments(called_twice(20))]), "a layer is called with Functional"),
        (lambda config: graph([{**activation(0, -1), **TIMES, "config": in_key(called_twice(20))}]), "1,000 axes"),
        (lambda config: graph([in_arguments([BUILT])]), "a layer is called with Dense, which is no tensor or number"),
        (lambda config: with_activation(config, {**BUILT, "module": "keras.src.layers.core.dense_test"}), "no part of"),
        (lambda config: with_layers(config, [STATEFUL]), "LSTM keeps its state from one batch to the next"),
        (
            lambda config: with_layers(
                config, [{"module": "keras", "class_name": "layers.StringLookup", "config": {}}]
            ),
            "StringLookup is no layer for images",
        ),
        (lambda config: '{"config": [' + "{}," * 2**21 + "{}]}", "config.json of 6,29"),
        (lambda config: in_networks(config, 300), "nested more than 100 levels deep"),
        (lambda config: '{"a":' * 600 + "1" + "}" * 600, "nested more than 100 levels deep"),
    ],
)
def test_a_network_file_holds_an_architecture_only(tmp_path, monkeypatch, change, message):
    from metagd_optuna.training import architecture_checks
    from metagd_optuna.training.saved_network import read_network

    monkeypatch.setattr(architecture_checks, "_MOST_AXES", 1_000)
    monkeypatch.setattr(architecture_checks, "_MOST_PARTS", 9_000)
    with pytest.raises(MetaGDError, match=message):
        read_network(network_file(tmp_path / "a.keras", change))


ORTHOGONAL = {"module": "keras.initializers", "class_name": "Orthogonal", "config": {}, "registered_name": None}


def as_keras_2_calls(names):
    """Return a layer that is called on many others at once, as Keras 2 wrote it."""
    return {**activation(0, -1), "class_name": "Add", "config": {"name": "a0"}, "inbound_nodes": [[*names]]}


@pytest.mark.parametrize(
    ("change", "limit", "most", "message"),
    [
        (lambda config: with_layers(config, [activation(n) for n in range(30)]), "_MOST_LAYERS", 30, "30 layers"),
        (lambda config: with_layers(config, [{**AUGMENT}] * 3), "_MOST_VARIABLES", 25, "25 variables"),
        (lambda config: with_layers(config, [PIPELINE] * 3), "_MOST_TRACED", 25, "25 layers that are traced"),
        (
            lambda config: graph([{**activation(0, -1), **dense(10**330)}]),
            "_MOST_WEIGHTS",
            10**12,
            "1,000,000,000,000 w",
        ),
        (lambda config: graph([activation(0, -1)], shape=[1] * 600), "_MOST_AXES", 500, "500 axes of tensors"),
        (lambda config: graph([as_keras_2_calls([["in", 0, 0]] * 50)]), "_MOST_INPUTS", 40, "40 inputs of layers"),
        (
            lambda config: graph([{**activation(0, -1), **dense(300, ORTHOGONAL)}], shape=(None, 300)),
            "_MOST_PRODUCTS",
            300**3 - 1,
            "26,999,999 products for orthogonal matrices",
        ),
    ],
)
def test_what_keras_makes_is_counted_while_it_makes_it(tmp_path, monkeypatch, change, limit, most, message):
    import keras

    from metagd_optuna.training import architecture_checks
    from metagd_optuna.training.saved_network import checked_architecture

    initialise = keras.KerasTensor.__init__
    monkeypatch.setattr(architecture_checks, limit, most)
    with pytest.raises(MetaGDError, match=f"takes more than {message}"):
        checked_architecture(network_file(tmp_path / "a.keras", change))
    assert keras.KerasTensor.__init__ is initialise
    monkeypatch.setattr(architecture_checks, limit, 10**9)
    if limit != "_MOST_WEIGHTS":  # or they do not fit into memory
        assert checked_architecture(network_file(tmp_path / "a.keras", change))


def test_only_what_is_made_in_this_thread_is_counted_and_keras_is_left_as_it_was(tmp_path, monkeypatch):
    import threading

    import keras
    from keras.src.backend.common.variables import Variable
    from keras.src.models import functional
    from keras.src.ops.operation import Operation
    from keras.src.saving import serialization_lib

    from metagd_optuna.training import architecture_checks

    places = [
        (keras.KerasTensor, "__init__"),
        (Operation, "__new__"),
        (Variable, "__init__"),
        (Operation, "compute_output_spec"),
        (keras.Layer, "__call__"),
        (serialization_lib, "deserialize_keras_object"),
        (functional, "deserialize_node"),
    ]
    before = [vars(owner)[name] for owner, name in places]
    monkeypatch.setattr(architecture_checks, "_MOST_LAYERS", 1)
    for error in (KeyboardInterrupt, ValueError, None):
        expected = contextlib.nullcontext() if error is None else pytest.raises(error)
        with expected, architecture_checks.limited(tmp_path / "a.keras") as made:
            other = threading.Thread(target=lambda: [keras.layers.Dense(2).build((None, 3)) for _ in range(5)])
            other.start()
            other.join()
            keras.layers.Dense(2).build((None, 3))
            if error is not None:
                raise error
        assert made.weights == 3 * 2 + 2
        assert [vars(owner)[name] for owner, name in places] == before


def test_what_keras_makes_of_an_error_changes_nothing(tmp_path, monkeypatch):
    import keras

    from metagd_optuna.training import architecture_checks

    monkeypatch.setattr(architecture_checks, "_MOST_LAYERS", 1)
    limit = architecture_checks.limited(tmp_path / "a.keras")
    with pytest.raises(MetaGDError, match="takes more than 1 layers"), limit, contextlib.suppress(ValueError):
        [keras.layers.Dense(2) for _ in range(2)]


def test_layers_that_are_built_count_in_a_network_that_is_not(tmp_path, monkeypatch):
    from metagd_optuna.training import saved_network

    def change(config):
        config["config"].pop("build_input_shape", None)
        config.pop("build_config", None)
        layers = [layer for layer in config["config"]["layers"] if layer["class_name"] != "InputLayer"]
        layers[-1]["config"]["units"], layers[-1]["build_config"] = 10, {"input_shape": [None, 64]}
        return {**config, "config": {**config["config"], "layers": layers}}

    counted = []
    monkeypatch.setattr(saved_network, "check_memory", lambda needed, *_: counted.append(needed))
    saved_network.read_network(network_file(tmp_path / "a.keras", change))
    assert counted == [4 * 65 * 10]


@pytest.mark.parametrize(("dtype", "bytes_each"), [("float32", 4), ("float64", 8), ("float16", 4)])
def test_weights_take_what_their_dtype_takes(tmp_path, monkeypatch, dtype, bytes_each):
    from metagd_optuna.training import saved_network

    def change(config):
        config["config"]["layers"][-1]["config"]["dtype"] = dtype
        return config

    counted = []
    monkeypatch.setattr(saved_network, "check_memory", lambda needed, *_: counted.append(needed))
    saved_network.read_network(network_file(tmp_path / "a.keras", change))
    assert counted == [65 * 2 * bytes_each]


@pytest.mark.parametrize(
    "change", [lambda depth: graph([activation(n, n - 1) for n in reversed(range(20 * depth))]), called_twice]
)
def test_networks_that_take_a_moment_to_be_made_are(tmp_path, change):
    from metagd_optuna.training.saved_network import checked_architecture

    assert checked_architecture(network_file(tmp_path / "a.keras", lambda _: change(3)))


def test_what_a_network_normalises_with_counts(tmp_path, monkeypatch):
    """Of two numbers Keras makes arrays of any size while it builds the layer."""
    import keras

    from metagd_optuna.training import saved_network

    inputs = keras.Input((8, 8, 3))
    found = keras.layers.Normalization(axis=(1, 2, 3), mean=0.5, variance=0.1)(inputs)
    found = keras.layers.Normalization(axis=None, mean=0.5, variance=0.1)(found)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(found)))
    model.save(tmp_path / "a.keras")
    counted = []
    monkeypatch.setattr(saved_network, "check_memory", lambda needed, *_: counted.append(needed))
    assert saved_network.read_network(tmp_path / "a.keras")((8, 8, 3), 2, seed=0).count_params() == 386
    assert counted == [4 * (386 + 2 * 192 + 2)]


TENSOR = {"class_name": "__keras_tensor__", "config": {"shape": [None, 64], "keras_history": ["flatten", 0, 0]}}
CONSTANT = {"class_name": "__tensor__", "config": {"value": [[1.0]], "dtype": "float32"}}


@pytest.mark.parametrize(
    "calls",
    [
        [{"args": [CONSTANT], "kwargs": {}}],
        [{"args": [CONSTANT, "text"], "kwargs": {"training": ["text"]}}],
        [{"args": [CONSTANT], "kwargs": {}, "more": TENSOR}],
        [{"args": [{**CONSTANT, "config": {**CONSTANT["config"], "more": TENSOR}}], "kwargs": {}}],
        [{"args": [CONSTANT, {"class_name": "__keras_tensor__"}], "kwargs": {}}],
        [{"args": [TENSOR], "kwargs": {}}, {"args": [CONSTANT], "kwargs": {}}],
        [[]],
        [{}],
        ["flatten"],
        7,
    ],
)
def test_nothing_is_computed_from_constants_in_a_network_file(tmp_path, calls):
    import keras

    from metagd_optuna.training.saved_network import read_network

    inputs = keras.Input((8, 8, 1))
    tiled = keras.ops.tile(keras.layers.Flatten()(inputs), (1, 2)) + keras.ops.ones((1, 128))
    model = keras.Model(inputs, keras.layers.Dense(2)(tiled))
    model.save(tmp_path / "a.keras")
    assert read_network(tmp_path / "a.keras")((8, 8, 1), 2, seed=0).output_shape == (None, 2)  # constants beside inputs
    config = json.loads(model.to_json())
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "Tile":
            layer["inbound_nodes"] = calls
    with pytest.raises(MetaGDError, match=r"a layer is called on constants alone|calls of a layer that are no list"):
        read_network(network_file(tmp_path / "a.keras", lambda _: config))


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((10**10,), "float32", "holds 10,000,000,000 values of float32"),
        ((2**20,), "S4000", r"holds 1,048,576 values of \|S4000"),
        ((4,), h5py.string_dtype(), "holds 4 values of object"),
    ],
)
def test_a_file_of_weights_holds_no_array_larger_than_they_are(tmp_path, shape, dtype, message):
    import keras

    from metagd_optuna.training.transfer import head_on

    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
    model.save(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (tmp_path / "w.h5").write_bytes(parts["model.weights.h5"])
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", shape, dtype, chunks=(min(shape[0], 1000),))
    parts["model.weights.h5"] = (tmp_path / "w.h5").read_bytes()
    with zipfile.ZipFile(tmp_path / "b.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    head_on(tmp_path / "a.keras")
    with pytest.raises(MetaGDError, match=f"layers/dense/vars/0 {message}"):
        head_on(tmp_path / "b.keras")


def test_networks_in_a_network_file_are_not_compiled(tmp_path, monkeypatch):
    import keras

    from metagd_optuna.training.saved_network import read_network
    from metagd_optuna.training.transfer import head_on

    def change(config):
        inner = {**config, "config": {**config["config"], "name": "inner"}}
        inner["compile_config"] = {"optimizer": "adam", "metrics": [metric({"config": {"layers": [{"config": {}}]}})]}
        return {**config, "config": {**config["config"], "layers": [inner]}}

    file = network_file(tmp_path / "a.keras", change)
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
    "the table 'boxes'": """
        CREATE VIRTUAL TABLE boxes USING rtree(id, low, high);
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET rootpage = x'30' WHERE name = 'boxes';
    """,
    "the table 'cubes'": """
        CREATE VIRTUAL TABLE cubes USING rtree(id, low, high);
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET rootpage = 2 WHERE name = 'cubes';
    """,
    "the column 'said'": f"ALTER TABLE studies ADD COLUMN said TEXT DEFAULT '{'a' * 10_000}';",
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


def test_a_database_of_two_versions_is_refused(tmp_path):
    with opened_storage(tmp_path / "a.db", must_exist=False):
        pass
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
        connection.execute("INSERT INTO alembic_version VALUES ('v0')")
    with pytest.raises(MetaGDError, match=r"the storage cannot be opened: .*more than one head"):
        open_storage(tmp_path / "a.db", must_exist=True)


@pytest.mark.parametrize("column", ["patient", "site", "label"])
def test_a_value_of_a_table_is_no_book(tmp_path, column):
    import pandas as pd

    cases = 40
    frame = pd.DataFrame({"age": np.arange(cases), "site": ["a", "b"] * 20, "patient": [f"p{n}" for n in range(cases)]})
    frame["label"] = ["ill", "well"] * 20
    frame[column] = frame[column].astype(object)
    frame.loc[7, column] = "x" * 20_000
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(MetaGDError, match=r"of 20,000 characters; it may have 10,000"):
        load_task(tmp_path / "a.csv", target="label")


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.parquet", "a.tar.gz"])
def test_a_pipe_is_no_file(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / name).symlink_to(tmp_path / "pipe")
    with pytest.raises(MetaGDError, match=r"neither a file nor a folder|cannot be read as a task"):
        load_task(tmp_path / name)
