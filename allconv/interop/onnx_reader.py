"""An ONNX graph on its way to a model: what each name in it stands for, and the layers so far."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from allconv.interop.curves import POINTS
from allconv.interop.flattening import from_channels_first
from allconv.interop.nesting import Node
from allconv.interop.onnx_constants import array_of, folded
from allconv.interop.onnx_graph import onnx_package
from allconv.layers.base import Layer
from allconv.layers.batchnorm import BatchNorm
from allconv.layers.conv import Conv2D
from allconv.layers.group_norm import GroupNorm
from allconv.layers.layer_norm import LayerNorm
from allconv.layers.linear import Linear
from allconv.layers.scale import Scale
from allconv.parameter import Parameter
from allconv.typing import Array

NCHW, NHWC = (0, 3, 1, 2), (0, 1, 2, 3)
FLOATING = (1, 10, 11, 16)  # the numbers in ONNX of float32, float16, float64 and bfloat16
_FOLDS = 1000  # bounds the nodes that compute constants, each of which takes a millisecond
_SPARE = 1 << 23  # bounds the numbers that a graph makes beyond four for each of its weights: 32 MB of float32


@dataclass(frozen=True)
class Act:
    """An array of the graph that depends on the input: what it is here.

    Attributes
    ----------
    node : str
        The key of the node that makes it, or "" if it is a part of a curve that no layer has yet.
    shape : tuple of int
        The shape here, with the batch axis.
    axes : tuple of int
        For each axis of the graph's array the axis here: NCHW for an image that is NCHW there.
    flattened : int
        The number of channels of the image that was flattened as NCHW into these rows; 1 if the order does not matter.
    views : tuple of (str, array)
        The keys of nodes before on whose output the values depend element by element, the nearest first, and the
        values for `POINTS` as that output: a column, or one for each channel.
    groups : int
        The groups into which an image has been reshaped for an instance normalization; 0 if it has not.
    """

    node: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    flattened: int = 1
    views: tuple[tuple[str, Array], ...] = ()
    groups: int = 0

    def all_views(self) -> tuple[tuple[str, Array], ...]:
        """Return the views, with that of its own node as the first."""
        return ((self.node, POINTS), *self.views) if self.node else self.views

    def shape_there(self) -> tuple[int, ...]:
        """Return the shape in the graph."""
        return tuple(self.shape[axis] for axis in self.axes)


class Reader:
    """The state of reading a graph.

    Parameters
    ----------
    model : ModelProto
        What the file holds.
    folder : Path
        Where weights outside of the file lie.
    """

    def __init__(self, model: Any, folder: Path) -> None:
        self.graph, self.folder = model.graph, folder
        self.opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 1)
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self.values: dict[str, Act | Array] = {}
        self.nodes: dict[str, Node] = {}
        self.uses = Counter(name for node in self.graph.node for name in node.input)
        self.uses.update(output.name for output in self.graph.output)
        self.shared: set[str] = set()  # the nodes here whose output has a name there that is used more than once
        self.folds, self.left = 0, _SPARE  # how many numbers may still be made
        self.node: Any = None  # The reader is at this node.

    def describe(self) -> str:
        """Return the name of the node that is being read, with its operator."""
        name = self.node.name or (self.node.output[0] if self.node.output else "")
        return f"node {name!r} ({self.node.op_type})"

    def refuse_unless(self, rule: bool, what: str) -> None:
        """Raise ValueError that the node has something which layers here do not have, unless `rule` holds."""
        if not rule:
            raise ValueError(f"{self.describe()} has {what}, which layers here do not have")

    def value(self, name: str) -> Act | Array:
        """Return what a name stands for."""
        if name not in self.values:
            if name not in self.weights:
                raise ValueError(f"{self.describe()} takes {name!r}, which is missing or comes later")
            self.values[name] = array = array_of(self.weights[name], self.folder)
            self.left += 4 * array.size
        return self.values[name]

    def spend(self, count: int) -> None:
        """Note that so many numbers are about to be made: one weight may be used by many nodes, each with a copy."""
        self.left -= count
        if self.left < 0:
            raise ValueError(f"{self.describe()} makes more numbers of the weights in the file than are allowed")

    def inputs(self) -> Iterator[Act | Array | None]:
        """Yield what the node that is being read takes, None for an input that is left out."""
        return (self.value(name) if name else None for name in self.node.input)

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the node that is being read."""
        found = {}
        for attribute in self.node.attribute:
            value = onnx_package().helper.get_attribute_value(attribute)
            found[attribute.name] = value.decode() if isinstance(value, bytes) else value
        return found

    def fold(self) -> bool:
        """Compute the outputs of the node that is being read, if all its inputs are constant, and tell whether."""
        node = self.node
        if node.op_type == "Constant":
            ((name, value),) = self.attributes().items()
            outputs: list[Array] | None = [array_of(value, self.folder) if name == "value" else np.asarray(value)]
            if outputs[0].dtype == np.float64:  # type: ignore[index] # value_float and value_floats
                outputs = [outputs[0].astype(np.float32)] if name != "value" else outputs  # type: ignore[index]
        else:
            inputs = list(self.inputs())
            if node.op_type == "Shape" and isinstance(inputs[0], Act):
                inputs = [np.empty((1,) * 0)] if inputs[0].groups else [np.broadcast_to(0, inputs[0].shape_there())]
            if not inputs or any(isinstance(value, Act) for value in inputs):
                return False
            self.folds += 1
            if self.folds > _FOLDS:
                raise ValueError(f"{self.describe()} is one of more than {_FOLDS} that compute constants")
            outputs = folded(node, inputs, self.opset)  # type: ignore[arg-type]
        if outputs is None:
            return False
        self.spend(sum(array.size for array in outputs))
        self.values.update(zip(node.output, outputs, strict=False))
        return True

    def act(self, value: Act | Array | None) -> Act:
        """Return a value that must depend on the input, with a layer in the place of a curve."""
        if not isinstance(value, Act):
            raise ValueError(f"{self.describe()} has a constant where the output of another node is needed")  # noqa: TRY004
        if value.groups:
            raise ValueError(f"{self.describe()} works on channels in groups, which layers here do not")
        if value.node:
            return value
        self._to_start_of_curve(value)
        raise ValueError(f"{self.describe()} begins a function of elements that no layer here computes")

    def _to_start_of_curve(self, value: Act) -> None:
        """Go back to the first of the nodes that make a curve, since the error is to name it."""
        makers = {name: node for node in self.graph.node for name in node.output}
        parts = {name: part for name, part in self.values.items() if isinstance(part, Act) and not part.node}
        name: str | None = next(name for name, part in parts.items() if part is value)
        while name is not None:
            self.node = makers[name]
            del parts[name]  # A damaged file may lead in a circle.
            name = next((part for part in self.node.input if part in parts), None)

    def constant(self, value: Act | Array | None) -> Array:
        """Return a value that must be constant."""
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{self.describe()} needs a constant, and has the output of a node")  # noqa: TRY004
        return value

    def image(self, value: Act | Array | None, axes: tuple[int, ...] = NCHW) -> Act:
        """Return a value that must be images, which lie in the graph as `axes` says."""
        act = self.act(value)
        if act.axes != axes:
            raise ValueError(f"{self.describe()} works along other axes than those of images {act.shape_there()}")
        return act

    def by_channel(self, array: Array, act: Act) -> Array:
        """Return the numbers of an array that is broadcast against `act` there, one for each channel here."""
        rank, last = len(act.axes), len(act.shape) - 1
        shape = (1,) * (rank - array.ndim) + array.shape
        others = [length for axis, length in zip(act.axes, shape, strict=False) if axis != last]
        if len(shape) != rank or math.prod(others) != 1 or array.size not in (1, act.shape[-1]):
            raise ValueError(f"{self.describe()} has a constant of shape {array.shape}, not one number a channel")
        self.spend(4 * act.shape[-1])  # a BatchNorm of them has four parameters
        numbers = np.broadcast_to(array.astype(np.float32).ravel(), (act.shape[-1],)).copy()
        return from_channels_first(numbers, act.flattened)

    def add(self, layer: Layer | None, *inputs: Act, scale: float | None = None, **change: Any) -> Act:
        """Add a layer, or a merge where there is none, and return its output; `change` has what differs in it."""
        first = inputs[0]
        key = f"{len(self.nodes)}"
        merge = change.pop("merge", "")
        name = self.node.name or self.node.output[0]
        self.nodes[key] = Node(name, [act.node for act in inputs], layer, merge, scale)
        shape = first.shape
        if layer is not None:
            try:
                shape = (shape[0], *layer.output_shape(shape[1:]))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{self.describe()}: {error}") from error
        axes = first.axes if len(shape) == len(first.shape) else (0, 1)
        return Act(key, change.pop("shape", shape), change.pop("axes", axes), **change)

    def put(self, value: Act) -> None:
        """Note what the node that is being read returns."""
        self.values[self.node.output[0]] = value
        if self.uses[self.node.output[0]] > 1:
            self.shared.add(value.node)

    def affine(self, act: Act, scale: Array | None, shift: Array | None) -> Act:
        """Return scale x + shift by channel: in the layer before, if nothing else takes its output, or a BatchNorm."""
        layer = self.nodes[act.node].layer
        can_fold = isinstance(layer, Linear | BatchNorm | GroupNorm | LayerNorm | Conv2D)
        if not can_fold or act.node in self.shared:
            if shift is None and scale is not None and (scale == scale[0]).all():
                number = float(scale[0])
                return self.add(Scale(number), act, scale=number, flattened=act.flattened)
            layer = BatchNorm(act.shape[-1])
            layer.weight.value *= np.float32(math.sqrt(1 + layer.eps)) * (1 if scale is None else scale)
            layer.bias.value += 0 if shift is None else shift
            return self.add(layer, act, flattened=act.flattened)
        for parameter in (layer.weight, layer.bias):  # type: ignore[union-attr]
            if parameter is not None and scale is not None:
                parameter.value = (parameter.value * scale).astype(np.float32)
        if shift is not None:
            bias = layer.bias  # type: ignore[union-attr]
            layer.bias = Parameter((0 if bias is None else bias.value) + shift.astype(np.float32))  # type: ignore[union-attr]
        return act
