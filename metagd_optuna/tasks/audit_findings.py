"""The findings of an audit in words, and the thresholds from which they are reported."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

from metagd_optuna.given import counted
from metagd_optuna.tasks.audit_result import Audit
from metagd_optuna.tasks.validation import PARTS

FEW_IMAGES = 10
IMBALANCE_RATIO = 2.0
LARGEST_PIXEL = 16.0  # above standardised data, below bytes stored as floats
SHIFT_POINTS = 0.05
SHIFT_ERRORS = 3.0


def findings_of(audit: Audit) -> tuple[str, ...]:
    """Return one short sentence for each finding.

    A difference of a class frequency between two parts is reported from 5 percentage points on, if it is also
    more than three standard errors, sqrt(s (1 - s) (1/n + 1/m)) with s the pooled frequency. Classes are
    unbalanced from a ratio of 2 on. A class with fewer than 10 images in a part has few.
    """
    return (
        *_on_pixels(audit),
        *_on_copies(audit),
        *_on_contradictions(audit),
        *_on_balance(audit),
        *_on_few(audit),
        *_on_shift(audit),
        *_on_dropped(audit),
        *([f"from the catalogue: {audit.note}"] if audit.note else []),
    )


def _thing(audit: Audit) -> str:
    return "image" if audit.of_images else "row"


def _on_pixels(audit: Audit) -> Iterator[str]:
    for part, count in audit.missing_values.items():
        if count:
            yield f"{part}: {counted(count, 'missing value')} (NaN or infinite); a task with any is refused"
    thing = _thing(audit)
    for part, count in audit.constant_images.items():
        if count:
            yield f"{part}: {counted(count, f'constant {thing}')}, which carry no information"
    # bytes are scaled to [0, 1] before training, floats are not
    if (
        audit.of_images
        and audit.pixels_are_floats
        and audit.pixel_range
        and max(map(abs, audit.pixel_range)) > LARGEST_PIXEL
    ):
        low, high = audit.pixel_range
        yield f"pixels are floats from {low:g} to {high:g} and are used as they are; values near 1 train better"


def _on_copies(audit: Audit) -> Iterator[str]:
    for place, count in audit.duplicates.items():
        (earlier, _, later), thing = place.partition("-"), _thing(audit)
        if count and later:
            yield f"{counted(count, f'{later} {thing}')} also in {earlier}: exact copies"
        elif count:
            yield f"{counted(count, f'{earlier} {thing}')} repeated within {earlier}: exact copies"


def _on_contradictions(audit: Audit) -> Iterator[str]:
    for place, count in audit.contradictions.items():
        (earlier, _, later), thing = place.partition("-"), _thing(audit)
        if count:
            yield f"{counted(count, f'{later or earlier} {thing}')} also in {earlier} with another label: contradictory"


def _on_balance(audit: Audit) -> Iterator[str]:
    counts = audit.class_counts["train"]
    if audit.imbalance is not None and audit.imbalance >= IMBALANCE_RATIO:
        largest, smallest = counts.index(max(counts)), counts.index(min(counts))
        yield (
            f"unbalanced classes: {audit.classes[largest]} {max(counts) / sum(counts):.1%}, "
            f"{audit.classes[smallest]} {min(counts) / sum(counts):.1%} of train; plain accuracy misleads"
        )


def _on_few(audit: Audit) -> Iterator[str]:
    for part in PARTS:
        few = [
            f"{name} ({count})"
            for name, count in zip(audit.classes, audit.class_counts[part], strict=True)
            if count < FEW_IMAGES
        ]
        if few:
            yield f"{part}: fewer than {FEW_IMAGES} {_thing(audit)}s of {', '.join(few)}"


def _on_shift(audit: Audit) -> Iterator[str]:
    for first, second in combinations(PARTS, 2):
        a, b = audit.class_counts[first], audit.class_counts[second]
        n, m = sum(a), sum(b)
        shifts = {}
        for k in range(len(a)):
            pooled = (a[k] + b[k]) / (n + m)
            error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
            difference = abs(a[k] / n - b[k] / m)
            if difference >= SHIFT_POINTS and difference > SHIFT_ERRORS * error:
                shifts[k] = difference
        if shifts:
            label = max(shifts, key=shifts.__getitem__)
            yield (
                f"prevalence shift: {audit.classes[label]} is {a[label] / n:.1%} of {first} and {b[label] / m:.1%} of "
                f"{second}"
            )


def _on_dropped(audit: Audit) -> Iterator[str]:
    for reason, count in audit.dropped.items():
        yield f"dropped from train on request, {reason}: {counted(count, _thing(audit))}"
    for part, available in audit.available.items():
        if available > audit.sizes[part]:
            yield f"{part} is a stratified part: {audit.sizes[part]:,} of {available:,} {_thing(audit)}s"
