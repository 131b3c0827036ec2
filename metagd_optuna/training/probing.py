"""Probes of the coming step: on which images, and what is made of the numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import PROBE_IMAGES, Probe
from metagd_optuna.training.batch_norm import mixed_rows


def probe_rows(count: int) -> npt.NDArray[np.int32]:
    """Return the rows of the training images that every probe is measured on: an even number, up to 32."""
    return mixed_rows(count)[: min(PROBE_IMAGES, count - count % 2)].astype(np.int32)


def probe_of(
    rates: tuple[float, ...],
    loss: Any,
    losses: Any,
    gradient: Any,
    direction: Any,
    slope: Any,
    agreement: Any,
    distance: Any,
) -> Probe:
    """Return a probe of the numbers that were measured; losses that are not finite are infinite."""
    return Probe(
        float(loss),
        rates,
        tuple(float(each) if math.isfinite(each) else math.inf for each in losses),
        *(float(each) for each in (gradient, direction, slope, agreement, distance)),
    )
