"""The networks of the estimators: one that the user's function builds, or a small one for images or for features."""

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from allconv.layers.base import Layer
from allconv.layers.conv import Conv2D
from allconv.layers.flatten import Flatten
from allconv.layers.linear import Linear
from allconv.layers.max_pool import MaxPool2D
from allconv.layers.relu import ReLU
from allconv.layers.sequential import Sequential
from allconv.validation import check_instance

ModelBuilder = Callable[[tuple[int, ...], int, np.random.Generator], Layer]
"""``model(input_shape, outputs, rng) -> Layer``, for inputs (N, *input_shape) and scores (N, outputs)."""

# Bounds the channels of `small_convnet`, in multiples of the first convolution's.
_MOST_TIMES_WIDER = 4
# Bounds the height and width, in pixels, of what the last layer of `small_convnet` gets.
_LAST_SIDE = 2


def built(model: ModelBuilder, input_shape: tuple[int, ...], outputs: int, rng: np.random.Generator) -> Layer:
    """Return what the user's function makes, which must be a network of these inputs and outputs."""
    made = check_instance("what model returns", model(input_shape, outputs, rng), Layer)
    shape = made.output_shape(input_shape)
    if shape != (outputs,):
        raise ValueError(
            f"model must return a network from {input_shape} to ({outputs},), the shape of its scores, "
            f"got one with scores of shape {shape}"
        )
    return made


def small_perceptron(features: int, outputs: int, width: int, dtype: DTypeLike, rng: np.random.Generator) -> Layer:
    """Return a perceptron with two hidden layers of `width` units."""
    return Sequential(
        Linear(features, width, dtype=dtype, rng=rng),
        ReLU(),
        Linear(width, width, dtype=dtype, rng=rng),
        ReLU(),
        Linear(width, outputs, dtype=dtype, rng=rng),
    )


def small_convnet(image_shape: tuple[int, ...], outputs: int, width: int, rng: np.random.Generator) -> Layer:
    """Return 3x3 convolutions and poolings in turn, until few pixels are left, and a linear layer.

    The first convolution has `width` channels. Each pooling halves height and width, and each further convolution has
    twice the channels, up to a bound.
    """
    height, columns, channels = image_shape
    layers: list[Layer] = []
    wider = width
    while not layers or max(height, columns) > _LAST_SIDE:
        layers += [Conv2D(channels, wider, 3, rng=rng), ReLU(), MaxPool2D(2, padding="same")]
        height, columns, channels = -(-height // 2), -(-columns // 2), wider
        wider = min(2 * wider, _MOST_TIMES_WIDER * width)
    return Sequential(*layers, Flatten(), Linear(height * columns * channels, outputs, rng=rng))
