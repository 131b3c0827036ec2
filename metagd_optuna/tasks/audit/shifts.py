"""Cases that differ from one part to another: classes, brightness, columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.given import as_given, counted
from metagd_optuna.tasks.finding import Finding

DEVIATIONS = 0.5  # between two means, in standard deviations of the cases
ERRORS = 4.5  # of the difference: a thousand columns without a shift show none
SHOWN = 3
_REMEDY = "the parts differ, as those of two hospitals do: split at random, unless that is meant"

Values = npt.NDArray[np.float64]


def shift_findings(images: Mapping[str, npt.NDArray[Any]], columns: Sequence[str]) -> Iterator[Finding]:
    """Yield where cases of two parts differ: by half a standard deviation, and by 4.5 standard errors.

    Of images the brightness (mean) and contrast (standard deviation of the pixels) are compared, of a table every
    feature.

    Args:
        images: of every part: (n, h, w) or (n, h, w, c), or features (n, F); finite.
        columns: names of the features, if they have any.
    """
    of_images = next(iter(images.values())).ndim > 2
    values = {part: _measures(found) if of_images else np.asarray(found, np.float64) for part, found in images.items()}
    names = ("brightness", "contrast") if of_images else [as_given(name) for name in columns]
    for first, second in combinations(images, 2):
        sizes = _differences(values[first], values[second])
        order = [int(place) for place in np.argsort(-sizes) if sizes[place] > 0]
        if order:
            largest: dict[str, float] = {}
            for place in order:
                largest.setdefault(_name(names, place), float(sizes[place]))
            said = ", ".join(f"{name} by {size:.1f}" for name, size in list(largest.items())[:SHOWN])
            more = f" and {counted(len(largest) - SHOWN, 'more column')}" if len(largest) > SHOWN else ""
            yield Finding(f"shift from {first} to {second}: {said}{more} standard deviations", _REMEDY)


def _name(names: Sequence[str], place: int) -> str:
    return names[place] if names else f"column {place + 1}"


def _measures(images: npt.NDArray[Any]) -> Values:
    pixels = images.reshape(len(images), -1)
    return np.stack([pixels.mean(axis=1, dtype=np.float64), pixels.std(axis=1, dtype=np.float64)], axis=1)


def _differences(first: Values, second: Values) -> Values:
    """Return for every column how far the means are apart, in standard deviations; 0 where that may be chance."""
    variances = first.var(axis=0), second.var(axis=0)
    n, m = len(first), len(second)
    deviation = np.sqrt((n * variances[0] + m * variances[1]) / (n + m))
    error = np.sqrt(variances[0] / n + variances[1] / m)
    apart = np.abs(first.mean(axis=0) - second.mean(axis=0))
    told = (apart > ERRORS * error) & (apart >= DEVIATIONS * deviation) & (deviation > 0)
    return np.where(told, apart / np.where(deviation > 0, deviation, 1), 0)
