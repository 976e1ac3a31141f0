"""Each layer of Keras as one of this library, from its configuration and its weights. Nothing is imported by name."""

from collections.abc import Callable
from typing import Any

import numpy as np

from allconv.interop.building import blank, with_weights
from allconv.interop.keras_options import Options
from allconv.layers.base import Layer
from allconv.layers.batchnorm import BatchNorm
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
from allconv.layers.sequential import Sequential
from allconv.layers.sigmoid import Sigmoid
from allconv.layers.silu import SiLU
from allconv.layers.softmax import LogSoftmax, Softmax
from allconv.layers.tanh import Tanh
from allconv.layers.upsample import Upsample2D
from allconv.layers.zero_pad import ZeroPad2D
from allconv.typing import Array

_CHANNELS = 2048  # bounds the channels of a normalization without weights of that number
_ACTIVATIONS: dict[str, Callable[[], Layer]] = {
    "relu": ReLU, "relu6": ReLU6, "elu": ELU, "sigmoid": Sigmoid, "tanh": Tanh, "softmax": Softmax, "gelu": GELU,
    "silu": SiLU, "swish": SiLU, "log_softmax": LogSoftmax, "leaky_relu": lambda: LeakyReLU(0.2),
    "linear": lambda: Dropout(0.0),
}  # fmt: skip


def is_of_channels(axis: object, shape: tuple[int, ...], images: str) -> bool:
    """Tell whether an axis of Keras, which may stand in a list, is that of channels in arrays of this shape here."""
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    first = images == "channels_first" and len(shape) == 3
    return axis in ((1, -3) if first else (len(shape), -1))


def layer_of_keras(
    kind: str, config: dict[str, Any], weights: list[Array], shape: tuple[int, ...], images: str = "channels_last"
) -> Layer:
    """Return the layer for a class of Keras.

    Parameters
    ----------
    kind : str
        The name of the class.
    config : dict
        Its configuration.
    weights : list of array
        Its weights, in the order of Keras.
    shape : tuple of int
        The shape of an example that it takes, (H, W, C) for an image.
    images : {"channels_last", "channels_first"}
        How images lie in the network of Keras.

    Returns
    -------
    Layer
        The layer; where Keras has an activation in it, a Sequential of both.

    Raises
    ------
    KeyError, TypeError, ValueError
        If there is no such layer here, or the weights are not those of the configuration.
    """
    if kind not in _LAYERS:
        raise ValueError(f"is a {kind}, which is no layer here")
    options = Options({"data_format": images} | config)
    if not is_of_channels(options.get("axis", 1 if images == "channels_first" else -1), shape, images):
        raise ValueError(f"works along the axis {config['axis']}, not that of channels")
    has_numbers = kind == "PReLU" or kind.endswith("Normalization")
    if has_numbers and shape[-1] > max([_CHANNELS, *(array.size for array in weights)]):
        raise ValueError(f"takes {shape[-1]} channels and has no weight of so many")
    name = options.get("activation") or "linear"
    is_known = isinstance(name, str) and name in _ACTIVATIONS
    if not is_known or ("softmax" in name and images == "channels_first" and len(shape) == 3):
        raise ValueError(f"has the activation {name!r}, which is no layer here")
    weights = list(weights)
    layer = _LAYERS[kind](options, weights, shape)
    options.refuse_unread()
    if weights:
        raise ValueError(f"has {len(weights)} weights more than a {kind} has here")
    if name == "linear" or kind == "Activation":
        return layer
    return Sequential(*(layer if isinstance(layer, Sequential) else [layer]), _ACTIVATIONS[name]())


def _take(weights: list[Array], shape: tuple[Any, ...]) -> Array:
    """Take the first weight, whose shape must be `shape`; None stands for any length."""
    if not weights:
        raise ValueError("has fewer weights than its configuration needs")
    array = weights.pop(0)
    if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
        raise ValueError(f"has a weight of shape {array.shape} in the place of {shape}")
    return array.astype(np.float32)


def _bias(config: Options, weights: list[Array], length: int) -> Array | None:
    return _take(weights, (length,)) if config.get("use_bias", True) else None


def _windows(config: Options) -> dict[str, Any]:
    """Return the arguments of a convolution."""
    return {
        "stride": tuple(config.get("strides", (1, 1))), "padding": config["padding"], "initializer": blank,
        "dilation": tuple(config.get("dilation_rate", (1, 1))),
    }  # fmt: skip


def _conv(config: Options, weights: list[Array], shape: tuple[int, ...]) -> Layer:
    groups = config.get("groups", 1)
    kernel = _take(weights, (*config["kernel_size"], shape[-1] // groups, config["filters"]))
    layer = Conv2D(shape[-1], kernel.shape[3], kernel.shape[:2], groups=groups, **_windows(config))
    return with_weights(layer, kernel, _bias(config, weights, kernel.shape[3]))  # type: ignore[no-any-return]


def _without_bias(config: Options, weights: list[Array], shape: tuple[int, ...]) -> Any:
    """Return the convolution of each channel by itself."""
    kernel = _take(weights, (*config["kernel_size"], shape[-1], config.get("depth_multiplier", 1)))
    kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    layer = Conv2D(shape[-1], kernel.shape[3], kernel.shape[:2], groups=shape[-1], **_windows(config))
    return with_weights(layer, kernel, None)


def _depthwise(config: Options, weights: list[Array], shape: tuple[int, ...]) -> Layer:
    layer = _without_bias(config, weights, shape)
    return with_weights(layer, layer.weight.value, _bias(config, weights, layer.out_channels))  # type: ignore[no-any-return]


def _separable(config: Options, weights: list[Array], shape: tuple[int, ...]) -> Layer:
    first = _without_bias(config, weights, shape)
    kernel = _take(weights, (1, 1, first.out_channels, config["filters"]))
    second = Conv2D(first.out_channels, kernel.shape[3], 1, initializer=blank)
    return Sequential(first, with_weights(second, kernel, _bias(config, weights, kernel.shape[3])))


def _conv_transpose(config: Options, weights: list[Array], shape: tuple[int, ...]) -> Layer:
    if config.get("output_padding") is not None:
        raise ValueError("has an output padding of its own")
    kernel = _take(weights, (*config["kernel_size"], config["filters"], shape[-1]))
    windows, more = _windows(config), (0, 0)
    if windows["padding"] == "valid":  # An output of Keras has the whole stride behind the last pixel.
        taps = [d * (k - 1) + 1 for k, d in zip(kernel.shape[:2], windows["dilation"], strict=True)]
        more = tuple(max(0, s - n) for s, n in zip(windows["stride"], taps, strict=True))
    layer = ConvTranspose2D(shape[-1], kernel.shape[2], kernel.shape[:2], output_padding=more, **windows)
    return with_weights(layer, kernel, _bias(config, weights, kernel.shape[2]))  # type: ignore[no-any-return]


def _dense(config: Options, weights: list[Array], shape: tuple[int, ...]) -> Layer:
    if len(shape) != 1:
        raise ValueError(f"is a Dense of {shape}, where a Linear here takes rows")
    kernel = _take(weights, (*shape, config["units"]))
    return with_weights(Linear(*kernel.shape, initializer=blank), kernel, _bias(config, weights, kernel.shape[1]))  # type: ignore[no-any-return]


def _scale_and_shift(layer: Any, config: Options, weights: list[Array], shape: tuple[int, ...]) -> Any:
    """Return a normalization with its gamma and beta, which Keras may leave out."""
    for name, parameter in (("scale", layer.weight), ("center", layer.bias)):
        if config.get(name, True):
            parameter.value = _take(weights, shape[-1:])
    return layer


def _batch_norm(config: Options, weights: list[Array], shape: tuple[int, ...]) -> Layer:
    layer = BatchNorm(shape[-1], eps=config["epsilon"], momentum=1 - config["momentum"])
    _scale_and_shift(layer, config, weights, shape)
    layer.running_mean.value, layer.running_var.value = (_take(weights, shape[-1:]) for _ in range(2))
    return layer


def _layer_norm(config: Options, weights: list[Array], shape: tuple[int, ...]) -> Layer:
    return _scale_and_shift(LayerNorm(shape[-1], eps=config["epsilon"]), config, weights, shape)  # type: ignore[no-any-return]


def _group_norm(config: Options, weights: list[Array], shape: tuple[int, ...]) -> Layer:
    groups = config["groups"] if config["groups"] > 0 else shape[-1]
    return _scale_and_shift(GroupNorm(groups, shape[-1], eps=config["epsilon"]), config, weights, shape)  # type: ignore[no-any-return]


def _pool(kind: type[MaxPool2D] | type[MeanPool2D]) -> Callable[..., Layer]:
    return lambda config, _weights, _shape: kind(
        tuple(config["pool_size"]),
        stride=tuple(config.get("strides") or config["pool_size"]),
        padding=config["padding"],
    )


def _global_max(config: Options, _weights: list[Array], shape: tuple[int, ...]) -> Layer:
    pool = MaxPool2D((shape[0], shape[1]))
    return pool if config.get("keepdims") else Sequential(pool, Flatten())


def _relu(config: Options, _weights: list[Array], _shape: tuple[int, ...]) -> Layer:
    slope, threshold = (float(config.get(name) or 0) for name in ("negative_slope", "threshold"))
    limit = config.get("max_value")
    if threshold or limit not in (None, 6) or (slope and limit):
        raise ValueError(f"is a ReLU of slope {slope}, limit {limit} and threshold {threshold}, which is no layer here")
    return LeakyReLU(slope) if slope else ReLU6() if limit else ReLU()


def _prelu(config: Options, weights: list[Array], shape: tuple[int, ...]) -> Layer:
    layer = PReLU(shape[-1])
    ones = (1,) * (len(shape) - 1)
    is_first = config["data_format"] == "channels_first"
    layer.weight.value = _take(weights, (shape[-1], *ones) if is_first else (*ones, shape[-1])).reshape(-1)
    return layer


def _zero_pad(config: Options, _weights: list[Array], _shape: tuple[int, ...]) -> Layer:
    (top, bottom), (left, right) = config["padding"]
    return ZeroPad2D((top, left, bottom, right))


def _activation(config: Options, _weights: list[Array], _shape: tuple[int, ...]) -> Layer:
    return _ACTIVATIONS[config["activation"]]()


def _leaky_relu(config: Options, _weights: list[Array], _shape: tuple[int, ...]) -> Layer:
    slope: Any = config.get("negative_slope", config.get("alpha", 0.3))  # Keras 2 says alpha
    return LeakyReLU(float(slope))


_LAYERS: dict[str, Callable[[Options, list[Array], tuple[int, ...]], Layer]] = {
    "Conv2D": _conv, "DepthwiseConv2D": _depthwise, "SeparableConv2D": _separable, "Conv2DTranspose": _conv_transpose,
    "Dense": _dense, "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm, "MaxPooling2D": _pool(MaxPool2D), "AveragePooling2D": _pool(MeanPool2D),
    "GlobalAveragePooling2D": lambda config, _w, _s: GlobalAveragePool2D(keepdims=bool(config.get("keepdims"))),
    "GlobalMaxPooling2D": _global_max, "Flatten": lambda _c, _w, _s: Flatten(), "ReLU": _relu, "PReLU": _prelu,
    "Dropout": lambda config, _w, _s: Dropout(config["rate"]), "Activation": _activation,
    "Softmax": lambda _c, _w, _s: Softmax(),
    "LeakyReLU": _leaky_relu,
    "ELU": lambda config, _w, _s: ELU(config["alpha"]), "ZeroPadding2D": _zero_pad,
    "UpSampling2D": lambda config, _w, _s: Upsample2D(tuple(config["size"]), config["interpolation"]),
}  # fmt: skip
