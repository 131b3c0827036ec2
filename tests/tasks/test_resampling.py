"""Cases dealt into other parts: nobody is lost, no patient is in two parts, and tables are prepared anew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import Task, load_task
from metagd_optuna.tasks.resampling import resampled

PARTS = ("train", "val", "test")


def numbered(sizes=(60, 20, 20), classes=2, **reading):
    """A task whose images say which case they are."""
    arrays, begin = {}, 0
    for part, size in zip(PARTS, sizes, strict=True):
        cases = np.arange(begin, begin + size)
        arrays[f"{part}_images"] = np.broadcast_to(cases[:, None, None], (size, 8, 8)).astype(np.uint8)
        arrays[f"{part}_labels"] = cases % classes
        begin += size
    return Task("numbered", classes=tuple(map(str, range(classes))), **arrays, **reading)


def cases_of(task, part):
    return task.arrays()[f"{part}_images"][:, 0, 0].reshape(-1).tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 4))
def test_every_case_is_in_one_part_with_its_label(seed, classes):
    task = numbered(classes=classes)
    dealt = resampled(task, seed)
    assert dealt.sizes == task.sizes
    assert sorted(case for part in PARTS for case in cases_of(dealt, part)) == list(range(100))
    for part in PARTS:
        labels = dealt.arrays()[f"{part}_labels"]
        assert labels.tolist() == [case % classes for case in cases_of(dealt, part)]
        assert np.ptp(np.bincount(labels, minlength=classes)) <= classes


def test_a_seed_deals_always_alike_and_another_differently():
    task = numbered()
    first, again, other = (cases_of(resampled(task, seed), "val") for seed in (1, 1, 2))
    assert first == again != other


def patients_csv(path, count=120, of_each=3):
    rows = ["a,b,outcome,patient"]
    rng = np.random.default_rng(0)
    for case in range(count):
        patient = case // of_each
        rows.append(f"{rng.normal():.3f},{case},{'ill' if patient % 2 else 'well'},P{patient}")
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_in_two_parts_and_tables_are_prepared_by_the_new_training_part(tmp_path, seed):
    task = load_task(patients_csv(tmp_path / "labs.csv"), target="outcome")
    dealt = resampled(task, seed)
    assert dealt.sizes.train == task.sizes.train
    assert abs(dealt.sizes.val - task.sizes.val) <= 9
    # The second column numbers the cases; standardised it still tells them apart, and so whose each is.
    values = {part: dealt.arrays()[f"{part}_images"][:, 1].astype(float) for part in PARTS}
    assert abs(values["train"].mean()) < 0.2  # a few cases may be in it twice
    every = np.unique(np.concatenate(list(values.values())))
    assert len(every) == 120
    owners = {part: {int(np.searchsorted(every, value)) // 3 for value in found} for part, found in values.items()}
    assert sum(map(len, owners.values())) == len(set.union(*owners.values())) == 40


def test_a_class_of_too_few_cases_is_an_error():
    arrays = {key: array.copy() for key, array in numbered().arrays().items()}
    for part in PARTS:
        arrays[f"{part}_labels"][:] = np.arange(len(arrays[f"{part}_labels"])) % 2
    arrays["train_labels"][:1] = 2
    task = Task("rare", classes=("a", "b", "c"), **arrays)
    with pytest.raises(MetaGDError, match=r"its part train has no case of c; add cases, join classes"):
        resampled(task, 0)


def test_copies_stay_together_and_with_their_patients():
    task = numbered()
    arrays = {key: array.copy() for key, array in task.arrays().items()}
    arrays["val_images"][10:] = arrays["val_images"][:10]
    task = Task("copies", classes=("0", "1"), **arrays)
    for seed in range(5):
        dealt = resampled(task, seed)
        parts = [{*cases_of(dealt, part)} for part in PARTS]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 90


def test_a_draw_that_lacks_a_class_is_drawn_again(tmp_path):
    rows = ["a,outcome,patient"]
    rng = np.random.default_rng(3)
    for patient in range(30):
        rows += [f"{rng.normal():.4f},{'b' if patient < 4 else 'a'},P{patient}" for _ in range(1 + patient % 8)]
    (tmp_path / "rare.csv").write_text("\n".join(rows), encoding="utf-8")
    task = load_task(tmp_path / "rare.csv", target="outcome")
    for seed in range(30):
        dealt = resampled(task, seed)
        assert all(len(np.unique(dealt.arrays()[f"{part}_labels"])) == 2 for part in PARTS)
