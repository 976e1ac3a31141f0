"""The network that learns CIFAR-10 in minutes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from allconv.initializers import fan_in_uniform, identity
from allconv.layers.base import Layer
from allconv.layers.batchnorm import BatchNorm
from allconv.layers.conv import Conv2D
from allconv.layers.flatten import Flatten
from allconv.layers.gelu import GELU
from allconv.layers.linear import Linear
from allconv.layers.max_pool import MaxPool2D
from allconv.layers.scale import Scale
from allconv.layers.sequential import Sequential
from allconv.typing import Array
from allconv.validation import check_dtype, check_floating, check_generator, check_int, describe, members_of


def fast_net(
    filters: Array,
    widths: Sequence[int] = (64, 256, 256),
    *,
    classes: int = 10,
    dtype: DTypeLike = np.float32,
    rng: np.random.Generator | None = None,
) -> Sequential:
    """Return the network of fast recipes for images of 32x32 pixels, as of CIFAR-10.

    ::

        conv 2x2 without padding, frozen filters             GELU
        for each of three widths:
            conv 3x3, max pool 2x2, BatchNorm                GELU
            conv 3x3, BatchNorm                              GELU
        max pool 3x3, linear -> classes, divided by 9

    The convolutions start as the identity, as far as they have channels, and have no biases but for the first. The
    BatchNorms have a frozen scale of 1, and follow the statistics of new batches with the weight 0.4.

    Parameters
    ----------
    filters : array of a floating dtype, shape (2, 2, C, K)
        The weight of the first convolution, from `data.whitening_filters`. It is never trained.
    widths : sequence of three int, default (64, 256, 256)
        The numbers of channels of the three blocks.
    classes : int, default 10
        The number of classes.
    dtype : float32 or float64, default float32
        The dtype of the parameters, and so of the computation.
    rng : numpy.random.Generator, optional
        The generator that draws the weights. The default is a new, unseeded one.

    Returns
    -------
    Sequential
        The network, which maps images ``(N, 32, 32, C)`` to logits ``(N, classes)``.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    Jordan (2024), 94% on CIFAR-10 in 3.29 seconds on a single GPU, sections 3.1 to 3.3.

    Examples
    --------
    >>> filters = np.zeros((2, 2, 3, 24), np.float32)
    >>> fast_net(filters).summary((32, 32, 3)).trainable
    1971352
    """
    if not isinstance(filters, np.ndarray) or filters.ndim != 4 or filters.shape[:2] != (2, 2):
        raise ValueError(f"filters must be an array of shape (2, 2, C, K), got {describe(filters)}")
    filters = check_floating("filters", filters, check_dtype("dtype", dtype))
    sizes = members_of(widths)
    if sizes is None or len(sizes) != 3:
        raise ValueError(f"widths must be three positive ints, got {describe(widths)}")
    sizes = [check_int("widths", width) for width in sizes]
    classes, rng = check_int("classes", classes), check_generator("rng", rng)

    first = Conv2D(filters.shape[2], filters.shape[3], 2, padding="valid", dtype=dtype, rng=rng)
    first.weight.value = filters
    first.weight.trainable = False
    layers: list[Layer] = [first, GELU()]
    for inputs, width in zip((filters.shape[3], *sizes), sizes, strict=False):
        for channels, pool in ((inputs, [MaxPool2D(2)]), (width, [])):
            norm = BatchNorm(width, eps=1e-12, momentum=0.4, dtype=dtype)
            norm.weight.trainable = False
            conv = Conv2D(channels, width, 3, bias=False, initializer=identity(), dtype=dtype, rng=rng)
            layers += [conv, *pool, norm, GELU()]
    head = Linear(sizes[2], classes, bias=False, initializer=fan_in_uniform, dtype=dtype, rng=rng)
    return Sequential(*layers, MaxPool2D(3), Flatten(), head, Scale(1 / 9))
