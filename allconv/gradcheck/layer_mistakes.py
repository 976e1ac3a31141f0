"""Known mistakes that belong to kinds of layers: a wrong mask, a square forgotten, an option that is not heeded."""

import copy
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from allconv.gradcheck.reference import Reference
from allconv.layers.base import Layer
from allconv.layers.max_pool import MaxPool2D
from allconv.layers.mean_pool import MeanPool2D
from allconv.layers.pool import Pool2D
from allconv.layers.prelu import PReLU
from allconv.parameter import Parameter
from allconv.typing import Array

Known = tuple[str, dict[str, Array]]

# Says under the formula of a wrong factor what usually leads to it.
_REASONS = {
    "1": "dy comes through unchanged, and the derivative is missing",
    "(x <= 0)": "the mask is the wrong way round",
    "(dy > 0)": "the mask is taken from the wrong array, dy instead of x",
    "(x > 0) * (dy > 0)": "a second mask is taken from dy",
    "(1 - y)": "a square is forgotten, or a factor y",
    "(1 - x**2)": "the derivative is taken at x, and must be written in y",
    "x * (1 - x)": "the derivative is taken at x, and must be written in y",
    "y / x": "the product rule has two terms, and the second one is missing",
}


def known_of_layer(reference: Reference) -> Iterator[Known]:
    """Yield wrong arrays under the names of the right ones, each set with what is wrong, in words."""
    yield from _variants(reference)
    if reference.x.shape == reference.dy.shape:
        yield from _softmax(reference)
        yield from _factors(reference)
        yield from _normalization(reference)
    if isinstance(reference.layer, PReLU) and reference.layer.channels > 1:
        slopes = (reference.dy * reference.x).sum(axis=tuple(range(reference.x.ndim - 1)))
        yield "the positive inputs count too, and have no part in it", {"weight": slopes}
    if isinstance(reference.layer, Pool2D) and reference.layer.dilation == (1, 1):
        yield from _pools(reference)


def _formulas(x: Array, y: Array, dy: Array) -> dict[str, Array]:
    """Return the factors that derivatives of activations are made of, right or wrong, under their formulas."""
    return {
        "1": np.ones_like(dy),
        "(x > 0)": (x > 0) * 1.0,
        "(x <= 0)": (x <= 0) * 1.0,
        "(dy > 0)": (dy > 0) * 1.0,
        "(x > 0) * (dy > 0)": (x > 0) * (dy > 0) * 1.0,
        "x": x,
        "y": y,
        "(1 - y)": 1 - y,
        "(1 - x)": 1 - x,
        "(1 + y)": 1 + y,
        "(1 - y**2)": 1 - y * y,
        "(1 - x**2)": 1 - x * x,
        "y * (1 - y)": y * (1 - y),
        "x * (1 - x)": x * (1 - x),
        "y**2": y * y,
        "y / x": y / x,
        "exp(x)": np.exp(x),
    }


def _factors(reference: Reference) -> Iterator[Known]:
    """Yield each dx that is dy times a wrong factor, or that lacks one of the right factors."""
    x, y, dy, right = reference.x, reference.arrays["y"], reference.dy, reference.arrays["dx"]
    formulas = _formulas(x, y, dy)
    for text in ("y", "(1 - y)"):
        if (np.abs(formulas[text]) > 1e-9).all():
            yield f"the factor {text} is missing", {"dx": right / formulas[text]}
    for text, factor in formulas.items():
        reason = f"; {_REASONS[text]}" if text in _REASONS else ""
        yield f"it is dy * {text}{reason}", {"dx": dy * factor}
    for text, factor in formulas.items():
        if text != "1":
            yield f"the factor {text} is there once too often", {"dx": right * factor}
    yield "of the product rule's two terms the first, dy * y / x, is missing", {"dx": right - dy * y / x}


def _softmax(reference: Reference) -> Iterator[Known]:
    """Yield the wrong gradients of a softmax and of its logarithm."""
    axis = getattr(reference.layer, "axis", None)
    if axis is None:
        return
    y, dy = reference.arrays["y"], reference.dy
    missing = "the sum over the classes is missing, so only the diagonal of the Jacobian counts"
    yield missing, {"dx": y * (1 - y) * dy}
    yield missing, {"dx": y * dy}
    yield "exp is missing, since the probabilities are exp(y)", {"dx": dy - y * dy.sum(axis, keepdims=True)}
    yield "the sum of dy is missing", {"dx": dy - np.exp(y)}
    yield "the sum of dy is missing", {"dx": dy - np.exp(y) * dy}
    for other in range(y.ndim):
        if other != axis % y.ndim:
            wrong = y * (dy - (dy * y).sum(other, keepdims=True))
            yield f"the sum runs over the axis {other} instead of {axis % y.ndim}", {"dx": wrong}


def _normalization(reference: Reference) -> Iterator[Known]:
    """Yield the gradients of BatchNorm in training and of LayerNorm that lack one of their terms."""
    layer, x, y = reference.layer, reference.x, reference.arrays["y"]
    weight, bias, eps = (getattr(layer, name, None) for name in ("weight", "bias", "eps"))
    if eps is None or weight is None or bias is None:
        return
    axes = tuple(range(x.ndim - 1)) if hasattr(layer, "running_mean") else (x.ndim - 1,)
    mean, deviation = x.mean(axes, keepdims=True), x.std(axes, keepdims=True)
    x_hat = (x - mean) / np.sqrt(deviation**2 + eps)
    if not np.allclose(y, weight.value * x_hat + bias.value):
        return  # The layer has fixed statistics, or normalizes groups of channels.
    outside = weight.value * (x - mean) / (deviation + eps) + bias.value
    yield "epsilon stands outside the root", {"y": outside}
    unbiased = weight.value * x_hat * np.sqrt(1 - 1 / np.prod([x.shape[k] for k in axes])) + bias.value
    yield "the variance is divided by one number less, the unbiased estimate", {"y": unbiased}
    g, scale = reference.dy * weight.value, 1 / np.sqrt(deviation**2 + eps)
    through_mean, through_variance = g.mean(axes, keepdims=True), x_hat * (g * x_hat).mean(axes, keepdims=True)
    yield "the gradient through the mean is missing", {"dx": scale * (g - through_variance)}
    yield "the gradient through the variance is missing", {"dx": scale * (g - through_mean)}
    yield "the gradients through the mean and the variance are missing", {"dx": scale * g}
    yield "the division by the standard deviation is missing", {"dx": g - through_mean - through_variance}


def window_of(reference: Reference, only: Array) -> Array:
    """Return where the window lies whose output is 1 in `only`, or for another layer, where its dx is not 0."""
    layer: Any = reference.layer
    if not isinstance(layer, Pool2D) or layer.dilation != (1, 1):
        return np.not_equal(reference.for_part_of_dy(only)["dx"], 0)
    mean = _with_windows_of(layer, MeanPool2D)
    return np.not_equal(reference.run(mean, np.broadcast_to(only, reference.dy.shape))["dx"], 0)


def _with_windows_of(layer: Any, kind: type[Any]) -> Any:
    """Return another kind of pool with the windows of `layer`."""
    return kind(layer.kernel_size, stride=layer.stride, padding=layer.padding, ceil_mode=layer.ceil_mode)


def _pools(reference: Reference) -> Iterator[Known]:
    """Yield what a pool gives if each input of a window gets the whole gradient."""
    layer: Any = reference.layer
    mean, maximum = _with_windows_of(layer, MeanPool2D), _with_windows_of(layer, MaxPool2D)
    counted = copy.deepcopy(mean)
    counted.count_padding = True
    yield "it belongs to the mean of each window", reference.run(mean, reference.dy)
    yield "it belongs to the maximum of each window", reference.run(maximum, reference.dy)
    # Where the padding counts, a window of ones has a mean below 1 if it touches the padding.
    touches = counted(np.ones_like(reference.x)) < 1 - 1e-9
    if touches.shape == reference.dy.shape:
        padded = np.where(touches, np.maximum(reference.arrays["y"], 0), reference.arrays["y"])
        yield "the zeros of the padding count as numbers, and must lose to every number", {"y": padded}
    for pool in (mean, counted):
        whole = float(np.prod(layer.kernel_size)) * reference.run(pool, reference.dy)["dx"]
        yield (
            "each input of a window gets the whole dy, which belongs to one of them or is shared by all",
            {"dx": whole},
        )


def _variants(reference: Reference) -> Iterator[Known]:
    """Yield what the same layer computes if one of its options or parameters is another one."""
    for words, change in _CHANGES:
        layer = copy.deepcopy(reference.layer)
        with suppress(Exception):  # A layer may refuse a changed option with any error, and then has no such variant.
            if change(layer):
                yield words, reference.run(layer, reference.dy)


# Each of the following functions changes one thing in a layer, and tells whether the layer has that thing.


def _flip(*axes: int) -> Callable[[Any], bool]:
    def change(layer: Any) -> bool:
        weight = getattr(layer, "weight", None)
        if weight is None or weight.value.ndim != 4:
            return False
        weight.value = np.flip(weight.value, axes).copy()
        return True

    return change


def _transpose(a: int, b: int) -> Callable[[Any], bool]:
    def change(layer: Any) -> bool:
        weight = getattr(layer, "weight", None)
        if weight is None or weight.value.ndim < 2:
            return False
        weight.value = weight.value.swapaxes(a, b).copy()  # An axis of another length raises, and `_variants` goes on.
        return True

    return change


def _exchange(option: str) -> Callable[[Any], bool]:
    def change(layer: Any) -> bool:
        pair = getattr(layer, option, None)
        if not isinstance(pair, tuple) or len(pair) != 2 or pair[0] == pair[1]:
            return False
        setattr(layer, option, pair[::-1])
        return True

    return change


def _set(option: str, *, before: Any, after: Any) -> Callable[[Any], bool]:
    def change(layer: Any) -> bool:
        value = getattr(layer, option, None)
        if isinstance(value, Parameter) or value is None or not (before is None or value == before) or value == after:
            return False
        setattr(layer, option, after)
        return True

    return change


def _ones(layer: Any) -> bool:
    weight = getattr(layer, "weight", None)
    if weight is None or weight.value.ndim != 1:
        return False
    weight.value = np.ones_like(weight.value)
    return True


_CHANGES: tuple[tuple[str, Callable[[Layer], bool]], ...] = (
    ("the kernel is flipped along height and width", _flip(0, 1)),
    ("the kernel is flipped along its height", _flip(0)),
    ("the kernel is flipped along its width", _flip(1)),
    ("the weight is transposed, with inputs and outputs exchanged", _transpose(-1, -2)),
    ("the height and the width of the kernel are exchanged", _transpose(0, 1)),
    ("the height and the width of the stride are exchanged", _exchange("stride")),
    ("the height and the width of the dilation are exchanged", _exchange("dilation")),
    ("the vertical and the horizontal padding are exchanged", _exchange("padding")),
    ("the height and the width of the window are exchanged", _exchange("kernel_size")),
    (
        "the odd row of padding stands at the top and the odd column at the left, and 'same' wants them at the end",
        _set("padding", before="same", after="same_lower"),
    ),
    (
        "the odd row of padding stands at the bottom, the odd column at the right, and 'same_lower' wants them first",
        _set("padding", before="same_lower", after="same"),
    ),
    ("there is no padding", _set("padding", before="same", after="valid")),
    ("there is padding, and 'valid' wants none", _set("padding", before="valid", after="same")),
    ("a window hangs over the end, where a remainder fills none", _set("ceil_mode", before=False, after=True)),
    ("the remainder that fills no window is dropped", _set("ceil_mode", before=True, after=False)),
    ("the stride is ignored", _set("stride", before=None, after=(1, 1))),
    ("the dilation is ignored", _set("dilation", before=None, after=(1, 1))),
    ("the padding counts in the divisor", _set("count_padding", before=False, after=True)),
    ("the padding does not count in the divisor, and must", _set("count_padding", before=True, after=False)),
    ("the slope for negative inputs is forgotten", _set("negative_slope", before=None, after=0.0)),
    ("alpha is forgotten", _set("alpha", before=None, after=1.0)),
    ("the factor is forgotten", _set("factor", before=None, after=1.0)),
    ("the scale of the shortcut is forgotten", _set("scale", before=None, after=1.0)),
    ("the mode is 'nearest' instead of 'bilinear'", _set("mode", before="bilinear", after="nearest")),
    ("it runs over the axis 0, the batch", _set("axis", before=None, after=0)),
    ("it runs over the axis 1", _set("axis", before=None, after=1)),
    ("the scale, weight, is left out", _ones),
)
