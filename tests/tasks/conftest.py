from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

Arrays = dict[str, np.ndarray]


@pytest.fixture
def make_arrays() -> Callable[..., Arrays]:
    """A valid set of six arrays in MedMNIST's layout, all images different."""

    def make(sizes=(20, 10, 10), classes=2, shape=(8, 8), dtype=np.uint8, seed=0) -> Arrays:
        rng = np.random.default_rng(seed)
        arrays = {}
        for part, size in zip(("train", "val", "test"), sizes, strict=True):
            images = rng.integers(0, 256, (size, *shape))
            arrays[f"{part}_images"] = images.astype(dtype) if dtype == np.uint8 else (images / 255).astype(dtype)
            arrays[f"{part}_labels"] = (np.arange(size) % classes).astype(np.uint8)[:, None]
        return arrays

    return make


@pytest.fixture(autouse=True)
def _no_data_dir(monkeypatch, request):
    """Whatever this machine holds, tests see no data folder unless they ask for one."""
    if "official" not in request.node.nodeid:
        monkeypatch.delenv("METAGD_DATA_DIR", raising=False)
