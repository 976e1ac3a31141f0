"""Each layer of this library as nodes of ONNX. Images are NCHW there, whatever the layout of input and output."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from allconv.functional.padding import Pads, resolve_padding
from allconv.interop.onnx_graph import Graph, Value
from allconv.layers.adaptive_average_pool import AdaptiveAveragePool2D
from allconv.layers.base import Layer
from allconv.layers.batchnorm import BatchNorm
from allconv.layers.branches import Branches
from allconv.layers.conv import Conv2D
from allconv.layers.conv_transpose import ConvTranspose2D
from allconv.layers.dropout import Dropout
from allconv.layers.elu import ELU
from allconv.layers.flatten import Flatten
from allconv.layers.gelu import GELU
from allconv.layers.global_average_pool import GlobalAveragePool2D
from allconv.layers.group_norm import GroupNorm
from allconv.layers.layer_norm import LayerNorm
from allconv.layers.leaky_relu import LeakyReLU
from allconv.layers.linear import Linear
from allconv.layers.max_pool import MaxPool2D
from allconv.layers.mean_pool import MeanPool2D
from allconv.layers.prelu import PReLU
from allconv.layers.relu import ReLU
from allconv.layers.relu6 import ReLU6
from allconv.layers.scale import Scale
from allconv.layers.sequential import Sequential
from allconv.layers.sigmoid import Sigmoid
from allconv.layers.silu import SiLU
from allconv.layers.skip import Skip
from allconv.layers.softmax import LogSoftmax, Softmax
from allconv.layers.tanh import Tanh
from allconv.layers.upsample import Upsample2D
from allconv.layers.zero_pad import ZeroPad2D
from allconv.models.residual import ZeroFill

TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def add_layer(graph: Graph, layer: Layer, path: str, x: Value) -> Value:
    """Add the nodes of a layer, those in it included, and return its output.

    Raises
    ------
    ValueError
        If ONNX has no operator for the layer.
    """
    graph.path = path
    write = next((_WRITERS[kind] for kind in type(layer).__mro__ if kind in _WRITERS), None)
    if write is None:
        raise ValueError(f"model must have layers that ONNX knows, got {layer!r} at {path!r}")
    shape = layer.output_shape(x.shape)
    return Value(write(graph, layer, path, x), shape)


def _children(path: str, layer: Layer) -> list[tuple[str, Layer]]:
    return [(f"{path}.{name}" if path else name, child) for name, child in layer.children()]


def _sequential(graph: Graph, layer: Any, path: str, x: Value) -> str:
    for child_path, child in _children(path, layer):
        x = add_layer(graph, child, child_path, x)
    return x.name


def _skip(graph: Graph, layer: Any, path: str, x: Value) -> str:
    outputs = [add_layer(graph, child, child_path, x).name for child_path, child in _children(path, layer)]
    beside = outputs[1] if len(outputs) > 1 else x.name
    if not layer.in_forward or layer.scale == 0:
        return outputs[0]
    if layer.scale != 1:
        beside = graph.add("Mul", beside, graph.constant(layer.scale))
    return graph.add("Add", outputs[0], beside)


def _branches(graph: Graph, layer: Any, path: str, x: Value) -> str:
    outputs = [add_layer(graph, child, child_path, x) for child_path, child in _children(path, layer)]
    names = [output.name for output in outputs]
    if layer.merge == "sum":
        return graph.add("Sum", *names)
    return graph.add("Concat", *names, axis=1 if len(outputs[0].shape) == 3 else len(outputs[0].shape))


def _pads(pads: Pads) -> list[int]:
    (top, bottom), (left, right) = pads
    return [top, left, bottom, right]


def _conv(graph: Graph, layer: Any, _path: str, x: Value) -> str:
    pads = resolve_padding(layer.padding, x.shape[:2], layer.kernel_size, layer.stride, layer.dilation)  # type: ignore[arg-type]
    inputs = [x.name, graph.weight(layer.weight, layer.weight.value.transpose(3, 2, 0, 1))]
    inputs += [graph.weight(layer.bias)] if layer.bias is not None else []
    return graph.add(
        "Conv", *inputs, kernel_shape=layer.kernel_size, strides=layer.stride, dilations=layer.dilation,
        group=layer.groups, pads=_pads(pads),
    )  # fmt: skip


def _conv_transpose(graph: Graph, layer: Any, _path: str, x: Value) -> str:
    out = layer.output_shape(x.shape)[:2]
    pads = resolve_padding(layer.padding, out, layer.kernel_size, layer.stride, layer.dilation)
    more = [
        o - ((n - 1) * s + (k - 1) * d + 1 - before - after)
        for n, o, s, k, d, (before, after) in zip(
            x.shape, out, layer.stride, layer.kernel_size, layer.dilation, pads, strict=False
        )
    ]
    inputs = [x.name, graph.weight(layer.weight, layer.weight.value.transpose(3, 2, 0, 1))]
    inputs += [graph.weight(layer.bias)] if layer.bias is not None else []
    return graph.add(
        "ConvTranspose", *inputs, kernel_shape=layer.kernel_size, strides=layer.stride, dilations=layer.dilation,
        group=layer.groups, pads=_pads(pads), output_padding=more,
    )  # fmt: skip


def _linear(graph: Graph, layer: Any, _path: str, x: Value) -> str:
    bias = [graph.weight(layer.bias)] if layer.bias is not None else []
    return graph.add("Gemm", x.name, graph.weight(layer.weight), *bias)


def _batch_norm(graph: Graph, layer: Any, _path: str, x: Value) -> str:
    arrays = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    names = [graph.weight(array) for array in arrays]
    return graph.add("BatchNormalization", x.name, *names, epsilon=layer.eps, momentum=1 - layer.momentum)


def _layer_norm(graph: Graph, layer: Any, path: str, x: Value) -> str:
    if graph.opset < 17:
        raise ValueError(f"opset must be at least 17 for {layer!r} at {path!r}, got {graph.opset}")
    is_image = len(x.shape) == 3
    name = graph.add("Transpose", x.name, perm=TO_NHWC) if is_image else x.name
    weights = [graph.weight(layer.weight), graph.weight(layer.bias)]
    name = graph.add("LayerNormalization", name, *weights, axis=-1, epsilon=layer.eps)
    return graph.add("Transpose", name, perm=TO_NCHW) if is_image else name


def _group_norm(graph: Graph, layer: Any, _path: str, x: Value) -> str:
    """Write groups as the channels of an instance normalization, since GroupNormalization is new in opset 21."""
    last, channels = len(x.shape), x.shape[-1]
    is_second = last in (1, 3)  # images are NCHW already; in other arrays the channels are last
    name = x.name if is_second else graph.add("Transpose", x.name, perm=(0, last, *range(1, last)))
    rows = graph.add("Reshape", name, graph.constant([0, layer.groups, -1], "int64"))
    ones, zeros = graph.constant(np.ones(layer.groups)), graph.constant(np.zeros(layer.groups))
    rows = graph.add("InstanceNormalization", rows, ones, zeros, epsilon=layer.eps)
    name = graph.add("Reshape", rows, graph.constant([0, channels, *x.shape[:-1]], "int64"))
    by_channel = (channels, *(1,) * (last - 1))
    name = graph.add("Mul", name, graph.weight(layer.weight, layer.weight.value.reshape(by_channel)))
    name = graph.add("Add", name, graph.weight(layer.bias, layer.bias.value.reshape(by_channel)))
    return name if is_second else graph.add("Transpose", name, perm=(0, *range(2, last + 1), 1))


def _pool(graph: Graph, layer: Any, _path: str, x: Value) -> str:
    """Write ceil_mode as padding at the end: runtimes disagree on its last window, and no padding here is counted."""
    out = layer.output_shape(x.shape)[:2]
    pads = resolve_padding(layer.padding, x.shape[:2], layer.kernel_size, layer.stride, layer.dilation)  # type: ignore[arg-type]
    name, size = x.name, x.shape[:2]
    if getattr(layer, "count_padding", False):
        name = _padded(graph, name, pads)
        size = tuple(n + sum(both) for n, both in zip(size, pads, strict=True))
        pads = ((0, 0), (0, 0))
    ends = [
        (before, max(after, (o - 1) * s + (k - 1) * d + 1 - n - before)) if layer.ceil_mode else (before, after)
        for n, o, s, k, d, (before, after) in zip(
            size, out, layer.stride, layer.kernel_size, layer.dilation, pads, strict=True
        )
    ]
    options: dict[str, Any] = {"kernel_shape": layer.kernel_size, "strides": layer.stride, "pads": _pads(tuple(ends))}  # type: ignore[arg-type]
    if isinstance(layer, MaxPool2D):
        return graph.add("MaxPool", name, dilations=layer.dilation, **options)
    return graph.add("AveragePool", name, count_include_pad=0, **options)


def _padded(graph: Graph, name: str, pads: Pads) -> str:
    (top, bottom), (left, right) = pads
    if not any((top, bottom, left, right)):
        return name
    return graph.add("Pad", name, graph.constant([0, 0, top, left, 0, 0, bottom, right], "int64"), mode="constant")


def _zero_pad(graph: Graph, layer: Any, _path: str, x: Value) -> str:
    return _padded(graph, x.name, resolve_padding(layer.padding, (0, 0), (1, 1), (1, 1)))


def _global_pool(graph: Graph, layer: Any, _path: str, x: Value) -> str:
    name = graph.add("GlobalAveragePool", x.name)
    return name if layer.keepdims else graph.add("Flatten", name, axis=1)


def _adaptive_pool(graph: Graph, layer: Any, path: str, x: Value) -> str:
    if layer.output_size == (1, 1):
        return graph.add("GlobalAveragePool", x.name)
    if any(n % o for n, o in zip(x.shape, layer.output_size, strict=False)):
        raise ValueError(f"model must pool {x.shape[:2]} to a divisor of it for ONNX, got {layer!r} at {path!r}")
    kernel = [n // o for n, o in zip(x.shape, layer.output_size, strict=False)]
    return graph.add("AveragePool", x.name, kernel_shape=kernel, strides=kernel)


def _flatten(graph: Graph, _layer: Any, _path: str, x: Value) -> str:
    """Write the numbers in the order of NHWC, so that the weights behind stay as they are."""
    is_image = len(x.shape) == 3 and min(x.shape[2], math.prod(x.shape[:2])) > 1
    return graph.add("Flatten", graph.add("Transpose", x.name, perm=TO_NHWC) if is_image else x.name, axis=1)


def _prelu(graph: Graph, layer: Any, _path: str, x: Value) -> str:
    slope = layer.weight.value
    return graph.add(
        "PRelu", x.name, graph.weight(layer.weight, slope.reshape(-1, 1, 1) if len(x.shape) == 3 else slope)
    )


def _gelu(graph: Graph, layer: Any, _path: str, x: Value) -> str:
    """Write x times a half of 1 + erf(x / sqrt 2), or of 1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))."""
    if layer.approximate == "none":
        curve = graph.add("Erf", graph.add("Div", x.name, graph.constant(math.sqrt(2))))
    else:
        cubes = graph.add("Mul", graph.add("Mul", x.name, x.name), x.name)
        inner = graph.add("Add", x.name, graph.add("Mul", cubes, graph.constant(0.044715)))
        curve = graph.add("Tanh", graph.add("Mul", inner, graph.constant(math.sqrt(2 / math.pi))))
    half = graph.add("Mul", x.name, graph.constant(0.5))
    return graph.add("Mul", half, graph.add("Add", curve, graph.constant(1)))


def _softmax(graph: Graph, layer: Any, path: str, x: Value) -> str:
    axis = layer.axis % (len(x.shape) + 1)
    if axis == 0:
        raise ValueError(f"model must not mix examples for ONNX, whose batch is dynamic, got {layer!r} at {path!r}")
    axis = TO_NCHW.index(axis) if len(x.shape) == 3 else axis
    return graph.add(type(layer).__name__, x.name, axis=axis)


def _upsample(graph: Graph, layer: Any, _path: str, x: Value) -> str:
    how: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    if layer.mode == "nearest":
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.add("Resize", x.name, "", graph.constant([1, 1, *layer.factor]), **how)


def _zero_fill(graph: Graph, layer: Any, _path: str, x: Value) -> str:
    """Write the shortcut without weights as a convolution with a unit matrix, the one operator that does it all."""
    weight = np.eye(layer.out_channels, layer.in_channels)[:, :, None, None]
    return graph.add("Conv", x.name, graph.constant(weight), kernel_shape=[1, 1], strides=[layer.stride] * 2)


def _named(operator: str, **names: str) -> Callable[[Graph, Any, str, Value], str]:
    """Return the writer of an operator of one input, whose attributes are attributes of the layer."""

    def write(graph: Graph, layer: Any, _path: str, x: Value) -> str:
        return graph.add(operator, x.name, **{name: float(getattr(layer, ours)) for name, ours in names.items()})

    return write


_WRITERS: dict[type[Layer], Callable[[Graph, Any, str, Value], str]] = {
    Sequential: _sequential, Skip: _skip, Branches: _branches, Conv2D: _conv, ConvTranspose2D: _conv_transpose,
    Linear: _linear, BatchNorm: _batch_norm, LayerNorm: _layer_norm, GroupNorm: _group_norm, MaxPool2D: _pool,
    MeanPool2D: _pool, ZeroPad2D: _zero_pad, GlobalAveragePool2D: _global_pool, AdaptiveAveragePool2D: _adaptive_pool,
    Flatten: _flatten, PReLU: _prelu, GELU: _gelu, Softmax: _softmax, LogSoftmax: _softmax, Upsample2D: _upsample,
    ZeroFill: _zero_fill, ReLU: _named("Relu"), Sigmoid: _named("Sigmoid"), Tanh: _named("Tanh"),
    ELU: _named("Elu", alpha="alpha"), LeakyReLU: _named("LeakyRelu", alpha="negative_slope"),
    ReLU6: lambda graph, _layer, _path, x: graph.add("Clip", x.name, graph.constant(0), graph.constant(6)),
    SiLU: lambda graph, _layer, _path, x: graph.add("Mul", x.name, graph.add("Sigmoid", x.name)),
    Scale: lambda graph, layer, _path, x: graph.add("Mul", x.name, graph.constant(layer.factor)),
    Dropout: lambda _graph, _layer, _path, x: x.name,
}  # fmt: skip
