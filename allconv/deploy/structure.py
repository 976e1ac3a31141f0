"""A model as the steps that a deployed folder holds: names of functions in `predictor`, numbers, and arrays.

What depends on the size of the images is settled here, for one input shape: paddings become numbers, and poolings that
take means become matrices. So the predictor has few functions, and each is short.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from allconv.data.normalize import Standardize, per_step
from allconv.data.whitening import MIN_DIVISOR, ZCA, GlobalContrast
from allconv.functional.padding import Pads, resolve_padding
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
from allconv.models.fusion import fuse
from allconv.models.residual import ZeroFill
from allconv.typing import Array, Pair
from allconv.validation import describe

Shape = tuple[int, ...]
Steps = list[dict[str, Any]]


class Arrays:
    """The arrays of a folder, by name; a step has the names alone."""

    def __init__(self) -> None:
        self.by_name: dict[str, Array] = {}

    def step(self, name: str, arrays: dict[str, Array | None] | None = None, **options: Any) -> Steps:
        """Return one step, whose arrays are added to those of the folder; None stands for no array."""
        step: dict[str, Any] = {"step": name, **options}
        for argument, array in (arrays or {}).items():
            if array is None:
                step[argument] = None
            else:
                place = str(len(self.by_name))
                self.by_name[place] = array
                step.setdefault("arrays", {})[argument] = place
        return [step]


def network_steps(model: Layer, input_shape: Shape, arrays: Arrays) -> Steps:
    """Return the steps of a model for inputs of one shape, with BatchNorms folded into the layers before them.

    Raises
    ------
    ValueError
        If the predictor has nothing for a layer, or a layer mixes the examples of a batch. The message names the layer.
    """
    for path, layer in model.named_layers():
        if _writer(layer) is None:
            raise ValueError(f"model must have layers that can be deployed, got {layer!r} at {path!r}")
    return _steps(fuse(model), input_shape, arrays)


def normalize_steps(normalize: object, arrays: Arrays) -> Steps:
    """Return the steps that normalize inputs.

    Raises
    ------
    TypeError
        If `normalize` is none of the normalizers with fixed statistics.
    """
    if normalize is None:
        return []
    # Subclasses may compute something else, so only the classes themselves are known here.
    if type(normalize) is Standardize:
        scale = np.divide(1.0, normalize.std, out=np.zeros_like(normalize.std), where=normalize.std > 0)
        return arrays.step("standardize", {"mean": normalize.mean, "scale": scale})
    if type(normalize) is GlobalContrast:
        return arrays.step("contrast", norm=normalize.scale, least_divisor=MIN_DIVISOR)
    if type(normalize) is ZCA:
        contrast = normalize_steps(normalize.contrast, arrays)
        return contrast + arrays.step("whiten", {"mean": normalize.mean, "matrix": normalize.matrix})
    hint = ""
    if normalize is per_step:
        hint = "; per_step depends on the other images of a step: pass Standardize.fit(images, per='pixel')"
    raise TypeError(f"normalize must be a Standardize, GlobalContrast, ZCA or None, got {describe(normalize)}{hint}")


def _writer(layer: Layer) -> Callable[[Arrays, Any, Shape], Steps] | None:
    """Return the function that writes a layer; None for a layer from elsewhere, which may compute something else."""
    if not type(layer).__module__.startswith("allconv."):
        return None
    return next((_WRITERS[kind] for kind in type(layer).__mro__ if kind in _WRITERS), None)


def _steps(layer: Layer, shape: Shape, arrays: Arrays) -> Steps:
    write = _writer(layer)
    assert write is not None  # noqa: S101 - fusing makes no other kinds of layers
    return write(arrays, layer, shape)


def _sequential(arrays: Arrays, layer: Any, shape: Shape) -> Steps:
    steps: Steps = []
    for child in layer:
        steps += _steps(child, shape, arrays)
        shape = child.output_shape(shape)
    return steps


def _skip(arrays: Arrays, layer: Any, shape: Shape) -> Steps:
    body = _steps(layer.body, shape, arrays)
    if not layer.in_forward or layer.scale == 0:
        return body
    shortcut = [] if layer.shortcut is None else _steps(layer.shortcut, shape, arrays)
    return arrays.step("add", inside=[body, shortcut], scales=[1.0, layer.scale])


def _branches(arrays: Arrays, layer: Any, shape: Shape) -> Steps:
    inside = [_steps(child, shape, arrays) for child in layer.layers]
    if layer.merge == "sum":
        return arrays.step("add", inside=inside, scales=[1.0] * len(inside))
    return arrays.step("concatenate", inside=inside)


def _exact_pads(layer: Any, size: Pair, out: Pair) -> list[Pair]:
    """Return the padding on each side that makes the last window end with the padded image; it may be negative."""
    pads: Pads = resolve_padding(layer.padding, size, layer.kernel_size, layer.stride, layer.dilation)
    return [
        (before, (o - 1) * s + d * (k - 1) + 1 - n - before)
        for n, o, k, s, d, (before, _) in zip(
            size, out, layer.kernel_size, layer.stride, layer.dilation, pads, strict=True
        )
    ]


def _value(parameter: Any) -> Array | None:
    return None if parameter is None else parameter.value.astype(np.float32)


def _conv(arrays: Arrays, layer: Any, shape: Shape) -> Steps:
    height, width, _ = layer.output_shape(shape)
    steps = arrays.step(
        "conv", {"weight": _value(layer.weight), "bias": _value(layer.bias)}, stride=layer.stride,
        dilation=layer.dilation, pads=_exact_pads(layer, (shape[0], shape[1]), (height, width)), groups=layer.groups,
    )  # fmt: skip
    # A fused convolution holds the activation that follows it.
    for _, activation in layer.children():
        steps += _steps(activation, (height, width, layer.out_channels), arrays)
    return steps


def _conv_transpose(arrays: Arrays, layer: Any, shape: Shape) -> Steps:
    """Write the transposed convolution as one of stride 1 on spread pixels, with the mirrored kernel."""
    out = layer.output_shape(shape)[:2]
    pads: Pads = resolve_padding(layer.padding, out, layer.kernel_size, layer.stride, layer.dilation)
    before = [d * (k - 1) - p for d, k, (p, _) in zip(layer.dilation, layer.kernel_size, pads, strict=True)]
    spread = [(n - 1) * s + 1 for n, s in zip(shape[:2], layer.stride, strict=True)]
    around = [
        (first, o + d * (k - 1) - n - first)
        for o, d, k, n, first in zip(out, layer.dilation, layer.kernel_size, spread, before, strict=True)
    ]
    height, width, outputs, inputs = layer.weight.value.shape
    by_group = layer.weight.value[::-1, ::-1].reshape(height, width, outputs, layer.groups, inputs // layer.groups)
    weight = by_group.transpose(0, 1, 4, 3, 2).reshape(height, width, inputs // layer.groups, outputs * layer.groups)
    return arrays.step("spread", stride=layer.stride) + arrays.step(
        "conv", {"weight": weight.astype(np.float32), "bias": _value(layer.bias)}, stride=(1, 1),
        dilation=layer.dilation, pads=around, groups=layer.groups,
    )  # fmt: skip


def _linear(arrays: Arrays, layer: Any, _shape: Shape) -> Steps:
    return arrays.step("linear", {"weight": _value(layer.weight), "bias": _value(layer.bias)})


def _batch_norm(arrays: Arrays, layer: Any, _shape: Shape) -> Steps:
    scale = layer.weight.value / np.sqrt(layer.running_var.value + layer.eps)
    statistics = {"mean": layer.running_mean.value, "scale": scale, "shift": layer.bias.value}
    return arrays.step("standardize", {name: array.astype(np.float32) for name, array in statistics.items()})


def _layer_norm(arrays: Arrays, layer: Any, _shape: Shape) -> Steps:
    return arrays.step("layer_norm", {"weight": _value(layer.weight), "bias": _value(layer.bias)}, eps=layer.eps)


def _group_norm(arrays: Arrays, layer: Any, _shape: Shape) -> Steps:
    weights = {"weight": _value(layer.weight), "bias": _value(layer.bias)}
    return arrays.step("group_norm", weights, groups=layer.groups, eps=layer.eps)


def _max_pool(arrays: Arrays, layer: Any, shape: Shape) -> Steps:
    height, width, _ = layer.output_shape(shape)
    pads = _exact_pads(layer, (shape[0], shape[1]), (height, width))
    return arrays.step("max_pool", kernel=layer.kernel_size, stride=layer.stride, dilation=layer.dilation, pads=pads)


def _resample(arrays: Arrays, layer: Any, shape: Shape) -> Steps:
    """Write a layer that mixes the rows and the columns of an image by one matrix each.

    The layer itself says what they are. Images that hold a 1 in row c of channel c, all along that row, show the matrix
    of the rows in each column of the output, times a number that an image of ones shows too.
    """
    height, width = shape[:2]
    ones = layer(np.ones((1, height, width, 1)))[0, :, :, 0]
    i, j = np.unravel_index(ones.argmax(), ones.shape)
    rows = layer(np.repeat(np.eye(height)[None, :, None], width, axis=2))[0, :, j] / ones[i, j]
    columns = layer(np.repeat(np.eye(width)[None, None], height, axis=1))[0, i]
    return arrays.step("resample", {"rows": rows.astype(np.float32), "columns": columns.astype(np.float32)})


def _zero_fill(arrays: Arrays, layer: Any, shape: Shape) -> Steps:
    """Write the shortcut without weights as a convolution with a unit matrix."""
    weight = np.eye(layer.in_channels, layer.out_channels, dtype=np.float32)[None, None]
    height, width, _ = layer.output_shape(shape)
    pads = [(0, (out - 1) * layer.stride + 1 - n) for n, out in zip(shape, (height, width), strict=False)]
    return arrays.step(
        "conv", {"weight": weight, "bias": None}, stride=(layer.stride,) * 2, dilation=(1, 1), pads=pads, groups=1
    )


def _softmax(arrays: Arrays, layer: Any, shape: Shape) -> Steps:
    if layer.axis % (len(shape) + 1) == 0:
        raise ValueError(f"model must not mix the examples of a batch, got {layer!r}")
    return arrays.step("softmax" if isinstance(layer, Softmax) else "log_softmax", axis=layer.axis)


def _gelu(arrays: Arrays, layer: Any, _shape: Shape) -> Steps:
    return arrays.step("gelu" if layer.approximate == "none" else "gelu_tanh")


def _named(step: str, **names: str) -> Callable[[Arrays, Any, Shape], Steps]:
    """Return the writer of a step whose numbers are attributes of the layer."""

    def write(arrays: Arrays, layer: Any, _shape: Shape) -> Steps:
        return arrays.step(step, **{name: getattr(layer, ours) for name, ours in names.items()})

    return write


_WRITERS: dict[type[Layer], Callable[[Arrays, Any, Shape], Steps]] = {
    Sequential: _sequential, Skip: _skip, Branches: _branches, Conv2D: _conv, ConvTranspose2D: _conv_transpose,
    Linear: _linear, BatchNorm: _batch_norm, LayerNorm: _layer_norm, GroupNorm: _group_norm, MaxPool2D: _max_pool,
    **dict.fromkeys((MeanPool2D, AdaptiveAveragePool2D, Upsample2D, ZeroPad2D), _resample), ZeroFill: _zero_fill,
    GlobalAveragePool2D: _named("global_mean", keepdims="keepdims"), Flatten: _named("flatten"),
    Softmax: _softmax, LogSoftmax: _softmax,
    Scale: _named("scale", factor="factor"), ReLU: _named("relu"), ReLU6: _named("relu6"), SiLU: _named("silu"),
    Sigmoid: _named("sigmoid"), Tanh: _named("tanh"), ELU: _named("elu", alpha="alpha"), GELU: _gelu,
    LeakyReLU: _named("leaky_relu", slope="negative_slope"),
    PReLU: lambda arrays, layer, _shape: arrays.step("leaky_relu", {"slope": _value(layer.weight)}),
    Dropout: lambda _arrays, _layer, _shape: [],
}  # fmt: skip
