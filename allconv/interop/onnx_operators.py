"""Each operator of ONNX as layers of this library, in the forms in which exporters write it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from allconv.interop import onnx_shapes as shapes
from allconv.interop import onnx_weights as weights
from allconv.interop.curves import BINARY, POINTS, UNARY, layer_of
from allconv.interop.onnx_reader import FLOATING, Act, Reader
from allconv.layers.elu import ELU
from allconv.layers.gelu import GELU
from allconv.layers.leaky_relu import LeakyReLU
from allconv.layers.softmax import LogSoftmax, Softmax
from allconv.typing import Array


def read_node(reader: Reader) -> None:
    """Add what the reader's node computes to the model.

    Raises
    ------
    ValueError
        If there is no layer for it; the message names the node and its operator.
    """
    node = reader.node
    if node.domain not in ("", "ai.onnx"):
        raise ValueError(f"{reader.describe()} is of the domain {node.domain!r}, which is not ONNX' own")
    if reader.fold():
        return
    if node.op_type in UNARY or node.op_type in BINARY:
        reader.put(_elementwise(reader))
        return
    if node.op_type not in _READERS:
        raise ValueError(f"{reader.describe()} is an operator that no layer here computes")
    attributes = reader.attributes()
    reader.put(_READERS[node.op_type](reader, attributes, *reader.inputs()))


def _sum(reader: Reader, _attributes: dict[str, Any], *inputs: Any) -> Act:
    acts = [reader.act(x) for x in inputs]
    first = acts[0]
    alike = all((act.shape, act.axes, act.flattened) == (first.shape, first.axes, first.flattened) for act in acts)
    reader.refuse_unless(alike, f"summands of different shapes, {[act.shape_there() for act in acts]}")
    return reader.add(None, *acts, merge="sum", flattened=first.flattened) if len(acts) > 1 else first


def _activation(reader: Reader, attributes: dict[str, Any], x: Any) -> Act:
    act = reader.act(x)
    kind = reader.node.op_type
    if kind == "LeakyRelu":
        return reader.add(LeakyReLU(attributes.get("alpha", 0.01)), act, flattened=act.flattened)
    if kind == "Elu":
        return reader.add(ELU(attributes.get("alpha", 1.0)), act, flattened=act.flattened)
    return reader.add(GELU(attributes.get("approximate", "none")), act, flattened=act.flattened)


def _clip(reader: Reader, attributes: dict[str, Any], x: Any, low: Any = None, high: Any = None) -> Act:
    lowest = attributes.get("min", -np.inf) if low is None else float(reader.constant(low))
    highest = attributes.get("max", np.inf) if high is None else float(reader.constant(high))
    return _curve(reader, x, [(base, np.clip(values, lowest, highest)) for base, values in x.all_views()])


def _softmax(reader: Reader, attributes: dict[str, Any], x: Any) -> Act:
    act = reader.act(x)
    axis = attributes.get("axis", -1 if reader.opset >= 13 else 1) % len(act.axes)
    plain = len(act.axes) == 2 or reader.opset >= 13 or axis == len(act.axes) - 1
    reader.refuse_unless(plain and axis > 0, f"the axis {axis}, and flattens the axes from there")
    layer = (Softmax if reader.node.op_type == "Softmax" else LogSoftmax)(act.axes[axis])
    return reader.add(layer, act, flattened=act.flattened)


def _same(reader: Reader, attributes: dict[str, Any], x: Any, *more: Any) -> Act:
    """Return what Dropout, Identity and Cast return at inference: the same array."""
    trains = reader.node.op_type == "Dropout" and len(more) > 1 and bool(np.any(reader.constant(more[1])))
    reader.refuse_unless(not trains, "a training mode")
    kind = attributes.get("to", 1)
    reader.refuse_unless(kind in (*FLOATING, "FLOAT"), f"the type {kind}, which is none of floating numbers")
    return x if x.groups or not x.node else reader.act(x)


def _curve(reader: Reader, like: Act, views: list[tuple[str, Array]]) -> Act:
    """Return a function of elements: the output of a layer that computes it from a node before, or the views alone.

    The node that is the farthest away comes first, so that a ReLU and a limit of 6 become one ReLU6.
    """
    views = views[:3]
    for base, values in reversed(views):
        layer = layer_of(values)
        if layer is not None:
            result = reader.add(layer, replace(like, node=base), flattened=like.flattened)
            return replace(result, views=tuple(views[:2]))
    return replace(like, node="", views=tuple(views))


def _elementwise(reader: Reader) -> Act:
    """Return what an operator makes of each element alone, or of two arrays: a curve, numbers by channel, or a sum."""
    kind, inputs = reader.node.op_type, list(reader.inputs())
    acts: list[Any] = [x for x in inputs if isinstance(x, Act)]
    with np.errstate(all="ignore"):
        if kind in UNARY:
            return _curve(reader, acts[0], [(base, UNARY[kind](values)) for base, values in acts[0].all_views()])
        reader.refuse_unless(len(inputs) == 2, f"{len(inputs)} operands")
        if len(acts) == 2:
            if kind == "Add" and acts[0].node and acts[1].node:
                return _sum(reader, {}, *acts)
            one, other = acts
            there = dict(other.all_views()[::-1])
            views = [(base, BINARY[kind](values, there[base])) for base, values in one.all_views() if base in there]
            reader.refuse_unless(bool(views) and one.axes == other.axes, "two operands that both vary")
            return _curve(reader, one, views)
        return _with_constant(reader, kind, inputs)


def _with_constant(reader: Reader, kind: str, inputs: list[Any]) -> Act:
    """Return what an operator of two operands makes of an array and a constant."""
    is_first = isinstance(inputs[0], Act)
    act, constant = inputs if is_first else inputs[::-1]
    attributes = reader.attributes()
    if reader.opset < 7 and attributes.get("broadcast"):  # the constant's axes start at `axis` then
        axis = attributes.get("axis", len(act.axes) - constant.ndim)
        constant = constant.reshape(*constant.shape, *(1,) * (len(act.axes) - axis - constant.ndim))
    views: list[tuple[str, Array]] = []
    if constant.size == 1:
        number = float(constant.ravel()[0])
        function = BINARY[kind]
        views = [(b, function(v, number) if is_first else function(number, v)) for b, v in act.all_views()]
        if not act.node or kind in ("Pow", "Min", "Max") or (kind == "Div" and not is_first):
            return _curve(reader, act, views)
    elif not act.node:  # a part of a PReLU
        numbers = reader.by_channel(constant, act)
        reader.spend(4 * POINTS.size * numbers.size)
        return _curve(reader, act, [(base, BINARY[kind](values, numbers)) for base, values in act.all_views()])
    act = reader.act(act)
    numbers = reader.by_channel(constant, act)
    reader.refuse_unless(kind in ("Add", "Sub", "Mul") or (kind == "Div" and is_first), "a constant by channel")
    scale, shift = None, None
    if kind in ("Mul", "Div"):
        scale = numbers if kind == "Mul" else 1 / numbers
    else:
        shift = -numbers if kind == "Sub" and is_first else numbers
        scale = -np.ones_like(numbers) if kind == "Sub" and not is_first else None
    result = reader.affine(act, scale, shift)
    return result if result.node == act.node else replace(result, views=tuple(views[:2]))


_READERS: dict[str, Callable[..., Act]] = {
    "Conv": weights.convolution,
    "ConvTranspose": weights.convolution,
    "Gemm": weights.gemm,
    "MatMul": weights.matmul,
    "BatchNormalization": weights.batch_norm,
    "InstanceNormalization": weights.instance_norm,
    "GroupNormalization": weights.group_norm,
    "LayerNormalization": weights.layer_norm,
    "MaxPool": shapes.pool,
    "AveragePool": shapes.pool,
    "GlobalAveragePool": shapes.global_pool,
    "GlobalMaxPool": shapes.global_pool,
    "ReduceMean": shapes.reduce_mean,
    "Flatten": shapes.flatten,
    "Reshape": shapes.reshape,
    "Squeeze": shapes.squeeze,
    "Transpose": shapes.transpose,
    "Concat": shapes.concat,
    "Sum": _sum,
    "PRelu": weights.prelu,
    "LeakyRelu": _activation,
    "Elu": _activation,
    "Gelu": _activation,
    "Clip": _clip,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Pad": shapes.pad,
    "Resize": shapes.resize,
    "Upsample": shapes.resize,
    "Dropout": _same,
    "Identity": _same,
    "Cast": _same,
}
