"""Tables in Parquet: what is read of honest files, and what of others is refused before it takes memory."""

import struct

import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from pyarrow import parquet
from written_parquet import I32, chunk, column, dictionary_page, file_of, page, structure, unsigned

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import load_task
from metagd_optuna.tasks.readers import frame
from metagd_optuna.tasks.readers.frame import read_frame
from metagd_optuna.tasks.readers.parquet_file import opened_parquet
from metagd_optuna.tasks.readers.parquet_pages import contents, read_footer
from metagd_optuna.tasks.readers.thrift import ThriftList, ThriftReader


def test_a_text_that_a_table_holds_once_is_kept_once(tmp_path):
    cases, texts = 2_000, ["y" * 9_000, "z" * 9_000]
    site = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, 1, None, 1] * (cases // 4), pyarrow.int32()), texts)
    table = pyarrow.table({"age": np.arange(cases) % 7, "site": site, "label": ["i", "w"] * (cases // 2)})
    parquet.write_table(table, tmp_path / "a.parquet", store_schema=False)
    found = read_frame(tmp_path / "a.parquet")["site"].tolist()
    assert found[:4] == [*texts, None, texts[1]]
    assert len({id(text) for text in found}) == 3  # and not 18 MB of them
    assert load_task(tmp_path / "a.parquet", target="label").train_images.shape == (1_200, 4)


@pytest.mark.parametrize(
    ("kind", "how", "message"),
    [
        ("list", {}, r"the column 'x' holds list<.*so write the table without lists"),
        ("struct", {}, r"the column 'x' holds struct<"),
        ("string_view", {}, r"the column 'x' holds string_view"),
        ("extension", {}, r"the column 'x' holds extension<arrow.json"),
        (
            "string",
            {"column_encoding": {"x": "DELTA_BYTE_ARRAY"}},
            r"'x' holds values .* any size \(DELTA_BYTE_ARRAY\)",
        ),
        ("string", {"column_encoding": {"x": "DELTA_LENGTH_BYTE_ARRAY"}}, r"\(DELTA_LENGTH_BYTE_ARRAY\); write them"),
    ],
)
def test_columns_that_may_unpack_to_any_size_are_refused(tmp_path, kind, how, message):
    text = pyarrow.array(["y" * 900] * 40)
    column = {
        "list": lambda: pyarrow.array([[1, 2]] * 40),
        "struct": lambda: pyarrow.StructArray.from_arrays([text], ["text"]),
        "string_view": lambda: text.cast(pyarrow.string_view()),
        "extension": lambda: pyarrow.ExtensionArray.from_storage(pyarrow.json_(pyarrow.string()), text),
        "string": lambda: text,
    }
    table = pyarrow.table({"age": list(range(40)), "x": column[kind](), "label": ["i", "w"] * 20})
    parquet.write_table(table, tmp_path / "a.parquet", use_dictionary=False, **how)
    with pytest.raises(MetaGDError, match=message):
        load_task(tmp_path / "a.parquet", target="label", leave_out=["x"])


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"data_page_version": "2.0", "data_page_size": 300, "row_group_size": 500},
        {"use_dictionary": False, "write_page_index": True, "write_page_checksum": True, "data_page_size": 300},
        {"use_dictionary": False, "column_encoding": {"number": "BYTE_STREAM_SPLIT"}},
    ],
)
def test_what_a_parquet_file_takes_is_what_its_pages_take(tmp_path, compression, how):
    """The file was written by somebody honest, whose own account is right."""
    rng = np.random.default_rng(0)
    texts = [None if n % 7 == 0 else f"{'x' * (n % 50)}{n % 300}" for n in range(2_000)]
    numbers = rng.normal(size=2_000)
    table = pyarrow.table({"text": texts, "number": numbers, "none": [None] * 2_000, "b": [True] * 2_000})
    parquet.write_table(table, tmp_path / "a.parquet", compression=compression, **how)
    with opened_parquet(tmp_path / "a.parquet", "x") as file:
        held = file.file.metadata
        told = sum(
            held.row_group(n).column(k).total_uncompressed_size for n in range(held.num_row_groups) for k in range(4)
        )
        rows = how.get("row_group_size", 2_000)
        groups = [slice(begin, begin + rows) for begin in range(0, 2_000, rows)]
        entries = sum(len(set(texts[group]) - {None}) for group in groups)
        entries *= how.get("use_dictionary", True)
        for of_value in (8, 160):
            assert file.size(of_value) == told + (2_000 * 4 + entries) * of_value
    assert read_frame(tmp_path / "a.parquet")["text"].tolist() == texts


def test_a_parquet_file_that_tells_less_than_its_pages_take_is_refused(tmp_path, monkeypatch):
    table = pyarrow.table({"x": [f"{n}{'y' * 300_000}" for n in range(30)], "label": ["i", "w"] * 15})
    parquet.write_table(table, tmp_path / "a.parquet", use_dictionary=False, compression="zstd", write_statistics=False)
    group = parquet.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0)
    content = (tmp_path / "a.parquet").read_bytes()
    for told in (group.total_byte_size, group.column(0).total_uncompressed_size):
        right = unsigned(2 * told)  # as numbers with a sign are written
        assert right in content
        content = content.replace(right, bytes([128 + 2 * 50, *[128] * (len(right) - 2), 0]))
    (tmp_path / "a.parquet").write_bytes(content)
    lying = parquet.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0)
    assert lying.total_byte_size == lying.column(0).total_uncompressed_size == 50
    needed = []
    monkeypatch.setattr(frame, "check_memory", lambda size, *_: needed.append(size) or pytest.fail("it is compared"))
    with pytest.raises(pytest.fail.Exception):
        load_task(tmp_path / "a.parquet", target="label")
    assert needed[0] > 9_000_000


def read(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    return read_frame(tmp_path / "a.parquet")


def runs(number, value=0):
    """So many times one number of a dictionary, as Parquet writes it."""
    return bytes([1]) + unsigned(2 * number) + bytes([value])


def numbers(rows, *, footer=None, group=None, held=None, begin=4, other=0, **more):
    """A column of one number that a dictionary holds, and what the file says of how often it is there."""
    dictionary = dictionary_page(1, struct.pack("<q", 7))
    pages = dictionary + page(rows, runs(rows), 8)
    group = rows if group is None else group
    held = chunk(b"n", begin + len(dictionary), len(pages), group if held is None else held, dictionary=4)
    return file_of(pages, [column(b"n")], group if footer is None else footer, [([held] * (1 + other), group)], **more)


def test_what_is_written_here_is_a_parquet_file(tmp_path):
    assert read(tmp_path, numbers(300))["n"].tolist() == [7] * 300
    assert read(tmp_path, numbers(300, _6=b"parquet-mr version 1.12.3 (build x)"))["n"].tolist() == [7] * 300


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (numbers(100_000_000, footer=1), "more or fewer rows than its row groups have"),
        (numbers(3, footer=1, group=100_000_000, held=100_000_000), "more or fewer rows than"),
        (numbers(3, group=4, held=3), "a column with more or fewer values than rows"),
        (numbers(3, group=-3, held=-3), "of less than no rows"),
        (numbers(3, other=1), "or without a column"),
        (numbers(3, begin=-90), "less than no bytes"),
        (numbers(3, _6=b"parquet-mr version 1.2.8"), "written by parquet-mr before 1.3"),
        (numbers(3, _6=b"x parquet-mr version 1.12.0"), "written by parquet-mr before 1.3"),
    ],
)
def test_a_file_that_says_one_thing_here_and_another_there_is_refused(tmp_path, content, said):
    with pytest.raises(MetaGDError, match=said):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"\x00", "field 2 is missing"),
        (b"\x1c" * 40, "structures in one another without end"),
        (b"\x15" + b"\xff" * 11, "a number of more than 32 bits"),
        (structure({1: I32(0), 2: I32(8), 3: 8}), "field 3 is missing, or of another type"),
        (structure({1: I32(0), 2: I32(-8), 3: I32(8)}), "a page of less than no bytes"),
        (structure({2: I32(8), 3: I32(8)})[:-1] + b"\x05\x04\x10\x00", "field 2 is there twice"),
        (structure({2: I32(8), 3: I32(8), 9: [I32(1)] * 200}), "more values than it may have"),
        (structure({2: I32(8), 3: I32(8), **dict.fromkeys(range(9, 200), True)}), "more values than it may have"),
        (b"\x18\xff\xff\x03", "the header of a page is cut off"),
    ],
)
def test_a_page_without_a_header_is_refused(tmp_path, header, said):
    pages = header + bytes(8)
    with pytest.raises(MetaGDError, match=said):
        read(tmp_path, file_of(pages, [column(b"n")], 1, [([chunk(b"n", 4, len(pages), 1)], 1)]))


@pytest.mark.parametrize("groups", [1, 300])
def test_columns_have_pages_of_their_own(tmp_path, groups):
    """A footer may lead to the same megabyte of a header a million times."""
    long = structure(
        {1: I32(0), 2: I32(8), 3: I32(8), 9: b"x" * 9_000, 5: {1: I32(1), 2: I32(0), 3: I32(3), 4: I32(3)}}
    )
    pages = long + struct.pack("<q", 7)
    content = file_of(pages, [column(b"n")], groups, [([chunk(b"n", 4, len(pages), 1)], 1)] * groups)
    if groups == 1:
        assert read(tmp_path, content)["n"].tolist() == [7]
    else:
        with pytest.raises(MetaGDError, match="share their pages"):
            read(tmp_path, content)


@pytest.mark.parametrize(("encoding", "called"), [(6, "DELTA_LENGTH_BYTE_ARRAY"), (7, "DELTA_BYTE_ARRAY")])
@pytest.mark.parametrize("version", [1, 2])
def test_how_texts_are_stored_is_seen_in_their_pages(tmp_path, encoding, called, version):
    """The footer says that they are stored one after another."""
    pages = page(2, bytes(20), encoding)
    if version == 2:
        about = {1: I32(2), 2: I32(0), 3: I32(2), 4: I32(encoding), 5: I32(0), 6: I32(0)}
        pages = structure({1: I32(3), 2: I32(20), 3: I32(20), 8: about}) + bytes(20)
    content = file_of(pages, [column(b"t", 6, _6=I32(0))], 2, [([chunk(b"t", 4, len(pages), 2, kind=6)], 2)])
    with pytest.raises(MetaGDError, match=rf"the column 't' holds .*\({called}\)"):
        read(tmp_path, content)


def test_an_encrypted_column_is_refused(tmp_path):
    pages = page(1, struct.pack("<q", 7))
    held = chunk(b"n", 4, len(pages), 1) | {8: {2: {1: [b"n"]}}}
    (tmp_path / "a.parquet").write_bytes(file_of(pages, [column(b"n")], 1, [([held], 1)]))
    with pytest.raises(ValueError, match="an encrypted column"):
        contents(read_footer(tmp_path / "a.parquet"), 1)


def test_what_a_dictionary_holds_counts(tmp_path, monkeypatch):
    """Each of its texts becomes one of Python's, whether or not a row refers to it."""
    dictionary = dictionary_page(1_000, struct.pack("<I", 1) + b"y")
    pages = dictionary + page(9, runs(9), 8)
    held = chunk(b"t", 4 + len(dictionary), len(pages), 9, kind=6, dictionary=4)
    needed = []
    monkeypatch.setattr(frame, "check_memory", lambda size, *_: needed.append(size))
    with pytest.raises(MetaGDError):
        read(tmp_path, file_of(pages, [column(b"t", 6, _6=I32(0))], 9, [([held], 9)]))
    assert needed[0] > 1_009 * frame.BYTES_OF_VALUE


def test_a_decimal_of_any_length_is_refused(tmp_path):
    dictionary = dictionary_page(1, struct.pack("<I", 9) + b"\0" * 9)
    pages = dictionary + page(9, runs(9), 8)
    held = chunk(b"d", 4 + len(dictionary), len(pages), 9, kind=6, dictionary=4)
    decimal = column(b"d", 6, _6=I32(5), _7=I32(2), _8=I32(10))
    with pytest.raises(MetaGDError, match=r"the column 'd' holds decimal128\(10, 2\) of any length"):
        read(tmp_path, file_of(pages, [decimal], 9, [([held], 9)]))


def test_no_changed_byte_ends_the_process(tmp_path):
    """pyarrow ends it where it is asked for a column whose statistics of sizes are damaged."""
    table = pyarrow.table({"t": ["a", "bb", None] * 20, "label": ["i", "w", "w"] * 20})
    parquet.write_table(table, tmp_path / "b.parquet")
    content = (tmp_path / "b.parquet").read_bytes()
    taken = 0
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 3
        try:
            read(tmp_path, bytes(changed))
        except MetaGDError:
            continue
        taken += 1
    assert 0 < taken < len(content) - 100


FRAMES = {
    "plain": {"x": [1, 2, 3, 4], "t": ["a", None, "c", ""], "b": [True, False, True, True]},
    "missing numbers": {
        "x": pd.array([2**60 + 1, None, 3, 4], "Int64"),
        "b": pd.array([True, None, False, True], "boolean"),
    },
    "positive numbers": {"x": pd.array([2**63 + 1, None, 3, 4], "UInt64")},
    "categories": {"t": pd.Categorical(["a", None, "c", "a"])},
    "times": {"d": pd.to_datetime(["2026-01-01", "2026-01-02", None, "2026-01-04"])},
    "zones": {"d": pd.to_datetime(["2026-01-01", "2026-01-02", None, "2026-01-04"]).tz_localize("Europe/Berlin")},
    "periods": {"p": pd.period_range("2026-01", periods=4, freq="M")},
    "intervals": {"i": pd.interval_range(0, 4)},
    "numbers of few bits": {0: np.array([1, 2, 3, 255], np.uint8), 1: np.array([0.5, 1, np.nan, 2], np.float16)},
    "categories of numbers": {"c": pd.Categorical([3, None, 1, 3])},
}
INDICES = {
    "none": None,
    "a name": pd.Index(list("wxyz"), name="case"),
    "no name": pd.Index(list("wxyz")),
    "the name of a column": pd.Index([5, 6, 7, 8], name="x"),
    "numbers": pd.RangeIndex(10, 18, 2, name="case"),
    "two levels": pd.MultiIndex.from_arrays([list("wxyz"), [1, 1, 2, 2]], names=["case", None]),
}


@pytest.mark.parametrize("rows_of_group", [2, 4])
@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("values", FRAMES)
def test_a_frame_of_pandas_comes_back(tmp_path, values, index, rows_of_group):
    given = pd.DataFrame(FRAMES[values], index=INDICES[index])
    if INDICES[index] is not None:
        given = pd.DataFrame(FRAMES[values]).set_axis(INDICES[index])
    given.to_parquet(tmp_path / "a.parquet", row_group_size=rows_of_group)
    found = read_frame(tmp_path / "a.parquet", wanted=["case"])
    expected = frame.check_frame(given, "x", wanted=["case"])
    assert (found.index.tolist(), found.index.names) == (expected.index.tolist(), expected.index.names)
    assert_frame_equal(found.reset_index(drop=True), expected.reset_index(drop=True), check_dtype=False)
    assert [list(map(type, found[name])) for name in found] == [list(map(type, expected[name])) for name in expected]


@pytest.mark.parametrize("rows", [(2, 0), (0, 2), (0, 0, 2)])
def test_row_groups_without_rows_are_left_out(tmp_path, rows):
    first = pyarrow.table({"t": ["a"], "n": [1]})
    with parquet.ParquetWriter(tmp_path / "a.parquet", first.schema) as writer:
        for count in rows:
            writer.write_table(pyarrow.table({"t": ["a", "b"][:count], "n": [1, 2][:count]}, first.schema))
    assert read_frame(tmp_path / "a.parquet").to_dict("list") == {"t": ["a", "b"], "n": [1, 2]}


def test_a_table_without_rows_says_so(tmp_path):
    pd.DataFrame({"x": ["a"], "label": ["i"]}).iloc[:0].to_parquet(tmp_path / "a.parquet")
    with pytest.raises(MetaGDError, match="a table without rows"):
        read_frame(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("account", "how"),
    [
        (
            b'{"columns": [{"name": "n", "numpy_type": "U100000000"}], "column_indexes": [{"numpy_type": "S9999999"}]}',
            "read",
        ),
        (
            b'{"columns": [{"name": "n", "field_name": "n", "numpy_type": "interval[' + b"interval[" * 3_000 + b'"}]}',
            "read",
        ),
        (b'{"index_columns": ["nowhere"]}', "read"),
        (b'{"index_columns": [{"kind": "range", "name": null, "start": 0, "stop": 9, "step": 1}]}', "read"),
        (b"{}", "read"),
        (b"[]", "refused"),
        (b"5", "refused"),
        (b"{", "refused"),
        (b"\xff\xfe", "refused"),
        (b'{"columns": [5]}', "refused"),
        (b'{"columns": 5}', "refused"),
        (b'{"columns": [{"name": [], "field_name": []}]}', "refused"),
        (b'{"index_columns": [5]}', "refused"),
        (b'{"index_columns": [["n"]]}', "refused"),
        (b'{"index_columns": [{"kind": "range"}]}', "refused"),
        (b'{"index_columns": [{"name": null, "start": "a", "stop": 3, "step": 1}]}', "refused"),
        (b'{"index_columns": [{"name": null, "start": 0, "stop": 3, "step": 0}]}', "refused"),
        (b'{"index_columns": [{"name": "case", "start": 1' + b"0" * 30 + b', "stop": 3, "step": 1}]}', "refused"),
        (b'{"index_columns": ["n", {"name": null, "start": 0, "stop": 3, "step": 1}]}', "refused"),
        (b'{"index_columns": [{"name": null, "start": 0, "stop": ' + b"9" * 400 + b', "step": 1}]}', "refused"),
        (b'{"index_columns": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "refused"),
    ],
)
def test_what_pandas_wrote_of_a_table_may_be_anything(tmp_path, account, how):
    content = numbers(3, _5=[{1: b"pandas", 2: account}])
    if how == "read":
        assert read(tmp_path, content)["n"].tolist() == [7] * 3
    else:
        with pytest.raises(MetaGDError, match="no Parquet file, or damaged"):
            read(tmp_path, content)


def test_a_footer_of_too_many_row_groups_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("metagd_optuna.tasks.readers.parquet_pages._MOST_VALUES", 200)
    assert read(tmp_path, numbers(3)) is not None
    with pytest.raises(MetaGDError, match="its footer has more than 200 values, as that of too many row groups"):
        read(tmp_path, numbers(3, _5=[{1: b"a", 2: b"b"}] * 100))


@pytest.mark.parametrize(
    ("more", "about"),
    [({"_7": [I32(1)]}, {}), ({"_5": [b"a"]}, {}), ({}, {2: [b"0"]}), ({}, {16: {2: [I32(1)]}}), ({}, {17: {2: [1]}})],
)
def test_a_list_of_other_things_than_it_should_have_is_refused(tmp_path, more, about):
    """Of one in its footer pyarrow reads what should be there, and would go on at another byte."""
    pages = page(1, struct.pack("<q", 7))
    held = chunk(b"n", 4, len(pages), 1)
    held[3] = dict(sorted((held[3] | about).items()))
    (tmp_path / "a.parquet").write_bytes(file_of(pages, [column(b"n")], 1, [([held], 1)], **more))
    with pytest.raises(ValueError, match="a list of other things than it should have in field"):
        contents(read_footer(tmp_path / "a.parquet"), 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xf5\x02" * 2_185 + b"\0", "field 32775"),  # which would be one below 0
        (b"\x05\x80\x80\x08\x02\x00", "a number of more than 16 bits"),
        (b"\x15\x80\x80\x80\x80\x10\x00", "a number of more than 32 bits"),
        (b"\x1b\x00\x00", "a value of type 11"),
        (b"\x15\x02\x05\x02\x02\x00", "field 1 is there twice"),
    ],
)
def test_what_readers_may_differ_about_is_refused(content, said):
    with pytest.raises(ValueError, match=said):
        ThriftReader(content, 10_000).struct()


FIELDS = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-(2**31), 2**31 - 1).map(I32),
        st.binary(max_size=20),
        st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20),
    ),
    lambda inner: st.dictionaries(st.integers(-(2**15), 2**15 - 1), inner, max_size=5),
    max_leaves=20,
)


def _as_read(value):
    if not isinstance(value, dict):
        if isinstance(value, list):
            return ThriftList(6 if value else 5, value)
        return None if isinstance(value, bool) else value
    kinds = {I32: 5, int: 6, bytes: 8, list: 9, dict: 12}
    return {
        (number, (1 if inner else 2) if isinstance(inner, bool) else kinds[type(inner)]): _as_read(inner)
        for number, inner in value.items()
    }


@given(st.dictionaries(st.integers(-(2**15), 2**15 - 1), FIELDS, max_size=5), st.data())
def test_what_is_written_in_thrift_is_read(fields, data):
    written = structure(fields)
    reader = ThriftReader(written + b"behind it", 1_000)
    assert reader.struct() == _as_read(fields)
    assert reader.place == len(written)
    cut = data.draw(st.integers(0, len(written) - 1))
    with pytest.raises(IndexError):
        ThriftReader(written[:cut], 1_000).struct()


@given(st.binary(max_size=60))
def test_of_any_bytes_thrift_is_read_or_refused(content):
    reader = ThriftReader(content, 100)
    try:
        reader.struct()
    except (IndexError, ValueError):
        return
    assert 0 < reader.place <= len(content)
