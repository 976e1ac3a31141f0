"""Operators of ONNX with weights, as layers of this library."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from allconv.interop.building import blank, with_weights
from allconv.interop.flattening import from_channels_first
from allconv.interop.onnx_reader import Act, Reader
from allconv.interop.onnx_shapes import padding_of, pair_of
from allconv.layers.batchnorm import BatchNorm
from allconv.layers.conv import Conv2D
from allconv.layers.conv_transpose import ConvTranspose2D
from allconv.layers.group_norm import GroupNorm
from allconv.layers.layer_norm import LayerNorm
from allconv.layers.linear import Linear
from allconv.layers.prelu import PReLU
from allconv.typing import Array


def convolution(reader: Reader, attributes: dict[str, Any], x: Any, weight: Any, bias: Any = None) -> Act:
    """Return what Conv and ConvTranspose compute."""
    act, weight = reader.image(x), reader.constant(weight)
    reader.refuse_unless(weight.ndim == 4, f"a weight of shape {weight.shape}")
    reader.spend(weight.size)
    groups = attributes.get("group", 1)
    options = {"stride": pair_of(attributes, "strides"), "dilation": pair_of(attributes, "dilations"), "groups": groups}
    options |= {"padding": padding_of(reader, attributes), "initializer": blank}
    if reader.node.op_type == "Conv":
        layer: Any = Conv2D(weight.shape[1] * groups, len(weight), weight.shape[2:], **options)
    else:
        plain = "output_shape" not in attributes and attributes.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        reader.refuse_unless(plain, "an output shape or an automatic padding")
        more = tuple(attributes.get("output_padding", (0, 0)))
        layer = ConvTranspose2D(len(weight), weight.shape[1] * groups, weight.shape[2:], output_padding=more, **options)
    return reader.add(
        with_weights(layer, weight.transpose(2, 3, 1, 0), None if bias is None else reader.constant(bias)), act
    )


def _linear(reader: Reader, act: Act, weight: Array, bias: Array | None) -> Act:
    """Return the product of rows and a matrix, whose rows are in the order of the flattened image there."""
    reader.refuse_unless(act.axes == (0, 1) and weight.ndim == 2, "other operands than rows and a matrix")
    reader.spend(weight.size)
    if len(weight) == act.shape[1]:
        weight = from_channels_first(weight, act.flattened)
    layer = Linear(*weight.shape, initializer=blank)
    if bias is not None:
        plain = bias.size in (1, math.prod(bias.shape[-1:])) and bias.size in (1, weight.shape[1])
        reader.refuse_unless(plain, f"a bias of shape {bias.shape}")
        bias = np.broadcast_to(bias.reshape(-1), weight.shape[1:])
    return reader.add(with_weights(layer, weight, bias), act)


def gemm(reader: Reader, attributes: dict[str, Any], x: Any, weight: Any, bias: Any = None) -> Act:
    """Return what Gemm computes."""
    reader.refuse_unless(not attributes.get("transA"), "a transposed input")
    weight = reader.constant(weight) * np.float32(attributes.get("alpha", 1.0))
    bias = None if bias is None else reader.constant(bias) * np.float32(attributes.get("beta", 1.0))
    return _linear(reader, reader.act(x), weight.T if attributes.get("transB") else weight, bias)


def matmul(reader: Reader, _attributes: dict[str, Any], x: Any, weight: Any) -> Act:
    """Return the product of rows and a constant matrix."""
    return _linear(reader, reader.act(x), reader.constant(weight), None)


def batch_norm(reader: Reader, attributes: dict[str, Any], x: Any, *arrays: Any) -> Act:
    """Return what BatchNormalization computes at inference."""
    act = reader.act(x)
    trained = attributes.get("training_mode", 0) or not attributes.get("spatial", 1)
    reader.refuse_unless(not trained and act.axes[1] == len(act.shape) - 1, "a training mode, or other channels")
    numbers = [_numbers(reader, array, act.shape[-1]) for array in arrays[:4]]
    layer = BatchNorm(act.shape[-1], eps=attributes.get("epsilon", 1e-5))
    own = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    for parameter, array in zip(own, numbers, strict=True):
        parameter.value = from_channels_first(array, act.flattened)
    return reader.add(layer, act, flattened=act.flattened)


def _numbers(reader: Reader, array: Any, length: int) -> Array:
    """Return a constant that must be so many numbers."""
    numbers = reader.constant(array)
    reader.refuse_unless(numbers.shape == (length,), f"numbers of shape {numbers.shape}, not {(length,)}")
    reader.spend(length)
    return numbers.astype(np.float32)


def instance_norm(reader: Reader, attributes: dict[str, Any], x: Any, scale: Any, bias: Any) -> Act:
    """Return a normalization of each channel, or of each group if channels were reshaped into groups before."""
    grouped = isinstance(x, Act) and x.groups
    act = replace(x, groups=0) if grouped else reader.image(x)
    channels, groups = act.shape[-1], x.groups if grouped else act.shape[-1]
    numbers = [_numbers(reader, array, groups) for array in (scale, bias)]
    reader.spend(2 * channels)
    layer = GroupNorm(groups, channels, eps=attributes.get("epsilon", 1e-5))
    for parameter, array in zip((layer.weight, layer.bias), numbers, strict=True):
        parameter.value = np.repeat(array, channels // groups)
    return replace(reader.add(layer, act), groups=groups if grouped else 0)


def group_norm(reader: Reader, attributes: dict[str, Any], x: Any, scale: Any, bias: Any) -> Act:
    """Return what GroupNormalization computes, with numbers by group (opset 18) or by channel."""
    act = reader.act(x)
    channels, groups = act.shape[-1], attributes["num_groups"]
    second = act.axes[1] == len(act.shape) - 1 and act.flattened == 1
    reader.refuse_unless(second, "other channels, or rows of a flattened NCHW image")
    reader.spend(2 * channels)
    layer = GroupNorm(groups, channels, eps=attributes.get("epsilon", 1e-5))
    for parameter, array in ((layer.weight, scale), (layer.bias, bias)):
        numbers = reader.constant(array).astype(np.float32)
        fits = numbers.shape in ((groups,), (channels,))
        reader.refuse_unless(fits, f"numbers of shape {numbers.shape}, not {(groups,)} or {(channels,)}")
        parameter.value = np.repeat(numbers, channels // len(numbers))
    return reader.add(layer, act)


def layer_norm(reader: Reader, attributes: dict[str, Any], x: Any, scale: Any, bias: Any = None) -> Act:
    """Return what LayerNormalization computes along the channels."""
    act = reader.act(x)
    last = attributes.get("axis", -1) % len(act.axes) == len(act.axes) - 1
    reader.refuse_unless(last and act.axes[-1] == len(act.shape) - 1, "other axes than the channels")
    weight = reader.by_channel(reader.constant(scale), act)
    layer = LayerNorm(act.shape[-1], eps=attributes.get("epsilon", 1e-5))
    layer.weight.value = weight
    layer.bias.value = layer.bias.value if bias is None else reader.by_channel(reader.constant(bias), act)
    return reader.add(layer, act, flattened=act.flattened)


def prelu(reader: Reader, _attributes: dict[str, Any], x: Any, slope: Any) -> Act:
    """Return what PRelu computes with one slope, or one a channel."""
    act, numbers = reader.act(x), reader.constant(slope)
    if numbers.ndim == 1 and len(numbers) > 1 and reader.opset < 7:
        numbers = numbers.reshape(-1, *(1,) * (len(act.axes) - 2))
    numbers = reader.by_channel(numbers, act)
    layer = PReLU(act.shape[-1])
    layer.weight.value = numbers
    return reader.add(layer, act, flattened=act.flattened)
