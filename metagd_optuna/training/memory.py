"""What is done where members that train together do not fit into the memory of the device."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import shortened


@dataclass(slots=True)
class MemoryLimit:
    """The most members that one program may train, since memory ran out with more; any number until then."""

    members: int = sys.maxsize
    _setting: Lock = field(default_factory=Lock, repr=False)

    def halve(self, population: int, members: int) -> str:
        """Lower the limit to a half of the population, or half of that, so that it is below ``members``.

        Halves of the whole population, because XLA compiles every size anew.

        Args:
            population: members that share a program at most.
            members: those that did not fit, at least 2.

        Returns:
            a line for the user; nothing if another lane has lowered the limit as far.

        >>> limit = MemoryLimit()
        >>> limit.halve(16, 11), limit.members
        ('  memory ran out with 11 members in a program; they begin anew with 8, as later trainings do', 8)
        >>> limit.halve(8, 16)
        ''
        """
        with self._setting:
            limit = min(population, self.members)
            if limit < members:
                return ""
            while limit >= members:
                limit //= 2
            self.members = limit
        return (
            f"  memory ran out with {members} members in a program; they begin anew with {limit}, as later trainings do"
        )


def too_large(model: Any, images: npt.NDArray[Any], batch_size: int, error: Exception) -> MetaGDError:
    """Return the error for a network of which not even one member fits into memory."""
    size = " x ".join(map(str, images.shape[1:]))
    said = re.sub(r"\{\{.*?\}\} *", "", (str(error).splitlines() or ["no reason given"])[0])  # no names of graph nodes
    return MetaGDError(
        f"memory ran out with one member in a program: a network of {model.count_params():,} weights, batches of "
        f"{batch_size}, inputs of {size}, {len(images):,} of them ({shortened(said)}). If other processes use the "
        "memory (nvidia-smi lists those on a GPU), end them, or take a device with more, and go on with the same "
        "command; else begin a study with a smaller batch_size, a smaller network or smaller images"
    )
