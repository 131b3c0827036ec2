from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks.stratify import stratified_part


@settings(deadline=None, max_examples=60)
@given(counts=st.lists(st.integers(1, 60), min_size=1, max_size=8), data=st.data())
def test_a_part_has_the_size_and_keeps_the_shares(counts, data):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    size = data.draw(st.integers(len(counts), len(labels) + 5))
    rows = stratified_part(labels, size, seed=3)
    assert len(rows) == len(set(rows.tolist())) == min(size, len(labels))
    assert np.all(np.diff(rows) > 0)
    kept = np.bincount(labels[rows], minlength=len(counts))
    assert kept.min() >= 1
    assert np.all(kept <= counts)
    # a class that the rule of one per class did not lift is at most one per lifted class away from its quota
    quota = np.array(counts) * min(size, len(labels)) / len(labels)
    assert np.all(np.abs(kept - quota) <= 1 + np.count_nonzero(quota < 1))


def test_the_seed_decides_which():
    labels = np.repeat([0, 1], 50).astype(np.int32)
    first, again, other = (stratified_part(labels, 20, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.tolist() != other.tolist()


def test_quotas_by_largest_remainders():
    labels = np.repeat([0, 1, 2], [53, 36, 11]).astype(np.int32)  # quotas 5.3, 3.6, 1.1
    assert np.bincount(labels[stratified_part(labels, 10, seed=0)]).tolist() == [5, 4, 1]


def test_fewer_than_one_per_class_is_refused():
    with pytest.raises(MetaGDError, match="2 images cannot hold one of each of 3 classes"):
        stratified_part(np.array([0, 1, 2, 2], np.int32), 2, seed=0)
