"""Tables of values: gaps filled, categories encoded, all of it learnt from the training part alone."""

from __future__ import annotations

import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import audit, load_task, measure_complexity

RNG = np.random.default_rng(5)
COUNT = 60


def columns_of(**changes):
    """A made-up clinic: an age with gaps, a sex, a score that knows the outcome, and a ward that never changes."""
    outcome = np.arange(COUNT) % 2
    age = [f"{value:.1f}" for value in RNG.normal(60, 10, COUNT)]
    age[::8] = ["NA"] * len(age[::8])
    sex = [["f", "m", "m"][i % 3] for i in range(COUNT)]
    sex[::9] = [""] * len(sex[::9])
    return {
        "age": age,
        "sex": sex,
        "score": [f"{value:.2f}" for value in outcome + RNG.normal(0, 0.1, COUNT)],
        "ward": ["A"] * COUNT,
        "case": [f"C{i // 2}" for i in range(COUNT)],
        "outcome": [["well", "ill"][value] for value in outcome],
    } | changes


def write(path, columns, separator=","):
    lines = [separator.join(columns)]
    lines += [separator.join(row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_table_is_a_task_of_rows(tmp_path):
    path = write(tmp_path / "labs.csv", columns_of())
    task = load_task(path, target="outcome", patient="case", positive="ill")
    # Numbers: age, score, and where age had gaps; categories: f, m and the gap; the ward is left out.
    assert task.input_shape == (6,)
    assert task.classes == ("well", "ill")
    assert task.train_images.dtype == np.float32
    assert task.source["columns"] == "2 of numbers, 1 of categories; 6 features"
    assert task.source["gaps"] == "15 of 180 values"
    assert task.source["left_out"] == "1 column with one value throughout train"
    assert "by patient" in task.source["split"]
    assert not any("C1" in str(value) for value in task.source.values())
    assert measure_complexity(task.train_images, task.train_labels) < 0.6
    assert audit(task).findings is not None


def test_only_the_training_part_decides_how_values_are_filled_and_scaled(tmp_path):
    columns = columns_of()
    parts = ["train"] * 36 + ["val"] * 12 + ["test"] * 12
    path = write(tmp_path / "a.csv", columns | {"split": parts})
    first = load_task(path, target="outcome")
    wild = [value if part == "train" else str(1e6) for value, part in zip(columns["score"], parts, strict=True)]
    second = load_task(write(tmp_path / "b.csv", columns | {"split": parts, "score": wild}), target="outcome")
    np.testing.assert_array_equal(first.train_images, second.train_images)
    numbers = first.train_images[:, :2]  # of the numeric columns, which come first
    np.testing.assert_allclose(numbers.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(numbers.std(axis=0), 1, atol=1e-6)
    # A gap in age is the median of those of training.
    ages = np.array(
        [float(value) for value, part in zip(columns["age"], parts, strict=True) if value != "NA" and part == "train"]
    )
    there = [
        float(value) if value != "NA" else np.median(ages)
        for value, part in zip(columns["age"], parts, strict=True)
        if part == "train"
    ]
    expected = (there - np.mean(there)) / np.std(there)
    np.testing.assert_allclose(first.train_images[:, 0], expected, rtol=1e-5, atol=1e-5)


def test_a_category_that_training_never_saw_and_many_categories_are_no_error(tmp_path):
    columns = columns_of(sex=[f"kind {i % 30}" for i in range(COUNT)])
    columns["sex"][-1] = "new"
    columns["split"] = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    task = load_task(write(tmp_path / "labs.csv", columns), target="outcome", split="split")
    assert task.input_shape[0] <= 3 + 30 + 20
    assert np.isfinite(task.test_images).all()


def test_decimal_commas_and_truth_values_are_numbers(tmp_path):
    columns = columns_of(score=[f"{i},5" for i in range(COUNT)], ward=[str(i % 3 == 0) for i in range(COUNT)])
    task = load_task(write(tmp_path / "labs.csv", columns, ";"), target="outcome")
    assert task.source["columns"].startswith("3 of numbers, 2 of categories")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"age": [f"2024-03-{i % 28 + 1:02d}" for i in range(COUNT)]}, "'age' holds dates; make numbers of them"),
        ({"age": [f"{i % 28 + 1}.3.2024" for i in range(COUNT)]}, "'age' holds dates"),
        (
            {"age": [*map(str, range(COUNT - 2)), "n.v.", "2024-03-01"]},
            r"the column 'age' is one of numbers, but 2 values of 60 are none, the first in row 59: 'n\.v\.'",
        ),
        ({"age": [*map(str, range(COUNT - 1)), "inf"]}, "is one of numbers, but 1 value"),
        ({"outcome": ["well"] * COUNT}, "every case has the label 'well'"),
        ({"outcome": [f"{i / 7:.3f}" for i in range(COUNT)]}, "are no classes, but an identifier or a measured number"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(tmp_path, changes, message):
    path = write(tmp_path / "labs.csv", columns_of(**changes))
    with pytest.raises(MetaGDError, match=message):
        load_task(path, target="outcome")


def test_a_table_needs_a_target_and_something_to_learn_from(tmp_path):
    columns = columns_of()
    columns["finding"] = columns.pop("outcome")
    path = write(tmp_path / "labs.csv", columns)
    with pytest.raises(
        MetaGDError, match=r"which column holds the labels.*age, sex, score, ward, case, finding; name it"
    ):
        load_task(path)
    with pytest.raises(MetaGDError, match="image_size is for images, and no column holds paths"):
        load_task(path, target="finding", image_size=32)
    with pytest.raises(MetaGDError, match="no column holds paths of images"):
        load_task(path, target="finding", kind="images")
    bare = write(tmp_path / "bare.csv", {"ward": columns["ward"], "label": columns["finding"]})
    with pytest.raises(MetaGDError, match="no column is left to learn from; with one value throughout train: ward"):
        load_task(bare)


def test_paths_can_be_taken_as_values(tmp_path):
    columns = columns_of(ward=[f"scan{i % 4}.png" for i in range(COUNT)])
    task = load_task(write(tmp_path / "labs.csv", columns), target="outcome", kind="table")
    assert task.source["columns"].startswith("2 of numbers, 3 of categories")
