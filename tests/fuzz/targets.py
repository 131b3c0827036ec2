"""What is fuzzed: for each parser, inputs near to valid ones, and what reads one of them."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shutil
import sqlite3
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import strategies as st
from mutations import JUNK, NAMES, as_json, as_toml, bytes_of, changed, other, places, trees

RESULTS = Path(__file__).parents[2] / "docs" / "results"
STUDIES = Path(__file__).parents[2] / "studies"

# An empty folder -> inputs, and what reads one.
Target = Callable[[Path], tuple[st.SearchStrategy[Any], Callable[[Any], object]]]


def texts(valid: list[Any], written: Callable[[Any], str] = as_json) -> st.SearchStrategy[bytes]:
    """Return documents that differ from valid ones as trees, or as bytes."""
    whole = [written(tree).encode() for tree in valid]
    return st.one_of(trees(valid).map(lambda tree: written(tree).encode("utf-8", "surrogatepass")), bytes_of(whole))


def _kept(place: Path, content: bytes) -> Path:
    place.write_bytes(content)
    return place


def policy(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], object]]:
    """Policy files, read, put into words and written again."""
    from metagd_optuna.policy import BASELINES
    from metagd_optuna.policy.stored import load_policy, measured_result, stored_policies
    from metagd_optuna.policy.words import in_words

    valid = [load_policy(name).to_dict() for name in stored_policies()]
    valid += [{"schema": 2, "kind": "default", "name": "keras-adam"}, {"schema": 2, "kind": "article"}]
    valid += [
        {"schema": 2, "kind": "baseline", "name": name, "params": dict.fromkeys(row.ranges, 0.01)}
        for name, row in BASELINES.items()
        if hasattr(row, "ranges")
    ]

    def read(content: bytes) -> None:
        found = load_policy(_kept(folder / "policy.json", content))
        assert isinstance(found.formula, str)
        assert in_words(found, 0.5)
        measured_result(found)
        found.to_json()

    return texts(valid), read


def study(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], object]]:
    """Study files."""
    import tomllib

    from metagd_optuna.tuning.study_file import load_study

    (folder / "a.npz").touch()
    (folder / "b.csv").touch()
    valid = [tomllib.loads(file.read_text(encoding="utf-8")) for file in sorted(STUDIES.glob("*.toml"))]
    valid.append(
        {
            "tasks": ["a.npz", {"path": "b.csv", "target": "x", "leave_out": ["y"], "window": [1.0, 2.0]}],
            "network": "package.module:function",
            "target_share": 0.9,
            "pruning": True,
        }
    )
    return texts(valid, as_toml), lambda content: load_study(_kept(folder / "study.toml", content)).to_dict()


def results(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], object]]:
    """results.json, and the report that is written from it."""
    from metagd_optuna.report.content import report_blocks
    from metagd_optuna.report.html import html
    from metagd_optuna.report.markdown import markdown_report
    from metagd_optuna.report.notes import task_note
    from metagd_optuna.report.results import Results, merge_results, read_results

    valid = [_few_candidates(json.loads((RESULTS / "first_attempt" / "results.json").read_text(encoding="utf-8")))]
    # Errors are put into words by the schema, which is made anew each time because forms may be registered in between.
    schema = Results.model_json_schema()

    def read(content: bytes) -> None:
        with patch.object(Results, "model_json_schema", return_value=schema):
            found = read_results(_kept(folder / "results.json", content))
        merged = merge_results([found])
        markdown_report(merged)
        html(report_blocks(merged))
        for name in merged.tasks:
            task_note(merged, name)

    return texts(valid), read


def _few_candidates(document: Any) -> Any:
    """Return results of seven candidates of fourteen, one of a kind, whose figures are drawn sooner."""
    [task] = document["tasks"].values()
    kept = ("meta-policy", task["best_baseline"], "adam-constant", "keras-adam", "article", "replay", "frozen")
    task["candidates"] = [found for found in task["candidates"] if found["name"] in kept]
    return document


def snapshot(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], object]]:
    """Snapshots, checked as a study checks what it takes."""
    import optuna

    from metagd_optuna.tuning.runner import versions
    from metagd_optuna.tuning.snapshots import Snapshots, read_snapshot
    from metagd_optuna.tuning.store import Identity, StudyStore
    from metagd_optuna.tuning.study_file import load_study

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    source = RESULTS / "batch" / "snapshots" / "breastmnist.json"
    spec = load_study(next(file for file in (RESULTS / "batch").glob("*.toml") if "breastmnist" in file.name))
    metadata = read_snapshot(source).metadata
    valid = [json.loads(source.read_text(encoding="utf-8"))]

    def read(content: bytes) -> None:
        identity = Identity(spec.name, spec.to_dict(), versions(), "any", tuple(spec.task_locations))
        store = StudyStore(optuna.storages.InMemoryStorage(), identity).task("breastmnist")
        _kept(folder / "breastmnist.json", content)
        Snapshots(folder, spec, lambda line: None).restore(store, metadata)

    return texts(valid), read


def runs(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], object]]:
    """Runs of the suite, a line each."""
    from metagd_optuna.suite.runs import read_runs

    run = {
        "candidate": "adam",
        "seed": 1,
        "epochs": [0.5, 1.0],
        "scores": [0.6, 0.7],
        "test_scores": [],
        "budget": 1.0,
        "batch_norm": True,
        "normalised": False,
        "batch_size": 32,
        "chance": 0.5,
    }
    return texts([run], lambda tree: as_json(tree) + "\n"), lambda c: read_runs(_kept(folder / "a.jsonl", c))


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}
    for part, size in (("train", 12), ("val", 6), ("test", 6)):
        found[f"{part}_images"] = rng.integers(0, 256, (size, 8, 8), dtype=np.uint8)
        found[f"{part}_labels"] = (np.arange(size) % 2).astype(np.uint8)
    return found


VALUES = (["a"] * 12, ["train", "val", "test"] * 4, [0.5] * 12, [np.nan] * 12, [2**62] * 12, [], "a", ["x" * 9999] * 12)
DTYPES = (
    "|O",
    "<U3",
    "<U9999999",
    "|S0",
    "|V4",
    "<f2",
    "<f4",
    "<f8",
    "<c16",
    "<M8[s]",
    "<m8[D]",
    "|b1",
    "<i8",
    ">u2",
    "x",
)
DTYPES_OF_MORE = (
    "[('a', '<i4')]",
    "[('a', '|O')]",
    "('<f4', (1099511627776,))",
    "{'names': ['a'], 'formats': ['<i4']}",
    "[]",
)
SHAPES = (
    "()",
    "(0,)",
    "(12,)",
    "(12, 1)",
    "(12, 8, 8)",
    f"({2**62}, 4)",
    f"({10**12}, 8, 8)",
    "(-1, 8, 8)",
    "(12, 0, 8)",
)


def npz(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], object]]:
    """npz files: other names, types, shapes and contents of arrays, and other bytes of the archive."""
    from metagd_optuna.tasks import load_task, save_task
    from metagd_optuna.tasks.readers.npz import read_npz

    arrays = _arrays()
    undivided = {"images": arrays["train_images"], "labels": arrays["train_labels"], "split": np.array(["a"] * 12)}
    file = io.BytesIO()
    np.savez(file, **arrays)
    (folder / "a.npz").write_bytes(file.getvalue())
    save_task(load_task(folder / "a.npz"), folder / "b.npz")
    valid = [(folder / name).read_bytes() for name in ("a.npz", "b.npz")]
    names = (*arrays, "images", "labels", "patients", "split", "classes", "about", "train_patients", *NAMES)

    @st.composite
    def built(draw: st.DrawFn) -> bytes:
        found = dict(draw(st.sampled_from([arrays, undivided])))
        for _ in range(draw(st.integers(1, 3))):
            name = draw(st.sampled_from(names))
            array = found.get(name, np.array(["a", "b"] * 6))
            how = draw(st.integers(0, 4))
            if how == 0:
                found.pop(name, None)
            elif how == 1:
                kind = draw(st.sampled_from(("f2", "f4", "f8", "i8", "u2", "b1", "c16", "U3", "S2", "M8[s]", "V3")))
                with contextlib.suppress(ValueError, TypeError):
                    found[name] = array.astype(kind)
            elif how == 2:
                with contextlib.suppress(ValueError):
                    found[name] = array.reshape(
                        draw(st.sampled_from([(-1,), (-1, 1), (1, -1), (2, -1), (1, 1, 2, -1)]))
                    )
            elif how == 3:
                found[name] = np.array(draw(st.sampled_from(VALUES)))
            else:
                found[name] = array[: draw(st.integers(0, 12))] if array.ndim else array
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", draw(st.sampled_from([0, 8, 12, 14]))) as archive:
            for name, array in found.items():
                archive.writestr(
                    f"x{name}.npy".replace("\ud800", "?") if name in NAMES else f"{name}.npy", _npy(draw, array)
                )
        return stream.getvalue()

    options = st.sampled_from([{}, {"image_size": 9}, {"target": "0"}, {"positive": "1"}])
    inputs = st.tuples(st.one_of(built(), bytes_of(valid)), options)

    def read(given: tuple[bytes, dict[str, Any]]) -> None:
        read_npz(_kept(folder / "in.npz", given[0]), **given[1])
        load_task(folder / "in.npz", **given[1])

    return inputs, read


def _npy(draw: st.DrawFn, array: np.ndarray) -> bytes:
    """Return an array as the bytes of an .npy file, with a header that may lie."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    if draw(st.integers(0, 2)):
        return stream.getvalue()
    content = stream.getvalue()[np.lib.format.MAGIC_LEN + 2 + struct.unpack("<H", stream.getvalue()[8:10])[0] :]
    descr = draw(st.sampled_from([repr(array.dtype.str), *map(repr, DTYPES), *DTYPES_OF_MORE]))
    shape = draw(st.sampled_from([repr(array.shape), *SHAPES]))
    header = f"{{'descr': {descr}, 'fortran_order': {draw(st.booleans())}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


CELLS = (*NAMES, "1", "2.5", "nan", "1e999", "9" * 400, "1,5", "2026-11-27", "true", '"', "a.png", "/dev/zero", "..")


def csv(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], object]]:
    """CSV files of values."""
    from metagd_optuna.tasks import load_task

    rows = [["age", "sex", "label"], *([str(20 + i), "fm"[i % 2], "ny"[i % 3 == 0]] for i in range(24))]
    many = st.integers(0, 2**32)

    @st.composite
    def built(draw: st.DrawFn) -> bytes:
        table = [list(row) for row in rows]
        for _ in range(draw(st.integers(1, 4))):
            row = table[draw(many) % len(table)]
            cell = draw(st.one_of(st.sampled_from(CELLS), st.text(max_size=6)))
            if draw(st.booleans()):
                row[draw(many) % len(row)] = cell
            else:
                row.append(cell)
        mark = draw(st.sampled_from(",;\t|"))
        return "\n".join(mark.join(row) for row in table).encode("utf-8", "surrogatepass")

    options = st.sampled_from([{}, {"target": "label"}, {"target": "sex", "patient": "age"}, {"kind": "images"}])
    inputs = st.tuples(st.one_of(built(), bytes_of(["\n".join(map(",".join, rows)).encode()])), options)
    return inputs, lambda given: load_task(_kept(folder / "a.csv", given[0]), **given[1])


def parquet(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], object]]:
    """Parquet files: columns of any type, and other bytes."""
    import datetime
    import decimal

    import pandas
    import pyarrow
    from pyarrow import parquet as files

    from metagd_optuna.tasks import load_task

    n = 24
    columns: dict[str, list[Any]] = {
        "numbers": [float(i) for i in range(n)],
        "label": ["ny"[i % 3 == 0] for i in range(n)],
        "lists": [[i, None] for i in range(n)],
        "tables": [{"a": i} for i in range(n)],
        "dates": [datetime.date(2026, 1, 1 + i) for i in range(n)],
        "times": [datetime.datetime(2026, 1, 1 + i) for i in range(n)],
        "decimals": [decimal.Decimal(i) for i in range(n)],
        "bytes": [bytes([i, 255]) for i in range(n)],
        "gaps": [None] * n,
        "flags": [i % 2 == 0 for i in range(n)],
        "large": [2**62 + i for i in range(n)],
        "not finite": [float("inf"), float("nan")] * (n // 2),
        "texts": ["a", "bb", None] * (n // 3),
        **{name: [name] * n for name in NAMES if "\ud800" not in name},
    }

    def written(chosen: list[str], **how: Any) -> bytes:
        stream = io.BytesIO()
        files.write_table(pyarrow.table({name: columns[name] for name in chosen}), stream, **how)
        return stream.getvalue()

    def of_pandas() -> bytes:
        chosen = {name: columns[name] for name in ("texts", "times", "label")}
        frame = pandas.DataFrame(chosen, index=pandas.Index(range(n), name="case"))
        frame["category"] = pandas.Categorical(columns["texts"])
        frame["gaps"] = pandas.array([1, None] * (n // 2), "Int64")
        return frame.to_parquet()

    built = st.lists(st.sampled_from(sorted(columns)), unique=True, min_size=1, max_size=6).map(written)
    targets = ["label"] * 6 + ["lists", "flags", "decimals", "dates"]
    options = st.sampled_from([{"target": name} for name in targets])
    several = {"row_group_size": 9, "data_page_version": "2.0", "write_page_index": True, "compression": "zstd"}
    bases = [
        written(["numbers", "label", "flags"]),
        written(["texts", "label", "gaps"], use_dictionary=False),
        written(["texts", "large", "label", "dates", "decimals"], **several),
        of_pandas(),
    ]
    inputs = st.tuples(st.one_of(built, bytes_of(bases)), options)
    return inputs, lambda given: load_task(_kept(folder / "a.parquet", given[0]), **given[1])


def images(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], object]]:
    """PNG, JPEG, BMP and TIFF files."""
    from PIL import Image

    from metagd_optuna.tasks.readers.pictures import read_pictures

    os.environ["METAGD_IMAGE_CACHE_GIB"] = "0"
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    valid: list[tuple[str, list[bytes]]] = []
    for ending, kinds in (
        ("png", ("L", "RGB", "P", "RGBA", "I;16", "1")),
        ("jpg", ("L", "RGB")),
        ("bmp", ("L", "RGB")),
    ):
        valid.append((ending, [_image(rng, kind, ending, exif) for kind in kinds]))
    valid.append(("tif", [_image(rng, kind, "tif", exif) for kind in ("L", "RGB", "I;16")]))
    inputs = st.one_of(*(st.tuples(st.just(ending), bytes_of(files)) for ending, files in valid))

    def read(given: tuple[str, bytes]) -> None:
        read_pictures([_kept(folder / f"a.{given[0]}", given[1])], "x", image_size=8)

    return inputs, read


def _image(rng: np.random.Generator, mode: str, ending: str, exif: Any) -> bytes:
    from PIL import Image

    shape = (9, 10, 4) if mode == "RGBA" else (9, 10, 3) if mode == "RGB" else (9, 10)
    pixels = rng.integers(0, 256, shape).astype(np.uint16 if mode == "I;16" else np.uint8)
    image = Image.fromarray(pixels)
    image = image.convert(mode) if mode in ("1", "P") else image
    stream = io.BytesIO()
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(ending, ending.upper())
    image.save(stream, kind, **({"exif": exif} if kind in ("JPEG", "TIFF") else {}))
    return stream.getvalue()


def dicom(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], object]]:
    """DICOM files: other values of tags, and other bytes."""
    import warnings

    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage

    from metagd_optuna.tasks.readers.pictures import patients_of, read_pictures

    os.environ["METAGD_IMAGE_CACHE_GIB"] = "0"
    rng = np.random.default_rng(0)

    def written(tags: dict[str, Any], photometric: str = "MONOCHROME2", *, packed: bool = False) -> bytes:
        found = Dataset()
        found.file_meta = FileMetaDataset()
        found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = SecondaryCaptureImageStorage
        found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = "1.2.3"
        found.Rows, found.Columns, found.BitsAllocated, found.BitsStored, found.HighBit = 9, 10, 16, 12, 11
        found.PixelRepresentation, found.PatientID, found.Modality = 0, "A", "CT"
        colour = photometric == "RGB"
        found.SamplesPerPixel, found.PhotometricInterpretation = 3 if colour else 1, photometric
        if colour:
            found.PlanarConfiguration, found.BitsAllocated, found.BitsStored, found.HighBit = 0, 8, 8, 7
        kind, shape = (np.uint8, (9, 10, 3)) if colour else (np.uint16, (9, 10))
        found.PixelData = rng.integers(0, 200, shape).astype(kind).tobytes()
        for name, value in tags.items():
            setattr(found, name, value)
        if packed:
            found.compress(RLELossless)
        stream = io.BytesIO()
        pydicom.dcmwrite(stream, found, enforce_file_format=True)
        return stream.getvalue()

    window = {"WindowCenter": 100, "WindowWidth": 50, "RescaleSlope": "2", "RescaleIntercept": "-1000"}
    valid = [written({}), written(window), written({}, "RGB"), written({}, packed=True), written({}, "MONOCHROME1")]
    tags = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "NumberOfFrames")
    tags += ("PixelRepresentation", "WindowCenter", "WindowWidth", "RescaleSlope", "PatientID", "Modality")
    tags += ("PhotometricInterpretation", "VOILUTFunction", "PlanarConfiguration", "SmallestImagePixelValue")
    values = (0, 1, 2, 7, 8, 12, 16, 64, 65535, -1, "", "x", [1, 2], [], None, "1e999", 0.5, "LINEAR_EXACT", "SIGMOID")

    @st.composite
    def built(draw: st.DrawFn) -> bytes:
        chosen = {draw(st.sampled_from(tags)): draw(st.sampled_from(values)) for _ in range(draw(st.integers(1, 3)))}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return written(chosen, draw(st.sampled_from(("MONOCHROME1", "MONOCHROME2", "RGB"))))
            except Exception:  # what pydicom cannot write
                return valid[0]

    def read(content: bytes) -> None:
        file = _kept(folder / "a.dcm", content)
        for option in (None, (100.0, 50.0)):
            read_pictures([file], "x", image_size=8, window=option)
        patients_of([file], "x")

    return st.one_of(built(), bytes_of(valid)), read


def cifar10(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], object]]:
    """CIFAR-10's archive."""
    from metagd_optuna.tasks.readers.cifar10 import RECORD, TEST_MEMBER, TRAIN_MEMBERS, read_cifar10

    rng = np.random.default_rng(0)
    stream, plain = io.BytesIO(), io.BytesIO()
    for place, mode in ((stream, "w:gz"), (plain, "w")):
        with tarfile.open(fileobj=place, mode=mode) as archive:
            for name in (*TRAIN_MEMBERS, TEST_MEMBER):
                records = rng.integers(0, 2, (12, RECORD), dtype=np.uint8)
                info = tarfile.TarInfo(name)
                info.size = records.size
                archive.addfile(info, io.BytesIO(records.tobytes()))
    import gzip

    inputs = st.one_of(
        bytes_of([stream.getvalue()]),
        bytes_of([plain.getvalue()[:40_000], plain.getvalue()]).map(lambda found: gzip.compress(found, 1)),
    )
    return inputs, lambda content: read_cifar10(_kept(folder / "cifar-10-binary.tar.gz", content))


def keras(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], object]]:
    """.keras files, as a study's network."""
    import keras as k

    from metagd_optuna.training.saved_network import read_network

    layers = k.layers
    small = k.Sequential(
        [
            k.Input((8, 8, 1)),
            layers.Conv2D(2, 3, padding="same"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    given = k.Input((8, 8, 1))
    x = layers.Conv2D(2, 3, padding="same")(layers.Rescaling(1 / 255)(given))
    x = layers.Dropout(0.1)(layers.Flatten()(layers.Add()([x, layers.BatchNormalization()(x)])))
    files, configs = [], []
    for model in (small, k.Model(given, layers.Dense(2)(x))):
        model.save(folder / "valid.keras")
        files.append((folder / "valid.keras").read_bytes())
        with zipfile.ZipFile(folder / "valid.keras") as archive:
            configs.append(json.loads(archive.read("config.json")))

    def packed(tree: Any) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("config.json", as_json(tree))
        return stream.getvalue()

    inputs = st.one_of(trees(configs).map(packed), bytes_of([*files, *map(packed, configs)]))
    built = itertools.count(1)

    def read(content: bytes) -> None:
        read_network(_kept(folder / "a.keras", content))((8, 8, 1), 2, seed=0)
        # To look through all of Python's objects for garbage takes ten times as long as to build a network.
        k.backend.clear_session(free_memory=next(built) % 100 == 0)

    return inputs, read


def storage(folder: Path) -> tuple[st.SearchStrategy[Any], Callable[[Any], object]]:
    """Optuna's storages: other values in any column of any table, and other bytes."""
    import optuna
    from optuna.storages._rdb.storage import _VersionManager
    from sqlalchemy import create_engine

    from metagd_optuna.study import export_policy
    from metagd_optuna.tuning.parts import held_tasks
    from metagd_optuna.tuning.record import load_record
    from metagd_optuna.tuning.storage import LOCK_TIMEOUT, opened_storage
    from metagd_optuna.tuning.store import StudyStore

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    valid = finished_storage(folder / "valid")
    with contextlib.closing(sqlite3.connect(valid)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        cells = [
            (table, row[1], number)
            for table in tables
            for row in connection.execute(f"PRAGMA table_info({table})")
            for (number,) in connection.execute(f"SELECT rowid FROM {table}")
        ]
    many = st.integers(0, 2**32)

    @st.composite
    def edits(draw: st.DrawFn) -> list[tuple[str, str, int, Any]]:
        found = []
        for _ in range(draw(st.integers(1, 3))):
            table, column, row = cells[draw(many) % len(cells)]
            if column == "value_json" and draw(st.booleans()):
                value: Any = ("json", draw(many), draw(JUNK), draw(st.integers(0, 6)))
            else:
                value = draw(JUNK)
            found.append((table, column, row, value))
        return found

    def value_of(connection: sqlite3.Connection, table: str, column: str, row: int, value: Any) -> Any:
        if isinstance(value, tuple):
            [[text]] = connection.execute(f"SELECT {column} FROM {table} WHERE rowid = {row}")
            try:
                tree = json.loads(text)
            except (ValueError, TypeError, RecursionError):
                return "{}"
            _, which, junk, how = value
            spots = list(places(tree))
            return as_json(changed(tree, spots[which % len(spots)], lambda found: other(found, how, junk)))
        plain = isinstance(value, int) and abs(value) < 2**63
        return value if value is None or plain or isinstance(value, float) else as_json(value)

    place = folder / "optuna.db"
    whole = valid.read_bytes()
    # Which version of the tables Optuna knows it reads from its own files, and that takes half of the time.
    with opened_storage(valid, must_exist=True) as opened:
        newest = opened._version_manager.get_head_version()
    # Every new engine compiles all queries anew, which takes a sixth of what is left; a disposed one has no connection.
    engine = create_engine(f"sqlite:///{place}", connect_args={"timeout": LOCK_TIMEOUT})

    inputs = st.one_of(edits(), edits(), edits(), bytes_of([whole]))

    def read(given: Any) -> None:
        for old in folder.glob("optuna.db*"):
            old.unlink()
        if isinstance(given, bytes):
            place.write_bytes(given)
        else:
            shutil.copy(valid, place)
            with contextlib.closing(sqlite3.connect(place)) as connection:
                for table, column, row, value in given:
                    with contextlib.suppress(sqlite3.Error):  # what the table does not take
                        written = value_of(connection, table, column, row, value)
                        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (written, row))
                connection.commit()
        with (
            patch.object(_VersionManager, "get_head_version", return_value=newest),
            patch("sqlalchemy.engine.create_engine", lambda url, **_: engine),
        ):
            try:
                with opened_storage(place, must_exist=True) as opened:
                    for name in held_tasks(opened):
                        found = StudyStore.load(opened, name)
                        found.settings.to_dict()
                        load_record(found)
                export_policy("small", "breast_cancer", place)
            finally:  # a storage that could not be opened leaves a connection, and the next input is another file
                engine.dispose()

    return inputs, read


def finished_storage(folder: Path) -> Path:
    """Return the storage of a small study that is through: the one that METAGD_FUZZ_STORAGE names, or a new one."""
    if given := os.environ.get("METAGD_FUZZ_STORAGE"):
        folder.mkdir()
        return Path(shutil.copy(given, folder / "valid.db"))
    from small_study import SMALL_STUDY

    from metagd_optuna.study import run_study

    folder.mkdir()
    (folder / "small.toml").write_text(SMALL_STUDY, encoding="utf-8")
    run_study(folder / "small.toml", out=folder / "out", progress=None)
    return folder / "out" / "optuna.db"


TARGETS: dict[str, Target] = {
    "policy": policy,
    "study": study,
    "results": results,
    "snapshot": snapshot,
    "runs": runs,
    "npz": npz,
    "csv": csv,
    "parquet": parquet,
    "images": images,
    "dicom": dicom,
    "cifar10": cifar10,
    "keras": keras,
    "storage": storage,
}
