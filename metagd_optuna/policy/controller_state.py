"""The state of a controller as JSON-able values, so that a training can go on in another process."""

from __future__ import annotations

import math
from typing import Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy.article import ArticleState
from metagd_optuna.policy.baselines import BASELINES
from metagd_optuna.policy.controller import PolicyState
from metagd_optuna.policy.greedy import GreedyState
from metagd_optuna.policy.open_loop import RunState
from metagd_optuna.policy.plateau import PlateauState
from metagd_optuna.policy.rate import RATE_FORMS

_OWN: dict[str, Any] = {
    state.__name__: state for state in (ArticleState, GreedyState, PlateauState, PolicyState, RunState)
}


def states() -> dict[str, Any]:
    """Return every kind of state; what a form of g remembers goes by the name of the form."""
    registered = {name: form.memory for name, form in RATE_FORMS.items()}
    registered |= {f"baseline {name}": baseline.state for name, baseline in BASELINES.items()}
    return _OWN | {name: kind for name, kind in registered.items() if hasattr(kind, "_asdict")}


def state_to_json(state: Any) -> Any:
    """Return a controller's state as JSON-able values.

    Raises:
        MetaGDError: for a state that holds anything else than numbers, text, tuples and the kinds of ``states``.

    >>> state_to_json(RunState(100))
    {'state': 'RunState', 'fields': {'budget': 100}}
    """
    if isinstance(state, tuple) and hasattr(state, "_asdict"):
        known = states()
        name = next((name for name, kind in known.items() if kind is type(state)), None)
        if name is None:
            raise MetaGDError(
                f"a state of the kind {type(state).__name__} cannot be kept; the kinds are {', '.join(known)}"
            )
        return {"state": name, "fields": {key: state_to_json(value) for key, value in state._asdict().items()}}
    if isinstance(state, tuple):
        return [state_to_json(value) for value in state]
    if isinstance(state, float) and not math.isfinite(state):
        return {"number": str(float(state))}
    if state is None or isinstance(state, bool | int | float | str):
        return state
    raise MetaGDError(f"a state that holds a {type(state).__name__} cannot be kept; use numbers, text and tuples")


def state_from_json(values: Any) -> Any:
    """Return the state that ``state_to_json`` wrote.

    Raises:
        MetaGDError: for anything else.

    >>> state_from_json({"state": "RunState", "fields": {"budget": 100}})
    RunState(budget=100)
    """
    if isinstance(values, list):
        return tuple(state_from_json(value) for value in values)
    if not isinstance(values, dict):
        return values
    try:
        if values.keys() == {"number"}:
            return float(values["number"])
        fields = {key: state_from_json(value) for key, value in values["fields"].items()}
        return states()[values["state"]](**fields)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise MetaGDError(
            f"{str(values)[:200]} is no state of a controller; pass what get_state() returned, unchanged"
        ) from None
