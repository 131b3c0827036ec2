"""The result of an audit: counts, and findings in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from metagd_optuna.tasks.finding import Finding


@dataclass(frozen=True, slots=True)
class Audit:
    """What the audit counted, and the findings that follow.

    A key is a part (``train``, ``val``, ``test``) or a pair of them (``train-val``); for a pair, the count
    is of images of the second part.

    Args:
        task: the task's name.
        sizes: images per part.
        classes: class names.
        class_counts: images per class, by part, each of shape (K,).
        of_images: whether cases are images, and not rows of a table.
        pixels_are_floats: whether pixels are floats, which are not scaled before training.
        pixel_range: smallest and largest finite pixel of the training part; None if there is none.
        missing_values: pixels that are NaN or infinite, by part.
        constant_images: images with one value in all pixels, by part.
        blank_images: images with nearly one value in nearly all pixels, by part, see ``blank_images``.
        cut_off_images: images that end in one flat area, by part, see ``cut_off_images``.
        duplicates: images that copy, byte for byte, an earlier one of the part, or one of the first part.
        near_duplicates: images that look like one of the first part without copying it, by pair; of a table none.
        contradictions: images that have a copy with another label in the part, or in the first part.
        imbalance: largest over smallest class frequency in the training part; None if a class has no image.
        prevalence_shift: largest difference of a class frequency between two parts, by pair.
        available: images of every part before a stratified part was taken.
        dropped: training images left out on request, by reason.
        note: the catalogue's note on the task.
        findings: what is wrong, in which cases, and what to do about it.
    """

    task: str
    sizes: Mapping[str, int]
    classes: tuple[str, ...]
    class_counts: Mapping[str, tuple[int, ...]]
    pixels_are_floats: bool
    pixel_range: tuple[float, float] | None
    missing_values: Mapping[str, int]
    constant_images: Mapping[str, int]
    blank_images: Mapping[str, int]
    cut_off_images: Mapping[str, int]
    duplicates: Mapping[str, int]
    near_duplicates: Mapping[str, int]
    contradictions: Mapping[str, int]
    imbalance: float | None
    prevalence_shift: Mapping[str, float]
    available: Mapping[str, int]
    dropped: Mapping[str, int]
    note: str = ""
    of_images: bool = True
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as a JSON-able dictionary, its findings as sentences."""
        table = asdict(self)
        table["classes"], table["findings"] = list(self.classes), list(map(str, self.findings))
        table["pixel_range"] = list(self.pixel_range) if self.pixel_range else None
        table["class_counts"] = {part: list(counts) for part, counts in self.class_counts.items()}
        return table


def cases_by_class(audit: Mapping[str, object], part: str) -> list[int]:
    """Return the cases of every class in a part, out of an audit as ``Audit.to_dict`` writes it; none if it has none.

    >>> cases_by_class({"class_counts": {"val": [58, 20]}}, "val")
    [58, 20]
    """
    counts = audit.get("class_counts")
    found = counts.get(part) if isinstance(counts, Mapping) else None
    return [count for count in found if isinstance(count, int)] if isinstance(found, list) else []
