"""What the two sides of the GPU benchmark share: which programs there are, on which data, and when one is right.

NumPy only, because the GPU machine need not have TensorFlow. The images have the shape and the class frequencies of
PneumoniaMNIST's training part, but are drawn from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

EXAMPLES, SIDE, CLASSES = 4708, 28, 2
STEPS = 50
BATCHES = (32, 128)
# The size most likely to be the best comes first, in case time runs out.
POPULATIONS = (64, 256, 8, 1)
LAYOUTS = ("patches", "grouped")
COMPUTE = ("bfloat16", "float32")
# Adam's rates of the members, over and over, so that every population is checked against one of eight.
RATES = np.geomspace(1e-4, 3e-3, 8)
# A program is checked with rates that are zero after a few steps: rounding grows from step to step, while an error
# shows at once.
CHECKED_STEPS = 5
# How far a mean loss may be off, in nats, and the weights, as a share of the distance that they went.
# float32 is multiplied as TF32 on a GPU, with 11 significant bits, and bfloat16 has 8; Adam's first steps are the
# gradient's signs, so a small gradient whose sign is lost costs a whole step of that weight.
TOLERANCES = {"float32": (5e-3, 0.2), "bfloat16": (2e-2, 0.5)}

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """One program: the steps between two rate updates of the article's CNN under Adam."""

    population: int
    layout: str
    compute: str
    batch: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"b{self.batch}-p{self.population}-{self.layout}-{self.compute}"


def cases(populations: Sequence[int], batches: Sequence[int]) -> Iterator[Case]:
    """Yield all programs of these sizes, the most telling first."""
    for batch in batches:
        for population in populations:
            for layout in LAYOUTS:
                for compute in COMPUTE:
                    yield Case(population, layout, compute, batch)


def data() -> Arrays:
    """Return images (n, 28, 28, 1) of bytes, and labels int32 (n,): noise in a black frame, brighter in one half."""
    rng = np.random.default_rng(20)
    labels = (rng.random(EXAMPLES) < 0.74).astype(np.int32)
    images = np.zeros((EXAMPLES, SIDE, SIDE, 1), np.uint8)
    images[:, 2:-2, 2:-2] = rng.integers(0, 200, size=(EXAMPLES, SIDE - 4, SIDE - 4, 1))
    images[labels == 0, 2:14, 2:-2] += 20
    images[labels == 1, 14:-2, 2:-2] += 20
    return {"images": images, "labels": labels}


def batches_of(batch: int) -> npt.NDArray[np.int32]:
    """Return the indices of the mini-batches, (steps, batch)."""
    rng = np.random.default_rng(batch)
    return rng.integers(EXAMPLES, size=(STEPS, batch), dtype=np.int32)


def rates_of(population: int, *, checked: bool) -> npt.NDArray[np.float32]:
    """Return the rate of every step and member, (steps, P); for a check, those of most steps are zero."""
    rates = np.tile(RATES[np.arange(population) % len(RATES)], (STEPS, 1)).astype(np.float32)
    if checked:
        rates[CHECKED_STEPS:] = 0
    return rates


def departure(
    loss: npt.NDArray[Any], weights: npt.NDArray[Any], start: npt.NDArray[Any], expected: Arrays, compute: str
) -> dict[str, Any]:
    """Return how far a checked run is from what is expected.

    Args:
        loss: mean loss of every member, (P,).
        weights: of every member at the end, (P, D).
        start: where all of them began, (D,).
        expected: ``loss`` and ``weights`` of eight members.
        compute: says how far off is allowed.
    """
    members = np.arange(len(loss)) % len(RATES)
    loss_off = float(np.max(np.abs(loss - expected["loss"][members])))
    went = np.linalg.norm(expected["weights"] - start, axis=1)[members]
    weights_off = float(np.max(np.linalg.norm(weights - expected["weights"][members], axis=1) / went))
    most_loss, most_weights = TOLERANCES[compute]
    finite = bool(np.isfinite(loss_off) and np.isfinite(weights_off))
    return {
        "finite": finite,
        "loss_off": loss_off if finite else None,  # JSON has no nan
        "weights_off": weights_off if finite else None,
        "right": bool(loss_off <= most_loss and weights_off <= most_weights),
    }
