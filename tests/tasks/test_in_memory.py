"""Arrays, DataFrames and data sets of tf.data are read by the rules of files."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import load_task

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (40, 10, 9, 3), dtype=np.uint8)
Y = np.arange(40) % 2


def same(first, second):
    return all(np.array_equal(first.arrays()[name], second.arrays()[name]) for name in first.arrays())


def test_images_and_labels_are_split_as_from_a_file(tmp_path):
    np.savez(tmp_path / "ours.npz", images=X, labels=Y)
    task = load_task((X, Y), name="ours")
    assert same(task, load_task(tmp_path / "ours.npz"))
    assert (task.name, task.classes, tuple(task.sizes)) == ("ours", ("0", "1"), (24, 8, 8))
    assert task.source["given"] == "in memory"
    assert load_task((X, Y.tolist())).name == "data"
    assert load_task((X, ["ill" if y else "well" for y in Y])).classes == ("ill", "well")
    assert load_task((X, Y), max_train=10).sizes.train == 10


def test_arrays_by_name_may_say_patients_and_parts():
    task = load_task({"images": X, "labels": Y, "patients": np.arange(40) // 2})
    assert "by patient" in task.source["split"]
    assert same(load_task(task.arrays()), task)


@pytest.mark.parametrize("batch", [0, 7])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("one_hot", [False, True])
def test_a_data_set_of_tensorflow_is_read_whole(batch, channels, one_hot):
    import tensorflow as tf

    images = X if channels == 3 else X[..., 0]
    labels = np.eye(2, dtype=np.float32)[Y] if one_hot else Y
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    assert same(load_task(data.batch(batch) if batch else data), load_task((images, Y)))


def test_a_data_frame_is_read_as_the_file_would_be(tmp_path, monkeypatch):
    frame = pd.DataFrame({"age": RNG.normal(60, 9, 40), "sex": ["f", "m"] * 20, "outcome": Y, "case": np.arange(40)})
    frame.loc[::5, "age"] = np.nan
    frame.to_csv(tmp_path / "labs.csv", index=False)
    frame.to_parquet(tmp_path / "labs.parquet")
    before = frame.copy()
    task = load_task(frame, target="outcome", patient="case")
    pd.testing.assert_frame_equal(frame, before)
    assert same(task, load_task(tmp_path / "labs.csv", target="outcome", patient="case"))
    assert same(task, load_task(tmp_path / "labs.parquet", target="outcome", patient="case"))
    for number in range(40):
        Image.fromarray(X[number]).save(tmp_path / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    scans = pd.DataFrame({"file": [f"{number}.png" for number in range(40)], "label": Y})
    assert same(load_task(scans), load_task((X, Y)))


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((X,), {}, r"a tuple of 1 was given; give \(images, labels\)"),
        ((X, Y[1:]), {}, "images has 40 and labels has 39 entries"),
        ((X, Y), {"patient": "case"}, "patient cannot be given for arrays; allowed: target, positive, image_size"),
        ((X, Y * 0), {}, "every case has the label '0'"),
        ((X.astype(np.int16), Y), {}, "dtype int16"),
        ({"train_images": X}, {}, "missing arrays: train_labels"),
        ({"images": X}, {}, "missing arrays: train_images, train_labels; found: images"),
        (pd.DataFrame({"a": [1, 2]}), {}, "which column holds the labels"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, "more than one column is called 'a'"),
    ],
)
def test_what_makes_no_task_is_told(data, options, message):
    with pytest.raises(MetaGDError, match=message):
        load_task(data, **options)


@pytest.mark.parametrize("kind", ["string", "Int64", "category", object])
def test_a_missing_label_is_none_whatever_the_column_is(tmp_path, kind):
    labels = pd.Series([1, 0, pd.NA] * 8, dtype="Int64").astype(kind)
    frame = pd.DataFrame({"age": np.arange(24.0), "label": labels})
    with pytest.raises(MetaGDError, match="8 missing labels"):
        load_task(frame, target="label")
    if kind is not object:
        frame.to_parquet(tmp_path / "a.parquet")
        with pytest.raises(MetaGDError, match="8 missing labels"):
            load_task(tmp_path / "a.parquet", target="label")


DATES = pd.Series([pd.Timestamp("2020"), pd.Timestamp("2021"), pd.NaT] * 8)
ODD = {
    "datetime": DATES,
    "zone": DATES.dt.tz_localize("UTC"),
    "timedelta": DATES - DATES[0],
    "period": DATES.dt.to_period("D"),
    "timestamp[pyarrow]": DATES.astype("timestamp[ns][pyarrow]"),
    "object": DATES.astype(object),
    "category": DATES.astype("category"),
    "decimal": pd.Series([Decimal(1), Decimal(2), Decimal("NaN")] * 8),
    "NA": pd.Series(["x", "y", pd.NA] * 8, dtype=object),
    "string": pd.Series(["x", "y", pd.NA] * 8, dtype="string"),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("use", ["label", "patient"])
def test_what_is_missing_in_a_column_of_any_type_is_told(tmp_path, kind, use):
    frame = pd.DataFrame({"age": np.arange(24.0), "label": ["a", "b"] * 12}).assign(**{use: ODD[kind]})
    message = "8 missing labels" if use == "label" else "8 cases without a patient"
    with pytest.raises(MetaGDError, match=f"{message}.*case 3"):
        load_task(frame, target="label")
    if kind in ("datetime", "zone", "timedelta", "string"):
        frame.to_parquet(tmp_path / "a.parquet")
        with pytest.raises(MetaGDError, match=f"{message}.*case 3"):
            load_task(tmp_path / "a.parquet", target="label")


@pytest.mark.parametrize("kind", ODD)
def test_missing_labels_of_images_are_told_whatever_holds_them(kind):
    images = np.broadcast_to(np.arange(24, dtype=np.uint8)[:, None, None], (24, 8, 8))
    for data in ((images, ODD[kind]), {"images": images, "labels": list(ODD[kind])}):
        with pytest.raises(MetaGDError, match=r"8 missing labels.*case 3"):
            load_task(data)


IMAGES = np.broadcast_to(np.arange(24, dtype=np.uint8)[:, None, None], (24, 8, 8))
WHOLE = pd.Series([10, 2] * 12)


@pytest.mark.parametrize(
    "labels",
    [
        WHOLE.astype(str),
        WHOLE.astype(str).values,
        WHOLE.astype(str).array,
        pd.Index(WHOLE.astype(str)),
        pd.Categorical(WHOLE),
        WHOLE.astype("category"),
        WHOLE.astype("Int64"),
        WHOLE.astype("Int64").values,
        WHOLE.astype("int64[pyarrow]"),
        pd.Index(WHOLE),
        WHOLE.astype(object),
        WHOLE.astype(float),
        WHOLE.set_axis(np.arange(24) + 7),
        [np.array(label) for label in WHOLE],
        WHOLE.astype(str).to_numpy("S"),
    ],
    ids=lambda labels: f"{type(labels).__name__} {getattr(labels, 'dtype', '')}",
)
def test_labels_of_images_are_the_same_whatever_holds_them(labels):
    assert same(task := load_task((IMAGES, labels)), load_task((IMAGES, WHOLE.tolist())))
    assert task.classes == ("2", "10")


def test_missing_labels_of_six_arrays_are_told_as_those_of_two():
    parts = {f"{part}_images": IMAGES for part in ("train", "val", "test")}
    for labels in (
        pd.Series([0.0, 1.0, np.nan] * 8),
        pd.Series(["a", "b", None] * 8),
        pd.Series([0, 1, pd.NA] * 8, dtype="Int64"),
    ):
        with pytest.raises(MetaGDError, match="24 missing labels in 72 cases, the first in case 3"):
            load_task(parts | {f"{part}_labels": labels for part in ("train", "val", "test")})
    texts = load_task(parts | {f"{part}_labels": pd.Series(["b", "a"] * 12) for part in ("train", "val", "test")})
    assert texts.classes == ("a", "b")


def test_missing_pixels_of_a_data_frame_are_told_as_those_of_an_array():
    frame = pd.DataFrame(RNG.random((24, 8)))
    frame.iloc[3, 2] = np.nan
    with pytest.raises(MetaGDError, match="1 missing values"):
        load_task((frame, Y[:24]))


def test_masked_labels_are_no_labels():
    with pytest.raises(MetaGDError, match="labels: 24 values are masked; leave those cases out"):
        load_task((X, np.ma.array(Y, mask=np.arange(40) % 5 < 3)))
    assert same(load_task((X, np.ma.array(Y, mask=False))), load_task((X, Y)))


def test_patients_and_labels_may_be_in_the_index_and_nothing_is_learnt_from_it(tmp_path):
    frame = pd.DataFrame({"age": RNG.normal(60, 9, 40), "outcome": Y, "patient": np.arange(40) // 2})
    expected = load_task(frame, target="outcome")
    assert "by patient" in expected.source["split"]
    indexed = frame.set_index("patient")
    indexed.to_parquet(tmp_path / "labs.parquet")
    of_levels = frame.set_axis(pd.MultiIndex.from_tuples([(name, "") for name in frame.columns]), axis="columns")
    for given in (
        indexed,
        tmp_path / "labs.parquet",
        frame.set_index(["patient", "outcome"]),
        frame.set_index("patient", drop=False),
        frame.rename_axis("row"),
        frame.set_index(pd.Index(np.arange(40) + 9, name=7)),
    ):
        assert same(load_task(given, target="outcome"), expected)
    with pytest.raises(MetaGDError, match="target is 'None', and there is no such column"):
        load_task(frame, target="None")  # as the index is called that has no name
    named = load_task(frame.rename(columns={"patient": "who"}).set_index("who"), target="outcome", patient="who")
    assert same(named, expected)
    of_levels.index = pd.Index(frame["patient"], name="patient")
    found = load_task(of_levels.drop(columns=[("patient", "")]), target="('outcome', '')")
    assert same(found, expected)


def indexed_by(frame, values, name):
    return frame.set_axis(pd.Index(values, name=name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: indexed_by(f, f["patient"][::-1], "patient"), "more than one 'patient', in its index and beside"),
        (
            lambda f: f.set_axis(pd.MultiIndex.from_arrays([f["patient"], f["patient"] + 1], names=["patient"] * 2)),
            "more than one 'patient'",
        ),
        (lambda f: indexed_by(f, [f"{n}.png" for n in range(40)], None), "its index holds paths of images"),
        (lambda f: indexed_by(f, f["outcome"] + 1, "label"), "which column holds the labels.*'?label'?.*'?outcome'?"),
    ],
)
def test_an_index_that_says_something_else_is_refused(change, message):
    frame = pd.DataFrame({"age": RNG.normal(60, 9, 40), "outcome": Y, "patient": np.arange(40) // 2})
    with pytest.raises(MetaGDError, match=message):
        load_task(change(frame))


def test_a_table_of_values_may_be_called_by_its_images():
    """As the tables of features that programs compute of images."""
    frame = pd.DataFrame({"energy": RNG.normal(60, 9, 40), "label": Y})
    of_images = frame.set_axis(pd.Index([f"{n}.png" for n in range(40)], name="image"))
    assert same(load_task(of_images, kind="table"), load_task(frame))
    with pytest.raises(MetaGDError, match="its index holds paths of images; make a column of them"):
        load_task(of_images, kind="images")


def test_labels_by_a_usual_name_may_be_in_the_index():
    frame = pd.DataFrame({"age": RNG.normal(60, 9, 40), "site": ["a", "b"] * 20, "label": Y})
    assert same(load_task(frame.set_index("label")), load_task(frame))


@pytest.mark.parametrize(
    ("patients", "message"),
    [
        ([0, 0.0, *range(1, 39)], "1 patient of 39 in more than one part, in the cases 1, 2"),
        (["0", "0.0", *range(1, 39)], "1 patient of 39 in more than one part, in the cases 1, 2"),
        ([0, Decimal("0.00"), *range(1, 39)], "1 patient of 39 in more than one part, in the cases 1, 2"),
        ([Decimal("1e999999"), Decimal("1e999999"), *range(1, 39)], "1 patient of 39 in more than one part"),
        (["NA", *range(39)], "1 case without a patient"),
        (["p", " null ", *range(38)], "1 case without a patient"),
    ],
)
def test_a_patient_is_the_same_whatever_the_type(patients, message):
    split = ["train", "test", *["train"] * 20, *["val", "test"] * 9]
    frame = pd.DataFrame({"age": RNG.normal(60, 9, 40), "label": Y, "split": split})
    frame["patient"] = np.array(patients, object)
    with pytest.raises(MetaGDError, match=message):
        load_task(frame)


@pytest.mark.parametrize("gap", ["NA", "n/a", " NaN ", "null", "?", ""])
def test_a_text_that_says_that_there_is_no_label_is_none(tmp_path, gap):
    frame = pd.DataFrame({"age": np.arange(24.0), "label": ["none", "ill", gap] * 8})
    frame.to_csv(tmp_path / "labs.csv", index=False)
    for given in (frame, tmp_path / "labs.csv"):
        with pytest.raises(MetaGDError, match=r"8 missing labels.*case 3"):
            load_task(given, target="label")
    frame["label"] = frame["label"].replace(gap, "none")
    assert load_task(frame, target="label").classes == ("ill", "none")


def test_patients_and_parts_are_of_any_type_that_tells_them_apart():
    patients = [("clinic", number // 2) for number in range(40)]
    plain = load_task({"images": X, "labels": Y, "patients": np.arange(40) // 2})
    frame = pd.DataFrame({"age": RNG.normal(60, 9, 40), "label": Y})
    by_tuple, by_number = (
        load_task(frame.assign(patient=whose), target="label") for whose in (patients, np.arange(40) // 2)
    )
    assert by_tuple.source["split"] == by_number.source["split"] == plain.source["split"]
    parts = np.array(["train", "val", "test", "train", "train"] * 8)
    found = [load_task({"images": X, "labels": Y, "split": given}) for given in (parts, parts.astype("S"))]
    assert same(*found)


@pytest.mark.parametrize("kind", [object, "list<int64>"])
@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("label", "a label is .*it must be one text or number, no list or table"),
        ("patient", "a patient is .*it must be one text or number"),
        ("x", "a value of the column 'x' is .*it must be one text or number"),
        ("split", "a part is .*it must be one text or number"),
    ],
)
def test_lists_where_one_value_belongs_are_told(tmp_path, kind, use, message):
    import pyarrow
    from pyarrow import parquet

    lists = [[1, 2], [3, 4]] * 12
    columns = {"age": np.arange(24.0), "label": ["a", "b"] * 12, use: lists}
    if kind is object:
        data = pd.DataFrame(columns)
    else:
        parquet.write_table(pyarrow.table(columns), data := tmp_path / "a.parquet")
        message = f"the column '{use}' holds list<.*one text or number in it, so write the table without lists"
    with pytest.raises(MetaGDError, match=message):
        load_task(data, target="label")


@pytest.mark.parametrize("kind", ["Int64", "Float64", "boolean", "string", "double[pyarrow]", object])
def test_a_missing_feature_is_one_whatever_the_column_is(kind):
    held = [0, 1, pd.NA] * 8
    column = (
        pd.array([None if value is pd.NA else str(value) for value in held], "string") if kind == "string" else held
    )
    frame = pd.DataFrame({"x": pd.Series(column, dtype=kind), "z": np.arange(24.0), "label": ["a", "b"] * 12})
    plain = frame.assign(x=[np.nan if v is pd.NA else float(v) for v in held])
    found, expected = (load_task(each, target="label") for each in (frame, plain))
    np.testing.assert_array_equal(found.train_images, expected.train_images)
