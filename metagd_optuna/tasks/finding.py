"""One thing that is wrong with data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SHOWN = 10  # cases of each part that a text names


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, in which cases, and what to do about it.

    Args:
        text: what was found, as a short sentence without its full stop.
        remedy: what to do about it; empty where there is nothing to do.
        cases: the numbers of the cases, as ``Reading.rows`` numbers them, by part; under an empty text those of which
            the part does not matter.

    >>> print(Finding("train: 2 constant images", "leave them out", {"train": (3, 17)}))
    train: 2 constant images; cases 3, 17 of train; leave them out
    """

    text: str
    remedy: str = ""
    cases: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.told(())

    def told(self, names: Sequence[str]) -> str:
        """Return the finding as a sentence, its cases by their names where there are any.

        Args:
            names: of every case that was read, the first at 0; see ``Reading.names``.
        """
        places = [
            f"{_listed(numbers, names)}{f' of {part}' if part else ''}"
            for part, numbers in self.cases.items()
            if numbers
        ]
        where = [f"case{'' if sum(map(len, self.cases.values())) == 1 else 's'} {', '.join(places)}"] if places else []
        return "; ".join([self.text, *where, *([self.remedy] if self.remedy else [])])


def _listed(numbers: Sequence[int], names: Sequence[str]) -> str:
    shown = [names[number - 1] if names else str(number) for number in numbers[:SHOWN]]
    more = f" and {len(numbers) - SHOWN:,} more" if len(numbers) > SHOWN else ""
    return ", ".join(shown) + more
