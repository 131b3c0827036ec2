"""A Keras model as a list of calls of layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from metagd_optuna.training.fused.activations import CannotFuseError


@dataclass(frozen=True, slots=True)
class Call:
    """One layer at one place of the graph.

    Args:
        layer: what is called.
        inputs: ids of the tensors that it takes.
        output: id of the tensor that it gives.
        input_shapes: of the inputs for one member, without the batch.
        shape: of the output, likewise.
    """

    layer: keras.Layer
    inputs: tuple[int, ...]
    output: int
    input_shapes: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]


def calls_of(model: keras.Model) -> Iterator[Call]:
    """Yield the calls of a model in an order that can be computed, those of models inside it among them.

    Keras keeps its graph in private attributes; this is the one place that reads them.
    """
    graph = model._functional if isinstance(model, keras.Sequential) else model
    if not hasattr(graph, "_nodes_by_depth"):
        raise CannotFuseError(f"model {model.name!r} ({type(model).__name__}) is not a graph of layers")
    if not type(model).call.__module__.startswith("keras."):
        raise CannotFuseError(f"model {model.name!r} ({type(model).__name__}) has a call of its own")
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.is_input:
                continue
            layer = node.operation
            if len(node.outputs) != 1:
                raise CannotFuseError(f"layer {layer.name!r} has {len(node.outputs)} outputs")
            if any(isinstance(given, np.ndarray | tf.Tensor | keras.Variable) for given in _arguments(node)):
                raise CannotFuseError(f"layer {layer.name!r} is given a constant")
            inputs, output = tuple(id(tensor) for tensor in node.input_tensors), id(node.outputs[0])
            if isinstance(layer, keras.Model):
                yield from _inside(layer, inputs, output)
            else:
                shapes = tuple(tuple(tensor.shape[1:]) for tensor in node.input_tensors)
                yield Call(layer, inputs, output, shapes, tuple(node.outputs[0].shape[1:]))


def _arguments(node: Any) -> list[Any]:
    """Return all that a layer is called with, tensors of the graph among it."""
    found: list[Any] = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return found


def _inside(model: keras.Model, inputs: tuple[int, ...], output: int) -> Iterator[Call]:
    """Yield the calls of a model inside a model, joined to the tensors around it."""
    calls = list(calls_of(model))  # refuses what is no graph
    inner = model._functional if isinstance(model, keras.Sequential) else model
    if id(inner.outputs[0]) in {id(tensor) for tensor in inner.inputs}:
        raise CannotFuseError(f"model {model.name!r} answers with what it is given")
    names = {id(tensor): outer for tensor, outer in zip(inner.inputs, inputs, strict=True)}
    names[id(inner.outputs[0])] = output
    # The same model may be called twice, so its own tensors get names per call.
    for call in calls:
        ids = tuple(names.get(key, hash((key, output))) for key in call.inputs)
        yield replace(call, inputs=ids, output=names.get(call.output, hash((call.output, output))))
