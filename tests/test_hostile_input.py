"""What a file from a stranger can do: be refused, in few words, before it takes memory; never run, never be obeyed."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import traceback
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dataset

from metagd_optuna.cli import main
from metagd_optuna.contracts import LONGEST_ERROR, MOST_LINES, MetaGDError, printable
from metagd_optuna.files import MOST_TEXT
from metagd_optuna.given import without_secrets
from metagd_optuna.policy.stored import load_policy
from metagd_optuna.report.results import read_results
from metagd_optuna.suite.runs import read_runs
from metagd_optuna.tasks import Task, load_task, memory
from metagd_optuna.tasks.readers import frame
from metagd_optuna.tasks.readers.pictures import read_pictures
from metagd_optuna.tuning.snapshots import read_snapshot
from metagd_optuna.tuning.storage import open_storage, shown
from metagd_optuna.tuning.study_file import load_study

SECRET = "s3cr3t"
LONG = "x" * 100_000
DOCUMENTS = {
    "policy.json": load_policy,
    "results.json": read_results,
    "snapshot.json": read_snapshot,
    "study.toml": load_study,
    "runs.jsonl": read_runs,
}


def refused(work) -> str:
    """Return what the package says against some work; any other exception fails the test by itself."""
    with pytest.raises(MetaGDError) as caught:
        work()
    return str(caught.value)


def npy(descr: str, shape: str, content: bytes = b"") -> bytes:
    """An array's file with a header that says what it likes."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def packed(path: Path, method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


LABELS = npy("'|u1'", "(4,)", b"\0\1\0\1")
IMAGES = npy("'|u1'", "(4, 8, 8)", bytes(range(256)))


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (npy("'|u1'", "(4000000000, 8, 8)", bytes(256)), "its header promises uint8 of shape"),
        (npy("'|u1'", "(4, 8, 8)", bytes(255)), "there are 255 bytes"),
        (npy("'|u1'", "(4, 8, 8)", bytes(300)), "there are 300 bytes"),
        (npy("'|u1'", "(-4, -8, 8)", bytes(256)), "promises"),
        (npy("'|u1'", f"({2**62}, 4, 0)"), "images"),
        (npy("'|O'", "(4,)", b"cos\nsystem\n(S'true'\ntR."), "never done; save plain numbers"),
        (npy("[('a', '|O')]", "(4,)", bytes(32)), "never done; save plain numbers"),
        (npy("('<f4', (2**40,))", "(4,)"), "cannot be read"),
        (npy("__import__('os').system('true')", "(4,)"), "cannot be read"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, "cannot be read"),
        (b"\x93NUMPY\x03\x00" + bytes(20), "header of version"),
        (b"", "cannot be read"),
    ],
)
def test_a_lying_header_of_an_array_is_refused_before_anything_is_unpacked(tmp_path, monkeypatch, member, said):
    if said != "images":  # an empty array is what it says it is; the rules for images refuse it
        monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("it was read"))
    assert said in refused(lambda: load_task(packed(tmp_path / "a.npz", images=member, labels=LABELS)))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_array_that_numpy_did_not_pack_is_refused(tmp_path, method):
    assert "another method" in refused(
        lambda: load_task(packed(tmp_path / "a.npz", method, images=IMAGES, labels=LABELS))
    )


def bomb(path: Path, name: str, head: bytes, size: int) -> Path:
    """A zip archive whose one large member holds zeros, written without holding them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("labels.npy", LABELS)
        with archive.open(name, "w", force_zip64=True) as stream:
            stream.write(head)
            for _ in range(size // 2**24):
                stream.write(bytes(2**24))
    return path


# Prints by how many MB the process has grown, whatever reading the file raises, which is printed as well.
GROWTH = """
import resource, sys
from pathlib import Path
from metagd_optuna.contracts import MetaGDError
import metagd_optuna.tasks.loading, metagd_optuna.tasks.readers.frame, pandas, pydicom, PIL.Image
if sys.argv[1].endswith(".keras"):
    from metagd_optuna.training.saved_network import read_network as read
else:
    from metagd_optuna.tasks import load_task as read
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read(Path(sys.argv[1]))
except MetaGDError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def growth(path: Path) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    said, _, grown = done.stdout.strip().rpartition("\n")
    return said, int(grown)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["of images", "of labels for nothing", "network", "deflated DICOM"])
def test_a_bomb_takes_no_memory(tmp_path, kind):
    size = 3 * 2**30 if kind == "of images" else 2**29
    if kind == "deflated DICOM":
        path = tmp_path / "scans" / "a"
        path.mkdir(parents=True)
        (tmp_path / "scans" / "b").mkdir()
        for folder in ("a", "b"):
            (tmp_path / "scans" / folder / "1.dcm").write_bytes(deflated_dicom(2**29))
        path, said = tmp_path / "scans", "packed as a whole"
    elif kind == "network":
        path, said = bomb(tmp_path / "a.keras", "config.json", b"[", size), "packed more than 100 times"
    else:
        side = 2**14 if kind == "of images" else 2**7
        head = npy("'|u1'", f"({size // side**2}, {side}, {side})")
        path, said = bomb(tmp_path / "a.npz", "images.npy", head, size), "packed more than 100 times"
    assert path.is_dir() or path.stat().st_size < size // 100
    message, grown = growth(path)
    assert said in message
    assert grown < 100


def deflated_dicom(size: int) -> bytes:
    """A DICOM file that unpacks to so many bytes."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.filewriter import dcmwrite
    from pydicom.uid import DeflatedExplicitVRLittleEndian, SecondaryCaptureImageStorage

    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = SecondaryCaptureImageStorage
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = "1.2.3"
    found.Rows = found.Columns = 8
    stream = io.BytesIO()
    dcmwrite(stream, found, enforce_file_format=True)
    whole = stream.getvalue()
    # What is deflated comes last; in its place comes what unpacks to zeros.
    start = next(at for at in range(132, len(whole)) if _inflates(whole[at:]))
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    parts = [packer.compress(bytes(2**24)) for _ in range(size // 2**24)]
    return whole[:start] + b"".join(parts) + packer.flush()


def _inflates(content: bytes) -> bool:
    try:
        return len(zlib.decompress(content, -zlib.MAX_WBITS)) > 20
    except zlib.error:
        return False


def test_a_network_of_any_size_is_counted_before_it_is_built(tmp_path):
    import keras

    from metagd_optuna.training.saved_network import read_network

    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(7)])
    model.save(tmp_path / "small.keras")
    with zipfile.ZipFile(tmp_path / "small.keras") as archive:
        config = archive.read("config.json").decode()
    with zipfile.ZipFile(tmp_path / "large.keras", "w") as archive:
        archive.writestr("config.json", config.replace('"units": 7', f'"units": {10**10}'))
    assert f"a network of {65 * 10**10:,} weights" in refused(lambda: read_network(tmp_path / "large.keras"))


NETWORKS = {
    "a function of the system": {
        "module": "os",
        "class_name": "function",
        "config": "system",
        "registered_name": "system",
    },
    "a class of the system": {"module": "subprocess", "class_name": "Popen", "config": {"args": ["true"]}},
    "a download": {
        "module": "keras.utils",
        "class_name": "function",
        "config": "get_file",
        "registered_name": "get_file",
    },
    "a switch": {
        "module": "keras.config",
        "class_name": "function",
        "config": "enable_unsafe_deserialization",
        "registered_name": "enable_unsafe_deserialization",
    },
    "code": {
        "class_name": "__lambda__",
        "config": {"value": "4wAAAAA=", "defaults": None, "closure": None},
    },
    "a network of another framework": {
        "module": "keras.layers",
        "class_name": "TorchModuleWrapper",
        "config": {"module": {"class_name": "__bytes__", "config": {"value": "gASVAAAA"}}, "name": "t"},
    },
}


def saved(path):
    """Save a small network, and return the members of its file and its architecture."""
    import keras

    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]).save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return members, json.loads(members["config.json"])


def write_saved(path, members, config):
    """Write the file of a network with another architecture."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, "config.json": json.dumps(config)}.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("layer", "settings", "message"),
    [
        ("TFSMLayer", {"filepath": "there", "call_endpoint": "serve"}, "the network cannot be built from its file"),
        ("TextVectorization", {"vocabulary": "there"}, "TextVectorization is no layer for images"),
    ],
)
def test_a_network_file_names_no_other_file(tmp_path, monkeypatch, layer, settings, message):
    from metagd_optuna.training.saved_network import read_network

    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text(SECRET, encoding="utf-8")
    members, config = saved(tmp_path / "a.keras")
    found = {"module": "keras.layers", "class_name": layer, "config": settings, "registered_name": None}
    config["config"]["layers"].insert(1, found)
    write_saved(tmp_path / "b.keras", members, config)
    with pytest.raises(MetaGDError, match=message) as caught:
        read_network(tmp_path / "b.keras")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("where", ["the whole", "a layer", "an activation"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_no_network_file_runs_code(tmp_path, kind, where):
    import keras

    from metagd_optuna.training.saved_network import read_network
    from metagd_optuna.training.transfer import head_on

    members, config = saved(tmp_path / "a.keras")
    if where == "the whole":
        config = NETWORKS[kind]
    elif where == "a layer":
        config["config"]["layers"].append(NETWORKS[kind])
    else:
        config["config"]["layers"][-1]["config"]["activation"] = NETWORKS[kind]
    write_saved(tmp_path / "b.keras", members, config)
    for read in (read_network, head_on):
        assert "b.keras: " in refused(lambda read=read: read(tmp_path / "b.keras"))
    assert keras.src.saving.serialization_lib.in_safe_mode() in (None, True)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv", lambda path: path.write_text("a,b,label\n" + "1,2,x\n3,4,y\n" * 5_000)),
        ("a.parquet", lambda path: _parquet(path, 10_000)),
    ],
)
def test_a_table_is_compared_with_memory_before_it_is_read(tmp_path, monkeypatch, name, write):
    import pandas
    from pyarrow import parquet

    write(tmp_path / name)
    load_task(tmp_path / name)
    monkeypatch.setattr(memory, "available_memory", lambda: 2**22)
    for module, reader in ((pandas, "read_csv"), (parquet, "read_table")):
        monkeypatch.setattr(module, reader, lambda *_, **__: pytest.fail("it was read"))
    assert "would take 4." in (said := refused(lambda: load_task(tmp_path / name)))
    assert "4.0 MiB are free; leave out rows or columns" in said


def test_a_parquet_text_that_is_no_utf8_is_refused(tmp_path):
    import pandas
    import pyarrow
    from pyarrow import parquet

    bad = pyarrow.array([b"a", b"\xec"] * 12, pyarrow.binary()).cast(pyarrow.string(), safe=False)
    parquet.write_table(pyarrow.table({"age": [float(i) for i in range(24)], "label": bad}), tmp_path / "a.parquet")
    with pytest.raises(MetaGDError, match=r"a\.parquet: no Parquet file, or damaged \(column 'label': .*UTF8"):
        load_task(tmp_path / "a.parquet", target="label")
    frame = pandas.DataFrame({"age": range(24), "label": pandas.Series(bad, dtype=pandas.ArrowDtype(pyarrow.string()))})
    message = (
        r"the column 'label' holds values that cannot be read \(Arrow\w+: .*\); correct them, texts have to be UTF-8"
    )
    with pytest.raises(MetaGDError, match=message):
        load_task(frame, target="label")


@pytest.mark.parametrize("value", ["1e200", "-1e39", "1e999"])
def test_a_number_too_large_to_standardise_is_refused(tmp_path, value):
    rows = [f"{i},{'ny'[i % 2]}" for i in range(24)]
    rows[5] = f"{value},n"
    (tmp_path / "a.csv").write_text("\n".join(["age,label", *rows]), encoding="utf-8")
    message = r"'age' is one of numbers, but 1 value of 24 are beyond 3\.4e\+38, the first in row 6.*logarithm"
    with pytest.raises(MetaGDError, match=message):
        load_task(tmp_path / "a.csv", target="label")


def _parquet(path, rows):
    import pandas

    pandas.DataFrame({"a": range(rows), "b": 0.5, "label": ["x", "y"] * (rows // 2)}).to_parquet(path)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_are_counted_before_a_table_is_read(tmp_path, monkeypatch, ending):
    import pandas
    from pyarrow import parquet

    monkeypatch.setattr(frame, "MOST_COLUMNS", 20)
    wide = pandas.DataFrame({f"c{i}": [str(i % 2)] * 2 for i in range(21)})
    for columns in (20, 21):
        table = wide.iloc[:, :columns]
        path = tmp_path / f"{columns}.{ending}"
        table.to_csv(path, index=False) if ending == "csv" else table.to_parquet(path)
    assert len(frame.read_frame(tmp_path / f"20.{ending}").columns) == 20
    for module, reader in ((pandas, "read_csv"), (parquet, "read_table")):
        monkeypatch.setattr(module, reader, lambda *_, **__: pytest.fail("it was read"))
    assert "21 columns; up to 20" in refused(lambda: frame.read_frame(tmp_path / f"21.{ending}"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (",".join(f"c{i}" for i in range(10_001)) + "\n1\n", "10,001 columns; up to 10,000"),
        ("a" * 2**20 + ",b\n1,2\n", "more than 1,048,576 characters"),
        (f'"{"a" * 200_000}",b\n1,2\n', "field limit"),
        (f"a,label\n{'1,' * 20_000}\n", "a.csv"),
        ("a,a\n1,2\n", "more than one column"),
        ('a,label\n"1,2\n', "a.csv"),
    ],
)
def test_odd_tables_are_refused_in_few_words(tmp_path, text, said):
    (tmp_path / "a.csv").write_text(text)
    assert said in (message := refused(lambda: load_task(tmp_path / "a.csv")))
    assert len(message) <= LONGEST_ERROR


def png(width: int, height: int) -> bytes:
    """A PNG file of which the header says its size, and hardly anything follows."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk, b"IDAT" + zlib.compress(bytes(100)), b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts
    )


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (2**31 - 1, 2**31 - 1), (8_000, 8_000), (10**6, 51)])
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(tmp_path, width, height):
    (tmp_path / "a.png").write_bytes(png(width, height))
    said = refused(lambda: read_pictures([tmp_path / "a.png"], "x", image_size=8))
    assert "pixels" in said
    assert "50,000,000" in said


def test_pictures_that_are_unpacked_at_once_fit_into_memory(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 3_000)
    assert [memory.fitting(8, each) for each in (1, 200, 400, 10**9)] == [8, 5, 2, 1]
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    assert memory.fitting(8, 10**9) == 8


@pytest.mark.parametrize("kind", ["EPS", "GIF", "PPM", "WEBP"])
def test_a_picture_is_of_the_formats_that_are_read_whatever_it_is_called(tmp_path, monkeypatch, kind):
    """Pillow has Ghostscript run the PostScript in a file of any name, if it is let."""
    from PIL import EpsImagePlugin, Image

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("PostScript was run"))
    Image.new("L", (8, 8)).save(tmp_path / "a.png", format=kind)
    assert "no PNG, JPEG, BMP or TIFF image" in refused(lambda: read_pictures([tmp_path / "a.png"], "x"))


@pytest.mark.parametrize(
    "name", ["/dev/zero", "/dev/stdin", "pipe.png", "", ".", "a\0.png", "x" * 300 + ".png", "\ud800.png"]
)
def test_a_table_leads_to_files_only(tmp_path, name):
    from PIL import Image

    os.mkfifo(tmp_path / "pipe.png")
    Image.new("L", (8, 8)).save(tmp_path / "there.png")
    said = refused(lambda: read_pictures([tmp_path / "there.png", tmp_path / name], "x"))
    assert "there is no such file" in said or "are DICOM files" in said


def test_a_link_and_a_path_that_leave_the_folder_are_read_as_pictures_and_as_nothing_else(tmp_path):
    from PIL import Image

    Image.new("L", (8, 8)).save(tmp_path / "outside.png")
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.txt")
    assert len(read_pictures([tmp_path / "in" / ".." / "outside.png"], "x").images) == 1
    said = refused(lambda: read_pictures([tmp_path / "in" / "link.png"], "x"))
    assert "no PNG, JPEG, BMP or TIFF image, or damaged" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("Rows", [8, 9]),
        ("Rows", None),
        ("Columns", 0),
        ("NumberOfFrames", 10**9),
        ("BitsStored", [8, 9]),
        ("BitsStored", None),
        ("BitsAllocated", 64),
        ("SamplesPerPixel", 60_000),
        ("WindowWidth", [None, 2]),
        ("RescaleSlope", "0"),
        ("PixelRepresentation", [1, 2]),
        ("PhotometricInterpretation", ["MONOCHROME2", "RGB"]),
    ],
)
def test_a_dicom_file_with_an_odd_tag_is_refused(tmp_path, tag, value):
    import warnings

    found = dataset(np.zeros((8, 8), np.uint8), bits=8, WindowCenter=1, WindowWidth=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        setattr(found, tag, value)
        found.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    if tag == "RescaleSlope":
        del found.WindowWidth
        found.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert "1 image of 1 cannot be read" in refused(lambda: read_pictures([tmp_path / "a.dcm"], "x"))


DEEP = 100_000
TEXTS = {
    "nothing": "",
    "deep lists": "[" * DEEP + "]" * DEEP,
    "deep tables": '{"a":' * DEEP + "1" + "}" * DEEP,
    "deep TOML": "tasks = " + "[" * DEEP + "]" * DEEP,
    "deep keys": "a." * DEEP + "a = 1",
    "long number": "9" * 100_000,
    "long number of TOML": f'tasks = ["breast_cancer"]\ntrials = {"9" * 100_000}',
    "number beyond floats": '{"schema": 1e999}',
    "not a number": '{"schema": NaN}',
    "TOML beyond floats": 'tasks = ["breast_cancer"]\ntarget_share = 1e999',
    "TOML not a number": 'tasks = ["breast_cancer"]\ntarget_share = nan',
    "long text": json.dumps(LONG),
    "long key": json.dumps({LONG: LONG}),
    "many keys": json.dumps(dict.fromkeys(map(str, range(10_000)), 1)),
    "many lines": "\n" * 100_000 + "x",
    "bytes": "\x00\xff\x1b[2J",
    "code": "__import__('os').system('true')",
}


@pytest.mark.parametrize("case", TEXTS)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_odd_documents_are_refused_in_few_words(tmp_path, name, case):
    (tmp_path / name).write_bytes(TEXTS[case].encode("latin-1"))
    if (name, case) == ("runs.jsonl", "nothing"):
        assert read_runs(tmp_path / name) == []
        return
    if name == "runs.jsonl":
        (tmp_path / name).write_bytes(TEXTS[case].encode("latin-1") + b"\n")
    message = refused(lambda: DOCUMENTS[name](tmp_path / name))
    assert message.startswith(str(tmp_path / name))
    assert len(message) <= LONGEST_ERROR
    assert message.count("\n") < MOST_LINES
    assert printable(message) == message


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_more_of_a_document_is_read_than_one_has(tmp_path, name):
    with (tmp_path / name).open("wb") as stream:
        stream.truncate(2**36)  # which takes no room on the disk
    assert f"larger than {MOST_TEXT >> 20} MiB" in refused(lambda: DOCUMENTS[name](tmp_path / name))


def test_an_error_is_never_longer_than_a_screen_and_gives_no_orders_to_a_terminal():
    text = str(MetaGDError("begins" + LONG + "ends"))
    assert text.startswith("begins")
    assert text.endswith("ends")
    assert len(text) <= LONGEST_ERROR
    assert str(MetaGDError("a\n" * 1000)).count("\n") < MOST_LINES
    assert str(MetaGDError("a\x1b]0;title\x07\x9b\u202eb\tc\nd")) == "a\\x1b]0;title\\x07\\x9b\\u202eb\tc\nd"
    short = "é心😀 {0} %s"
    assert str(MetaGDError(short)) == short


def test_names_give_no_orders_to_a_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    policies = tmp_path / "runs" / "a\x1b[2J" / "policies"
    policies.mkdir(parents=True)
    (policies / "b\x1b]0;x\x07.json").write_text('{"schema": "\x1b[2J"}')
    for arguments in (["policies", "list"], ["policies", "show", "x\x1b[2J.json"], ["\x1b[2J"]):
        with pytest.raises(SystemExit):
            main(arguments)
    said = capsys.readouterr()
    assert "\\x1b[2J" in said.out + said.err
    assert not {"\x1b", "\x07"} & set(said.out + said.err)


ADDRESSES = (
    "postgresql://ann:s3cr3t@db.example/x",
    "postgresql://ann:a@s3cr3t@db.example/x",
    "postgresql://ann:a/s3cr3t@db.example/x",
    "postgresql://ann:a?s3cr3t@db.example/x",
    "postgresql://s3cr3t@db.example/x",
    "postgresql://db.example/x?password=s3cr3t",
    "postgresql://db.example/x?sslpassword=a@s3cr3t",
    "postgresql+psycopg://ann:s3cr3t@127.0.0.1:1/x?connect_timeout=1",
    "postgresql+nodriver://ann:s3cr3t@h/x",
    "postgres://ann:s3cr3t@h:port/x",
    "mysql://ann:s3cr3t@h/x",
    "redis://:s3cr3t@h",
    "postgresql://ann:s3cr3t@[::1/x",
    "postgresql://ann:%zz{s3cr3t}@h:0x1/x",
    "sqlite://ann:s3cr3t@h/x.db",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_secret_of_a_storage_is_ever_shown(address, caplog):
    assert SECRET not in shown(address)
    assert SECRET not in without_secrets(f"what {address} says")
    with pytest.raises(MetaGDError) as caught:
        open_storage(address, must_exist=True)
    assert SECRET not in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in caplog.text


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "{}"],
        ["run", "study.toml", "{}"],
        ["run", "study.toml", "--storage={}", "--out"],
        ["dashboard", "{}"],
        ["dashboard", "--storge", "{}"],
        ["dashboard", "--host", "{}"],
        ["export", "--study", "a", "--task", "b", "--storage", "{}"],
        ["export", "--study", "{}", "--task", "b"],
        ["report", "{}"],
        ["policies", "show", "{}"],
        ["recommend", "{}"],
        ["{}"],
    ],
    ids=" ".join,
)
def test_the_command_line_shows_no_secret_wherever_the_address_stands(
    tmp_path, monkeypatch, capsys, arguments, address
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([argument.format(address) if argument == "{}" or "=" in argument else argument for argument in arguments])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/b", "a\nb", "a\0b", ".hidden", "<script>", "x" * 101])
def test_the_name_of_a_task_leaves_no_folder(tmp_path, monkeypatch, name):
    from metagd_optuna.study import run_study

    (tmp_path / "in" / "side").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "in" / "side")
    images, labels = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1])
    task = Task(name, images, labels, images, labels, images, labels, ("a", "b"))
    assert "cannot serve as a file's name" in refused(
        lambda: run_study(name="s", tasks=[task], out=tmp_path / "in" / "s")
    )
    (tmp_path / "study.toml").write_text(
        f"tasks = [{{ path = {json.dumps(str(tmp_path))}, name = {json.dumps(name)} }}]"
    )
    assert "cannot serve as a file's name" in refused(lambda: load_study(tmp_path / "study.toml"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "study.toml"]
