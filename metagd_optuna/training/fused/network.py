"""A Keras network for a whole population at once: its graph, layer by layer, over (P, D) weights.

P is a dynamic dimension, so one traced program serves every population size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from metagd_optuna.contracts import COMPUTE_TYPES
from metagd_optuna.given import validate_choice
from metagd_optuna.training.fused import grouped, patches
from metagd_optuna.training.fused.activations import Activations, CannotFuseError, Fused, Pass, Rule
from metagd_optuna.training.fused.graph import Call, calls_of
from metagd_optuna.training.fused.grouped import RISING
from metagd_optuna.training.fused.trimming import trimmed
from metagd_optuna.training.network import Tensor, Variables, has_floats, split_values


@dataclass(frozen=True, slots=True)
class _Layout:
    """How images of a population are laid out.

    Args:
        rule_for: a layer -> how it is fused, or CannotFuseError.
        convolution: the rule of Conv2D, which may take the max-pooling that follows along.
    """

    rule_for: Callable[[keras.Layer], Rule]
    convolution: Callable[..., Fused]


LAYOUTS: Mapping[str, _Layout] = {
    "grouped": _Layout(grouped.rule_for, grouped.convolution),
    "patches": _Layout(patches.rule_for, patches.convolution),
}


@dataclass(frozen=True, slots=True)
class _Step:
    """A call with its fused form."""

    fused: Fused
    inputs: tuple[int, ...]
    output: int
    shape: tuple[int, ...]
    shared: bool


def _fuse(calls: Sequence[Call], entrance: int, layout: _Layout) -> list[_Step]:
    """Return the fused form of every call, a convolution together with the max-pooling after it."""
    consumers: dict[int, list[Call]] = {}
    for call in calls:
        for key in call.inputs:
            consumers.setdefault(key, []).append(call)
    shared = {entrance}
    folded: set[int] = set()
    steps = []
    for call in calls:
        if call.output in folded:
            continue
        common = all(key in shared for key in call.inputs)
        after = consumers.get(call.output, [])
        output, shape = call.output, call.shape
        if (
            type(call.layer) is keras.layers.Conv2D
            and call.layer.activation in RISING
            and len(after) == 1
            and type(after[0].layer) is keras.layers.MaxPooling2D
            and after[0].layer.data_format == "channels_last"
        ):
            fused = layout.convolution(call.layer, call.input_shapes, common, after[0].layer)
            output, shape = after[0].output, after[0].shape
            folded.add(output)
        else:
            fused = layout.rule_for(call.layer)(call.layer, call.input_shapes, common)
        # What comes out of layers with floats of their own differs between members.
        stays = common and (not has_floats(call.layer) or type(call.layer) is keras.layers.Normalization)
        if stays:
            shared.add(output)
        steps.append(_Step(fused, call.inputs, output, shape, stays))
    return steps


class FusedNetwork:
    """The forward pass of a Keras model for P sets of weights.

    Args:
        model: a built classifier, made of layers in ``grouped.RULES``.
        layout: ``grouped``, convolutions with a group per member; or ``patches``, matrix products over patches.
        compute: what convolutions and matrix products multiply, ``float32`` or ``bfloat16``; all else is float32.

    Raises:
        CannotFuseError: if a layer cannot be fused.
        MetaGDError: for another layout or compute type.
    """

    most_members: int | None = None

    def __init__(self, model: keras.Model, *, layout: str = "grouped", compute: str = "float32") -> None:
        self._compute = tf.as_dtype(validate_choice(compute, COMPUTE_TYPES, "compute"))
        self._variables = Variables.of(model)
        self._entrance = id(model.inputs[0])
        self._input_shape = tuple(model.inputs[0].shape[1:])
        self._exit = id(model.outputs[0])
        self._model = model  # keeps the ids its own
        rules = LAYOUTS[validate_choice(layout, LAYOUTS, "layout")]
        calls = list(calls_of(model))
        # Trimming asks layers for shapes, which those without a rule may not know.
        for call in calls:
            rules.rule_for(call.layer)
        calls, self._height, self._width = trimmed(calls, self._entrance, self._input_shape)
        self._steps = _fuse(calls, self._entrance, rules)
        if not self._variables.weights or self._steps[-1].output != self._exit:
            raise CannotFuseError(f"model {model.name!r} has no weights, or its output is not its last layer's")

    def logits(
        self, weights: Tensor, state: Tensor, noise: tuple[Tensor, ...], images: Tensor, *, training: bool
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        """Return logits (P, N, K), penalties (P,), and what follows ``state`` and ``noise``; see ``Network``."""
        population = tf.shape(weights)[0]
        members = split_values(self._variables.weights, weights) | split_values(self._variables.state, state)
        generators = zip(self._variables.noise, noise, strict=True)
        run = Pass(
            population,
            training,
            members,
            {id(variable): (variable, value) for variable, value in generators},
            self._compute,
        )
        shape = self._input_shape
        if len(shape) == 3:  # a table's rows have no sides that could be cropped
            images = images[:, : self._height, : self._width]
            shape = (self._height, self._width, shape[2])
        known = {self._entrance: Activations(images, shape, shared=True)}
        for step in self._steps:
            values = step.fused(run, [known[key] for key in step.inputs])
            known[step.output] = Activations(values, step.shape, step.shared)
        following = [tf.reshape(run.of(v), (population, v.value.shape.num_elements())) for v in self._variables.state]
        return (
            known[self._exit].values,
            tf.zeros((population,)),
            tf.concat(following, axis=1) if following else state,
            tuple(run.noise[id(variable)][1] for variable in self._variables.noise),
        )
