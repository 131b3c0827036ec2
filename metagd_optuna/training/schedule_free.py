"""ScheduleFreeAdamW as published, with a state that holds whatever else writes the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from metagd_optuna.contracts import FloatArray, MetaGDError
from metagd_optuna.training.backend import check_backend

# Spacing of the numbers next to 1, by dtype.
_SPACING = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}
# Roundings of y = (1 - beta_1) z + beta_1 x, which compilers may fuse in one program and not in another. A constraint
# adds a norm and a division.
_ROUNDINGS, _ROUNDINGS_OF_A_CONSTRAINT = 4, 32


class _Held(NamedTuple):
    """What is held of one variable: its weights, z, x, the steps averaged, and whether something else has set it."""

    weights: FloatArray
    z: FloatArray
    x: FloatArray
    steps: int
    is_written: bool


@keras.saving.register_keras_serializable("metagd_optuna")
class ScheduleFreeAdamW(keras.optimizers.Optimizer):
    r"""ScheduleFreeAdamW: Adam without a schedule, which trains one network and averages it into another.

    .. math::
        z_{t+1} &= z_t - \gamma_t \left(\frac{g_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon} + \lambda y_t\right) \\
        x_{t+1} &= (1 - c_t) x_t + c_t z_{t+1}, \quad c_t = (r + 1) / (t + r) \\
        y_{t+1} &= (1 - \beta_1) z_{t+1} + \beta_1 x_{t+1}

    The network that trains is y, where the gradient g is taken; the one to use is the average x. ``fit`` ends at x, and
    ``MetaPolicyCallback`` also validates there. Elsewhere ``enter_average`` and ``leave_average`` go from one to the
    other.

    z, x and v are the optimizer's own and are saved with it. Where the weights of a layer are neither y nor x when a
    step begins, something else has set them: another fold, the best weights so far, a layer that assigns its own
    kernel. Then training goes on from the weights that are there, as with Adam, and their average begins anew there; v
    is kept. A constraint is applied to z, x and y. Weights of 16 bits have z, x and v of 32, because an average moves
    by less than they can tell.

    Args:
        learning_rate: the rate gamma: a float, or a ``LearningRateSchedule``, which no callback can steer.
        r: how much more later iterates count in the average, 0 or more. With 0, as published, all count the same;
            with 1 iterate t counts t times, so that the network's poor beginnings are forgotten sooner.
        beta_1: share of the average in y, in [0, 1).
        beta_2: memory of the second moment v, in [0, 1).
        epsilon: added to the root of v, above 0.
        weight_decay: lambda, decoupled, at y as the authors do; None is none.
        clipnorm, clipvalue, global_clipnorm, loss_scale_factor, gradient_accumulation_steps, name: as in every Keras
            optimizer.

    Raises:
        MetaGDError: if ``r``, ``beta_1``, ``beta_2``, ``epsilon`` or ``weight_decay`` is out of its range.

    Source: Defazio et al. 2024, arXiv 2405.15682; ``r`` is the polynomial decay of Shamir and Zhang 2013, arXiv
    1212.1824, section 4, there called eta. Keras' own class (3.15.1) departs from the paper twice: on TensorFlow it
    reads z after its update where x is recovered, and ``fit`` loses the initial z.
    """

    def __init__(
        self,
        learning_rate: Any = 2.5e-3,
        r: float = 0,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        check_backend()
        if not _is_number(r) or not 0 <= r < math.inf:
            raise MetaGDError(
                f"r={r!r} is not allowed; pass a finite number of at least 0: with 0 all steps count the same, with 1 "
                "step t counts t times"
            )
        for key, value in {"beta_1": beta_1, "beta_2": beta_2}.items():
            if not _is_number(value) or not 0 <= value < 1:
                raise MetaGDError(
                    f"{key}={value!r} is not allowed; pass a number of at least 0 and below 1, such as 0.9"
                )
        if not _is_number(epsilon) or not 0 < epsilon < math.inf:
            raise MetaGDError(f"epsilon={epsilon!r} is not allowed; pass a small number above 0, such as 1e-8")
        if weight_decay is not None and (not _is_number(weight_decay) or not 0 <= weight_decay < math.inf):
            raise MetaGDError(f"weight_decay={weight_decay!r} is not allowed; pass None, or a number of at least 0")
        super().__init__(
            learning_rate=float(learning_rate) if _is_number(learning_rate) else learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        self.r = float(r) if r % 1 else int(r)
        self.beta_1 = float(beta_1)
        self.beta_2 = float(beta_2)
        self.epsilon = float(epsilon)

    def build(self, variables: Any) -> None:
        """Make z, x, v and a status for every variable; all are zero, which says that nothing was averaged yet.

        The status is (steps averaged, whether the variable stands at x). What is not begun here but at the first step
        cannot be lost, whether Keras builds the optimizer in a graph, before weights are loaded or after.
        """
        if self.built:
            return
        super().build(variables)
        # What training overwrites with its gradient, as in float8 layers, is not stepped, nor is what is empty.
        stepped = [
            None if self._overwrite_variable_with_gradient(variable) or 0 in variable.shape else variable
            for variable in variables
        ]
        self._z = [self._slot(variable, "z") for variable in stepped]
        self._x = [self._slot(variable, "x") for variable in stepped]
        self._velocities = [self._slot(variable, "velocity") for variable in stepped]
        self._status: list[Any] = [
            None if variable is None else self.add_variable((2,), dtype="int32", name=f"status_{number}")
            for number, variable in enumerate(stepped)
        ]

    def _slot(self, variable: Any, name: str) -> Any:
        if variable is None:
            return None
        label = getattr(variable, "path", variable.name).replace("/", "_").replace(":", "_")
        return self.add_variable(
            variable.shape,
            dtype=_slot_dtype(variable),
            name=f"{label}_{name}",
            layout=getattr(variable, "_layout", None),
        )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Take one step for one variable, which holds y, or x if the last training ended there, or what others set."""
        ops = keras.ops
        index = self._get_variable_index(variable)
        if self._z[index] is None:
            return
        slots = self._z[index], self._x[index], self._velocities[index], self._status[index]
        z, x, velocity, status = (ops.convert_to_tensor(slot) for slot in slots)
        weights, gradient, rate = (
            ops.cast(ops.convert_to_tensor(value, sparse=False), z.dtype)
            for value in (variable, gradient, learning_rate)
        )
        anew = ops.logical_or(status[0] == 0, self._is_written(index, weights, status[1] > 0))
        z, x = ops.where(anew, weights, z), ops.where(anew, weights, x)
        count = ops.where(anew, 0, status[0]) + 1
        velocity = velocity + (ops.square(gradient) - velocity) * (1 - self.beta_2)
        step = ops.cast(self.iterations + 1, z.dtype)
        descent = gradient / (ops.sqrt(velocity / (1 - ops.power(ops.cast(self.beta_2, z.dtype), step))) + self.epsilon)
        if self.weight_decay is not None and self._use_weight_decay(variable):
            descent = descent + self.weight_decay * weights
        z = self._constrained(index, z - rate * descent)
        share = (self.r + 1) / (ops.cast(count, z.dtype) + self.r)
        x = self._constrained(index, (1 - share) * x + share * z)
        for slot, value in zip(slots, (z, x, velocity, ops.stack([count, ops.zeros_like(count)])), strict=True):
            self.assign(slot, value)
        self.assign(variable, self._mixed(z, x))  # Keras applies the constraint to y itself

    @property
    def is_plain(self) -> bool:
        """Whether a step is what the formula says and no more: no clipped gradients, no constraints, 32 or 64 bits."""
        clips = (self.clipnorm, self.clipvalue, self.global_clipnorm)
        return all(clip is None for clip in clips) and all(map(self._is_alone, self._trainable_variables))

    @staticmethod
    def _is_alone(variable: Any) -> bool:
        """Return whether a variable's y is what the formula says: no constraint, and no rounding to 16 bits."""
        return getattr(variable, "constraint", None) is None and _slot_dtype(variable) == _dtype(variable)

    def coming_step(self, gradients: Sequence[Any]) -> tuple[list[FloatArray], list[FloatArray]]:
        r"""Return what the coming step makes of the weights, and take none: y at a rate is ``still - rate direction``.

        .. math::
            y_{t+1} = (1 - \beta_1) z_t + \beta_1 ((1 - c_t) x_t + c_t z_t) - \gamma_t (1 - \beta_1 + \beta_1 c_t) d_t,
            \quad d_t = \frac{g_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon} + \lambda y_t

        In NumPy, because all of Keras' step takes longer to compile than a few of these take. It is for an optimizer
        that is built and ``is_plain``.

        Args:
            gradients: of every variable, at the weights that are there.
        """
        number = int(self.iterations.numpy()) + 1
        pairs = [self._coming(index, np.asarray(each), number) for index, each in enumerate(gradients)]
        return [still for still, _ in pairs], [direction for _, direction in pairs]

    def _coming(self, index: int, gradient: FloatArray, number: int) -> tuple[FloatArray, FloatArray]:
        if self._z[index] is None:
            weights = self._trainable_variables[index].numpy()
            return weights, np.zeros_like(weights)
        held = self._held(index)
        z, x, count = (held.weights, held.weights, 0) if held.is_written else (held.z, held.x, held.steps)
        velocity = self._velocities[index].numpy()
        velocity = velocity + (np.square(gradient) - velocity) * (1 - self.beta_2)
        descent = gradient / (np.sqrt(velocity / (1 - self.beta_2**number)) + self.epsilon)
        if self.weight_decay is not None and self._use_weight_decay(self._trainable_variables[index]):
            descent = descent + self.weight_decay * held.weights
        share = (self.r + 1) / (count + 1 + self.r)
        still = self._mixed(z, (1 - share) * x + share * z)
        direction = (1 - self.beta_1 + self.beta_1 * share) * descent
        # NumPy 1 makes float64 of an array without axes.
        return np.asarray(still, z.dtype), np.asarray(direction, z.dtype)

    def _held(self, index: int) -> _Held:
        """Return what is held of a variable; for one without a constraint, of 32 or 64 bits.

        In NumPy, because JAX starts a program for every operation outside of one: a dozen for each variable.
        """
        slots = self._z[index], self._x[index], self._trainable_variables[index], self._status[index]
        z, x, weights, status = (slot.numpy() for slot in slots)
        count, there = map(int, status)  # a number of NumPy's would make float64 of what it is multiplied with
        # The dtype of the array: JAX makes float32 of float64 unless it is told otherwise.
        allowed = _ROUNDINGS * _SPACING[str(z.dtype)] * max(np.abs(z).max(), np.abs(x).max())
        expected = x if there else self._mixed(z, x)
        with np.errstate(invalid="ignore"):  # what is not finite is not near to anything
            is_kept = count > 0 and bool(np.all(np.abs(weights - expected) <= allowed))
        return _Held(weights, z, x, count, not is_kept)

    def _apply_weight_decay(self, variables: Any) -> None:
        """Do nothing: the decay is part of the step of z, and would be taken for weights that something else set."""

    def _mixed(self, z: Any, x: Any) -> Any:
        return (1 - self.beta_1) * z + self.beta_1 * x

    def _constrained(self, index: int, values: Any) -> Any:
        constraint = getattr(self._trainable_variables[index], "constraint", None)
        return values if constraint is None else keras.ops.convert_to_tensor(constraint(values))

    def _training_point(self, index: int) -> Any:
        """Return y of a variable in the slots' dtype, rounded as the variable holds it."""
        ops, dtype = keras.ops, self._trainable_variables[index].dtype
        mixed = ops.cast(
            self._mixed(ops.convert_to_tensor(self._z[index]), ops.convert_to_tensor(self._x[index])), dtype
        )
        return ops.cast(self._constrained(index, mixed), self._z[index].dtype)

    def _is_written(self, index: int, weights: Any, at_average: Any) -> Any:
        """Return whether weights, in the slots' dtype, are neither y nor, if that is where they stand, x."""
        ops = keras.ops
        z, x = ops.convert_to_tensor(self._z[index]), ops.convert_to_tensor(self._x[index])
        expected = ops.where(at_average, x, self._training_point(index))
        constrained = getattr(self._trainable_variables[index], "constraint", None) is not None
        roundings = _ROUNDINGS_OF_A_CONSTRAINT if constrained else _ROUNDINGS
        largest = ops.maximum(ops.max(ops.abs(z)), ops.max(ops.abs(x)))
        # The dtypes that tensors have: JAX makes float32 of float64 unless it is told otherwise.
        own, slot = (_SPACING[_dtype(ops.convert_to_tensor(held))] for held in self._pair(index))
        allowed = roundings * slot * largest + (1.5 * own * ops.abs(expected) if own > slot else 0.0)
        # Not "any is greater": weights that were not finite and are now have been written.
        return ops.logical_not(ops.all(ops.abs(weights - expected) <= allowed))

    def _pair(self, index: int) -> tuple[Any, Any]:
        return self._trainable_variables[index], self._z[index]

    @property
    def at_average(self) -> bool:
        """Whether the model was taken to its average x; weights that were set since are noticed at the next step."""
        return self.built and any(count > 0 and there for _, count, there in self._known())

    def averaged_steps(self) -> dict[str, int]:
        """Return the steps that each variable's average is made of, by the variable's path."""
        if not self.built:
            return {}
        return {self._trainable_variables[index].path: count for index, count, _ in self._known()}

    def enter_average(self) -> None:
        """Take the model to its average x, to be used; where it already is, or has not trained, it stays."""
        self._go(there=True)

    def leave_average(self) -> None:
        """Take the model back to y, where it trains; weights that something else has set stay as they are."""
        self._go(there=False)

    def finalize_variable_values(self, var_list: Any) -> None:
        """Take the model to its average: Keras calls this where ``fit`` ends."""
        self.check_variables(var_list)
        # On JAX it also does so where a step has failed, which leaves variables without values; that error is the one
        # to see.
        if self.built and all(getattr(variable, "_value", variable) is not None for variable in self.variables):
            self.enter_average()

    def check_variables(self, variables: Any) -> None:
        """Refuse the variables of another model than the one that the optimizer was built for.

        Args:
            variables: all that are trained, of a model.

        Raises:
            MetaGDError: if the optimizer is built and these are not its variables.
        """
        ours = {self._var_key(variable) for variable in self._trainable_variables} if self.built else set()
        if ours and not ours >= {self._var_key(variable) for variable in variables}:
            raise MetaGDError(
                "this ScheduleFreeAdamW holds the average of another model, or of this one with other layers frozen; "
                "compile every model with an optimizer of its own"
            )

    def _known(self) -> Iterator[tuple[int, int, bool]]:
        """Yield index, steps averaged and whether it stands at x, of every variable that is stepped."""
        for index, status in enumerate(self._status):
            if status is not None:
                count, there = keras.ops.convert_to_numpy(status)
                yield index, int(count), bool(there)

    def _go(self, *, there: bool) -> None:
        if not self.built:
            return
        ops = keras.ops
        for index, count, stands_there in self._known():
            if count == 0 or stands_there == there:
                continue
            variable, z = self._pair(index)
            if self._is_alone(variable):
                held = self._held(index)
                is_written, to = held.is_written, held.x.copy() if there else self._mixed(held.z, held.x)
            else:
                weights = ops.cast(ops.convert_to_tensor(variable), z.dtype)
                is_written = bool(self._is_written(index, weights, stands_there))
                place = ops.convert_to_tensor(self._x[index]) if there else self._training_point(index)
                to = ops.cast(ops.copy(place), variable.dtype)  # JAX hands a step buffers that nobody else has
            if is_written:
                self._status[index].assign([0, 0])
                continue
            variable.assign(to)
            self._status[index].assign([count, int(there)])

    def get_config(self) -> dict[str, Any]:
        """Return what a saved model needs to make the optimizer again."""
        config: dict[str, Any] = super().get_config()
        for key in ("use_ema", "ema_momentum", "ema_overwrite_frequency"):  # an average of an average is not offered
            config.pop(key, None)
        return {**config, "r": self.r, "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


def save_average(model: keras.Model, path: str | Path) -> None:
    """Save a model at its average, without its optimizer, as a file that loads where this package is not installed.

    The model itself stays as it is, and can be trained on. What a training needs to go on is in ``model.save``.

    Args:
        model: with any optimizer; with one that does not average, its weights are saved as they are.
        path: of the file, ending in ``.keras``.

    Raises:
        MetaGDError: if ``path`` ends otherwise, or its folder is not there.
    """
    path = Path(path)
    if path.suffix != ".keras" or not path.parent.is_dir():
        raise MetaGDError(
            f"{path}: a model is saved as a file whose name ends in .keras, in a folder that is there; pass one such "
            "as model.keras"
        )
    if not model.compiled:
        model.save(path)
        return
    whole = model.optimizer
    optimizer = getattr(whole, "inner_optimizer", whole)
    average = optimizer if isinstance(optimizer, ScheduleFreeAdamW) else None
    goes_back = average is not None and not average.at_average
    try:
        if average is not None:
            average.enter_average()
        # Keras writes what a model was compiled with into the file, unless it was not compiled.
        model.compiled, model.optimizer = False, None
        model.save(path)
    finally:
        model.compiled, model.optimizer = True, whole
        if average is not None and goes_back:
            average.leave_average()


def _dtype(tensor: Any) -> str:
    return str(keras.backend.standardize_dtype(tensor.dtype))


def _slot_dtype(variable: Any) -> str:
    dtype = _dtype(variable)
    return "float32" if dtype in ("bfloat16", "float16") else dtype


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
