"""Where a training that is steered stands: what it needs to go on as if nothing had happened, in memory and on disk."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from keras.src.saving.keras_saveable import KerasSaveable  # Keras has no public name for it

from metagd_optuna.contracts import MetaGDError, Observation, Validation
from metagd_optuna.policy.controller_state import state_from_json, state_to_json

SCHEMA = 1

# Keras saves and loads what is saveable among a model's attributes along with its weights.
ATTRIBUTE = "_metagd_steering"


@dataclass(slots=True)
class Steering:
    """Where a training stands between two steps.

    Args:
        training: what it is the state of: the rule, its task, its budget and its updates, as text.
        step: steps of the budget that are behind.
        controller: the controller's state.
        observation: what it will see next, but for validation.
        validation: the latest validation metrics.
        planned: rates from here to the next update; ``used`` of them are behind.
        sums: of what was measured since the last update.
        iterations: of the optimizer when they were last looked at, and ``since``, the steps after that.
        optimizer: the one that takes the steps; None after a copy or a file, which hold numbers only.
        unvalidated: epochs in a row that measured no validation.
    """

    training: str
    step: int
    controller: Any
    observation: Observation
    validation: Validation | None = None
    planned: list[float] = field(default_factory=list)
    used: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    iterations: int = 0
    since: int = 0
    unvalidated: int = 0
    optimizer: weakref.ref[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the optimizer out of a copy."""
        return {name: None if name == "optimizer" else getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take what ``__getstate__`` gave."""
        for name, value in state.items():
            setattr(self, name, value)

    def goes_on_with(self, optimizer: Any, iterations: int) -> bool:
        """Return whether an optimizer, with so many iterations, may be where this training was left."""
        if self.optimizer is not None and self.optimizer() is not optimizer:
            return False
        # Steps that a loss scale skips are steps of the budget, and no iterations.
        return iterations > 0 and 0 <= iterations - self.iterations <= self.since

    def at(self, step: int, fresh: Any, ends: tuple[int, ...]) -> Steering:
        """Return the state to go on with from a step of the budget.

        Args:
            step: where the training goes on. If it is not where it was left, as after an epoch that was cut off, what
                was planned and what was measured since the last update no longer hold.
            fresh: the state of a controller that begins, which knows this training's budget.
            ends: the steps of the updates. If the rates that were planned do not end at one of them, as in a longer
                training, the controller is asked anew.
        """
        if hasattr(self.controller, "budget"):
            controller = self.controller._replace(budget=fresh.budget)
        else:
            controller = self.controller
        moved = replace(self, step=step, controller=controller, observation=replace(self.observation, step=step))
        if step != self.step:
            return replace(moved, planned=[], used=0, sums=[0.0] * 4)
        if self.used < len(self.planned) and step + len(self.planned) - self.used not in ends:
            return replace(moved, planned=[], used=0)
        return moved

    def to_dict(self) -> dict[str, Any]:
        """Return the state as JSON-able values."""
        values = {name: getattr(self, name) for name in self.__slots__ if name != "optimizer"}
        values["controller"] = state_to_json(self.controller)
        values["observation"] = _plain({**asdict(self.observation), "validation": None})
        values["validation"] = None if self.validation is None else _plain(asdict(self.validation))
        return {
            "schema": SCHEMA,
            **values,
            "planned": list(self.planned),
            "sums": [state_to_json(x) for x in self.sums],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Steering:
        """Return the state that ``to_dict`` wrote.

        Raises:
            MetaGDError: for anything else.
        """
        try:
            fields = dict(values)
            if fields.pop("schema") != SCHEMA:
                raise KeyError("schema")
            fields["controller"] = state_from_json(fields["controller"])
            fields["observation"] = Observation(**_read(fields["observation"]))
            if fields["validation"] is not None:
                fields["validation"] = Validation(**_read(fields["validation"]))
            fields["sums"] = [state_from_json(value) for value in fields["sums"]]
            return cls(**fields)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise MetaGDError(
                f"{str(values)[:200]} is no state of a callback; pass what get_state() returned, unchanged"
            ) from None


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: state_to_json(value) for name, value in values.items()}


def _read(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: state_from_json(value) for name, value in values.items()}


class SteeringHolder(KerasSaveable):
    """Keeps a training's state on its model, so that it travels with the weights wherever Keras saves them.

    A file with it loads where this package is not installed, and a file without it loads here.
    """

    def __init__(self) -> None:
        self.steering: Steering | None = None

    def _obj_type(self) -> str:
        return "Loss"  # one of the kinds that Keras knows; of those, the one with the fewest attributes of its own

    def save_own_variables(self, store: Any) -> None:
        """Write the state as the bytes of its JSON."""
        if self.steering is not None:
            store["json"] = np.frombuffer(json.dumps(self.steering.to_dict(), allow_nan=False).encode(), np.uint8)

    def load_own_variables(self, store: Any) -> None:
        """Read the state, where there is one."""
        self.steering = None
        if "json" in store:
            self.steering = Steering.from_dict(json.loads(np.asarray(store["json"]).astype(np.uint8).tobytes()))


def found_state(
    given: Steering | None, candidates: Iterable[Steering | None], training: str, optimizer: Any, iterations: int
) -> Steering | None:
    """Return the state that a training goes on from; None if there is none.

    Args:
        given: by the user, who answers for the weights that belong to it.
        candidates: what this callback, or the model, was left with; taken where rule, task and iterations are the same.
        training: rule and task.
        optimizer: of the model, and its iterations.

    Raises:
        MetaGDError: if the state that was given is that of another rule or task.
    """
    if given is not None:
        if given.training != training:
            raise MetaGDError(
                "the state that set_state() was given is that of another policy, complexity or class_frequencies; "
                f"it is of {given.training[:200]}, and this training of {training[:200]}"
            )
        return given
    for state in candidates:
        if state is not None and state.training == training and state.goes_on_with(optimizer, iterations):
            return state
    return None


def holder_on(model: Any) -> SteeringHolder:
    """Return what keeps the state on a model, put there if it is not."""
    holder: SteeringHolder | None = getattr(model, ATTRIBUTE, None)
    if holder is None:
        holder = SteeringHolder()
        setattr(model, ATTRIBUTE, holder)
    return holder
