"""All there is to know of an optimizer, in one row: bounds of its rate, its Keras class, the engine's update rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from math import isfinite
from typing import Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given
from metagd_optuna.registry import Registry, check_name


def imported(place: str) -> Callable[..., Any]:
    """Return a function that is imported when it is first called, because it loads TensorFlow.

    Args:
        place: the module and the function's name in it.

    >>> imported("math:sqrt")(9.0)
    3.0
    """

    def call(*args: Any, **options: Any) -> Any:
        module, _, name = place.partition(":")
        return getattr(import_module(module), name)(*args, **options)

    return call


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """An optimizer whose learning rate policies and baselines set.

    Args:
        name: as study files and policies write it.
        bounds: the smallest and the largest learning rate that policies and searches may set.
        keras: (rate, **settings) -> the Keras optimizer; its class, or a function like it.
        settings: its arguments beside the rate, which are also attributes of the optimizer. The callback refuses a
            model whose optimizer has others.
        accepted: names of the Keras classes whose rates mean the same, such as ``Adam``; with the name of a package,
            such as ``metagd_optuna.ScheduleFreeAdamW``, only a class of that package.
        refusal: why the callback refuses a class of that name from another package.
        rule: () -> ``training.optimizers.UpdateRule``, the same optimizer for a population in the engine. It must equal
            ``keras``; see ``tests/training/test_own_optimizer.py``.
        searched: whether a study may let its meta-policy choose it.

    Raises:
        MetaGDError: if an argument is not what it must be.
    """

    name: str
    bounds: tuple[float, float]
    keras: Callable[..., Any]
    accepted: tuple[str, ...]
    rule: Callable[[], Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    refusal: str = ""
    searched: bool = True

    def __post_init__(self) -> None:
        check_name(self.name, "optimizer")
        if not _are_bounds(self.bounds):
            self._refuse("bounds", "a pair of numbers with 0 < smallest < largest, such as (1e-5, 3e-2)")
        for key in ("keras", "rule"):
            if not callable(getattr(self, key)):
                self._refuse(key, "a function; one that loads TensorFlow can be imported('module:function')")
        names = self.accepted
        if not isinstance(names, tuple) or not names or not all(isinstance(n, str) and n for n in names):
            self._refuse("accepted", "a tuple of names of Keras classes, such as ('Adam', 'AdamW')")
        if not isinstance(self.settings, Mapping) or not all(isinstance(key, str) for key in self.settings):
            self._refuse("settings", "a mapping of arguments to values, such as {'momentum': 0.9}")

    def _refuse(self, key: str, allowed: str) -> None:
        raise MetaGDError(f"optimizer {self.name!r}: {key} is {as_given(getattr(self, key))}; it must be {allowed}")

    def build(self, rate: float) -> Any:
        """Return a Keras optimizer with this learning rate."""
        return self.keras(rate, **self.settings)

    def accepts(self, kind: type) -> bool:
        """Return whether a Keras class is one whose rates mean the same."""
        return bool({kind.__name__, f"{kind.__module__.partition('.')[0]}.{kind.__name__}"} & set(self.accepted))

    @property
    def example(self) -> str:
        """How a model is compiled with it, in Python.

        >>> OPTIMIZERS["sgd-nesterov"].example
        'SGD(0.01, momentum=0.9, nesterov=True)'
        """
        low, high = self.bounds
        given = [f"{(low * high) ** 0.5:.1g}", *(f"{key}={value!r}" for key, value in self.settings.items())]
        return f"{self.accepted[0]}({', '.join(given)})"


def _are_bounds(given: Any) -> bool:
    if not isinstance(given, tuple) or len(given) != 2 or not all(type(value) in (int, float) for value in given):
        return False
    return bool(isfinite(given[1]) and 0 < given[0] < given[1])


def _in_engine(name: str) -> Callable[[], Any]:
    return imported(f"metagd_optuna.training.optimizers:{name}")


def _schedule_free(name: str, r: int) -> Optimizer:
    return Optimizer(
        name=name,
        bounds=(1e-5, 3e-2),
        keras=imported("metagd_optuna.training.schedule_free:ScheduleFreeAdamW"),
        settings={"r": r},
        accepted=("metagd_optuna.ScheduleFreeAdamW",),
        refusal="Keras' own departs from the paper in two ways",
        rule=_in_engine(f"schedule_free_r{r}"),
    )


# In this order a study file names them, and a search draws them.
_OWN = {
    row.name: row
    for row in (
        Optimizer(
            name="adam",
            bounds=(1e-5, 3e-2),
            keras=imported("keras.optimizers:Adam"),
            accepted=("Adam", "AdamW", "Nadam"),
            rule=_in_engine("adam"),
        ),
        Optimizer(
            name="sgd-nesterov",
            bounds=(1e-4, 1.0),
            keras=imported("keras.optimizers:SGD"),
            settings={"momentum": 0.9, "nesterov": True},
            accepted=("SGD",),
            rule=_in_engine("sgd_nesterov"),
        ),
        Optimizer(
            name="sgd",
            bounds=(1e-4, 1.0),
            keras=imported("keras.optimizers:SGD"),
            settings={"momentum": 0.0, "nesterov": False},
            accepted=("SGD",),
            rule=_in_engine("sgd"),
            searched=False,
        ),
        _schedule_free("schedule-free-adamw", r=0),
        _schedule_free("schedule-free-adamw-r1", r=1),
    )
}

OPTIMIZERS = Registry(Optimizer, "optimizer", "register_optimizer", _OWN)


class _Searched:
    """The optimizers that a study may let its meta-policy choose, listed as a registry lists its names."""

    def __call__(self) -> tuple[str, ...]:
        return tuple(name for name, optimizer in OPTIMIZERS.items() if optimizer.searched)

    @property
    def remedy(self) -> str:
        """What to do about a name that is not here."""
        return OPTIMIZERS.remedy


SEARCHED_OPTIMIZERS = _Searched()


def register_optimizer(optimizer: Optimizer) -> None:
    """Add an optimizer, by whose name study files, policies and the callback know it from then on in this process.

    Raises:
        MetaGDError: if it is no ``Optimizer``, or its name is taken.
    """
    if not isinstance(optimizer, Optimizer):
        raise MetaGDError(f"{as_given(optimizer)} is no optimizer that can be registered; pass an Optimizer")
    OPTIMIZERS.add(optimizer.name, optimizer)
