"""The findings of an audit, what to do about them, and the thresholds from which they are reported."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy.typing as npt

from metagd_optuna.given import counted
from metagd_optuna.tasks.audit.near_duplicates import BITS, MOST_BITS
from metagd_optuna.tasks.audit.result import Audit
from metagd_optuna.tasks.audit.shifts import shift_findings
from metagd_optuna.tasks.finding import Finding
from metagd_optuna.tasks.reading import Reading
from metagd_optuna.tasks.validation import PARTS

# The numbers of cases, by kind of finding, by place (a part or a pair of them), and by the part that they are in.
Places = Mapping[str, Mapping[str, Mapping[str, tuple[int, ...]]]]

FEW_IMAGES = 10
IMBALANCE_RATIO = 2.0
LARGEST_PIXEL = 16.0  # above standardised data, below bytes stored as floats
SHIFT_POINTS = 0.05
SHIFT_ERRORS = 3.0


def findings_of(
    audit: Audit, places: Places, images: Mapping[str, npt.NDArray[Any]], reading: Reading
) -> tuple[Finding, ...]:
    """Return what is wrong with a task, in which cases, and what to do about it.

    A difference of a class frequency between two parts is reported from 5 percentage points on, if it is also
    more than three standard errors, sqrt(s (1 - s) (1/n + 1/m)) with s the pooled frequency. Classes are
    unbalanced from a ratio of 2 on. A class with fewer than 10 images in a part has few.

    Args:
        audit: what was counted.
        places: which cases were.
        images: of every part.
        reading: what the reader said of them.
    """
    return (
        *reading.findings,
        *_on_missing(audit),
        *_on_pixels(audit, places),
        *_on_copies(audit, places),
        *_on_near_copies(audit, places),
        *_on_contradictions(audit, places),
        *_on_balance(audit),
        *_on_few(audit),
        *_on_shift(audit),
        *([] if any(audit.missing_values.values()) else shift_findings(images, reading.columns)),
        *_on_dropped(audit),
        *([Finding(f"from the catalogue: {audit.note}")] if audit.note else []),
    )


def _thing(audit: Audit) -> str:
    return "image" if audit.of_images else "row"


def _on_missing(audit: Audit) -> Iterator[Finding]:
    for part, count in audit.missing_values.items():
        if count:
            yield Finding(f"{part}: {counted(count, 'missing value')} (NaN or infinite); a task with any is refused")


def _on_pixels(audit: Audit, places: Places) -> Iterator[Finding]:
    thing = _thing(audit)
    for kind, counts, what, fault in (
        ("constant_images", audit.constant_images, f"constant {thing}", ", without information"),
        ("blank_images", audit.blank_images, f"blank {thing}", ", with nearly nothing to be seen"),
        ("cut_off_images", audit.cut_off_images, thing, " with a flat lower end, as of files that were cut off"),
    ):
        for part, count in counts.items():
            if count:
                yield Finding(
                    f"{part}: {counted(count, what)}{fault}", "look at them, and leave them out", places[kind][part]
                )
    # bytes are scaled to [0, 1] before training, floats are not
    if (
        audit.of_images
        and audit.pixels_are_floats
        and audit.pixel_range
        and max(map(abs, audit.pixel_range)) > LARGEST_PIXEL
    ):
        low, high = audit.pixel_range
        yield Finding(
            f"pixels are floats from {low:g} to {high:g} and are used as they are; values near 1 train better",
            f"divide them by {max(map(abs, audit.pixel_range)):g}",
        )


def _on_copies(audit: Audit, places: Places) -> Iterator[Finding]:
    for place, count in audit.duplicates.items():
        (earlier, _, later), thing = place.partition("-"), _thing(audit)
        if count:
            where = f"also in {earlier}" if later else f"repeated within {earlier}"
            text = f"{counted(count, f'{later or earlier} {thing}')} {where}: exact copies"
            yield Finding(text, _without_copies("duplicates", earlier), places["duplicates"][place])


def _without_copies(kind: str, earlier: str) -> str:
    if earlier == "train":
        return f"drop_{kind} = true leaves those in train out"
    return "leave one of them out"


def _on_near_copies(audit: Audit, places: Places) -> Iterator[Finding]:
    for place, count in audit.near_duplicates.items():
        earlier, _, later = place.partition("-")
        if count:
            yield Finding(
                f"{counted(count, f'{later} image')} nearly as in {earlier}: at most {MOST_BITS} of {BITS} bits of a "
                "perceptual hash differ",
                "look at them; if they are of one patient, say whose each case is with patient, or put all into one "
                "part",
                places["near_duplicates"][place],
            )


def _on_contradictions(audit: Audit, places: Places) -> Iterator[Finding]:
    for place, count in audit.contradictions.items():
        (earlier, _, later), thing = place.partition("-"), _thing(audit)
        if count:
            yield Finding(
                f"{counted(count, f'{later or earlier} {thing}')} also in {earlier} with another label: contradictory",
                f"correct the labels; {_without_copies('contradictions', earlier)}",
                places["contradictions"][place],
            )


def _on_balance(audit: Audit) -> Iterator[Finding]:
    counts = audit.class_counts["train"]
    if audit.imbalance is not None and audit.imbalance >= IMBALANCE_RATIO:
        largest, smallest = counts.index(max(counts)), counts.index(min(counts))
        yield Finding(
            f"unbalanced classes: {audit.classes[largest]} {max(counts) / sum(counts):.1%}, "
            f"{audit.classes[smallest]} {min(counts) / sum(counts):.1%} of train; plain accuracy misleads",
            "judge by the AUC or by balanced accuracy",
        )


def _on_few(audit: Audit) -> Iterator[Finding]:
    for part in PARTS:
        few = [
            f"{name} ({count})"
            for name, count in zip(audit.classes, audit.class_counts[part], strict=True)
            if count < FEW_IMAGES
        ]
        if few:
            yield Finding(
                f"{part}: fewer than {FEW_IMAGES} {_thing(audit)}s of {', '.join(few)}", "add some, or join classes"
            )


def _on_shift(audit: Audit) -> Iterator[Finding]:
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
            yield Finding(
                f"prevalence shift: {audit.classes[label]} is {a[label] / n:.1%} of {first} "
                f"and {b[label] / m:.1%} of {second}",
                "split at random, unless the parts are meant to differ",
            )


def _on_dropped(audit: Audit) -> Iterator[Finding]:
    for reason, count in audit.dropped.items():
        yield Finding(f"dropped from train on request, {reason}: {counted(count, _thing(audit))}")
    for part, available in audit.available.items():
        if available > audit.sizes[part]:
            yield Finding(f"{part} is a stratified part: {audit.sizes[part]:,} of {available:,} {_thing(audit)}s")
