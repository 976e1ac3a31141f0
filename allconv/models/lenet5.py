"""LeNet-5, the first convolutional network that many people meet."""

import numpy as np
from numpy.typing import DTypeLike

from allconv.functional.padding import Padding
from allconv.initializers import glorot_uniform, he_normal
from allconv.layers.conv import Conv2D
from allconv.layers.flatten import Flatten
from allconv.layers.linear import Linear
from allconv.layers.max_pool import MaxPool2D
from allconv.layers.mean_pool import MeanPool2D
from allconv.layers.relu import ReLU
from allconv.layers.sequential import Sequential
from allconv.layers.sigmoid import Sigmoid
from allconv.layers.tanh import Tanh
from allconv.validation import check_choice, check_dtype, check_generator, check_int

_ACTIVATIONS = {"relu": ReLU, "sigmoid": Sigmoid, "tanh": Tanh}
_POOLS: dict[str, type[MaxPool2D] | type[MeanPool2D]] = {"max": MaxPool2D, "mean": MeanPool2D}


def lenet(
    *,
    classes: int = 10,
    channels: int = 1,
    activation: str = "relu",
    pool: str = "max",
    dtype: DTypeLike = np.float32,
    rng: np.random.Generator | None = None,
) -> Sequential:
    """Return a LeNet-5 for 28x28 images, in the simplified form of today's tutorials.

    ::

        conv 5x5,   6, padded to keep 28x28, activation, pool 2x2        14x14
        conv 5x5,  16, not padded, activation, pool 2x2                   5x5
        linear 400 -> 120, activation, linear 120 -> 84, activation, linear 84 -> classes

    Parameters
    ----------
    classes : int, default 10
        The number of classes.
    channels : int, default 1
        The number of channels of the images.
    activation : {"relu", "sigmoid", "tanh"}, default "relu"
        The function after each layer with weights but the last.
    pool : {"max", "mean"}, default "max"
        The kind of pooling. PyTorch's tutorial has ReLU and max pooling, and the original is nearest to tanh and mean
        pooling. The tutorial reads 32x32 images; this network pads 28x28 images to that size.
    dtype : float32 or float64, default float32
        The dtype of the parameters, and so of the computation.
    rng : numpy.random.Generator, optional
        The generator that draws the weights, by `he_normal` for ReLU and by `glorot_uniform` for the other functions.
        The default is a new, unseeded one.

    Returns
    -------
    Sequential
        The network, which maps images ``(N, 28, 28, channels)`` to logits ``(N, classes)``. It has 61,706 parameters
        for 1 channel and 10 classes.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    LeCun et al. (1998), section II.B. In the original the pools have weights, the second convolution sees only some of
    the maps, and the output is a distance to fixed codes.

    Examples
    --------
    >>> lenet(rng=np.random.default_rng(0))(np.zeros((5, 28, 28, 1), np.float32)).shape
    (5, 10)
    """
    classes, channels = check_int("classes", classes), check_int("channels", channels)
    activate = _ACTIVATIONS[check_choice("activation", activation, _ACTIVATIONS)]
    pool2d = _POOLS[check_choice("pool", pool, _POOLS)]
    dtype, rng = check_dtype("dtype", dtype), check_generator("rng", rng)
    initializer = he_normal if activation == "relu" else glorot_uniform

    def conv(in_channels: int, out_channels: int, padding: Padding) -> Conv2D:
        return Conv2D(in_channels, out_channels, 5, padding=padding, initializer=initializer, dtype=dtype, rng=rng)

    def linear(in_features: int, out_features: int) -> Linear:
        return Linear(in_features, out_features, initializer=initializer, dtype=dtype, rng=rng)

    return Sequential(
        conv(channels, 6, "same"),
        activate(),
        pool2d(2),
        conv(6, 16, "valid"),
        activate(),
        pool2d(2),
        Flatten(),
        linear(16 * 5 * 5, 120),
        activate(),
        linear(120, 84),
        activate(),
        linear(84, classes),
    )
