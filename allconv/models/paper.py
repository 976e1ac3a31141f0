"""The twelve networks of the paper "Striving for Simplicity"."""

import numpy as np
from numpy.typing import DTypeLike

from allconv.functional.padding import Padding
from allconv.layers.base import Layer
from allconv.layers.conv import Conv2D
from allconv.layers.dropout import Dropout
from allconv.layers.global_average_pool import GlobalAveragePool2D
from allconv.layers.max_pool import MaxPool2D
from allconv.layers.relu import ReLU
from allconv.layers.sequential import Sequential
from allconv.validation import check_bool, check_choice, check_dtype, check_generator, check_int

# The kernel sizes of the convolutions in each of the first two stages.
_KERNELS = {"A": (5,), "B": (5, 1), "C": (3, 3)}


def all_cnn(
    kind: str,
    variant: str = "base",
    *,
    classes: int = 10,
    channels: int = 3,
    unpadded_last: bool = False,
    dropout: bool = False,
    dtype: DTypeLike = np.float32,
    rng: np.random.Generator | None = None,
) -> Sequential:
    """Return a network of the paper "Striving for Simplicity": model A, B or C, in one of four variants.

    ::

                  A             B                          C
        stage 1   5x5,  96      5x5,  96, 1x1,  96         3x3,  96, 3x3,  96       then halved
        stage 2   5x5, 192      5x5, 192, 1x1, 192         3x3, 192, 3x3, 192       then halved
        stage 3   3x3, 192, 1x1, 192, 1x1, classes, global average pool

    A ReLU follows every convolution, the last included. The variant decides what halves the maps:

    ============  ====================================================================================
    `variant`     at the end of stages 1 and 2
    ============  ====================================================================================
    "base"        max pool 3x3, stride 2
    "strided"     no pool; the stage's last convolution has stride 2
    "convpool"    one more convolution, 3x3 of the stage's width, then the max pool
    "allcnn"      that convolution with stride 2 in the place of the pool: "all convolutional"
    ============  ====================================================================================

    Parameters
    ----------
    kind : {"A", "B", "C"}
        The base model.
    variant : {"base", "strided", "convpool", "allcnn"}, default "base"
        The way of halving the maps. All-CNN-C, the paper's best network, is ``all_cnn("C", "allcnn")``.
    classes : int, default 10
        The number of classes.
    channels : int, default 3
        The number of channels of the images.
    unpadded_last : bool, default False
        Whether the last 3x3 convolution has the padding "valid", so that 32x32 pixels end in 6x6 maps, as in the paper.
        With the padding "same", which all other convolutions have, they end in 8x8 maps.
    dropout : bool, default False
        Whether training drops 20 % of the input, and 50 % after each pool or its replacement. The weights drawn do not
        depend on it.
    dtype : float32 or float64, default float32
        The dtype of the parameters, and so of the computation.
    rng : numpy.random.Generator, optional
        The generator that draws the weights, and the parent of each Dropout's generator. The default is a new, unseeded
        one.

    Returns
    -------
    Sequential
        The network, which maps images ``(N, 32, 32, channels)``, or of any other size, to logits ``(N, classes)``; with
        `unpadded_last`, images must be at least 9x9. The convolutions have biases and the padding "same". For 3
        channels and 10 classes, "base" and "strided" have 839,242 (A), 885,610 (B) and 954,730 (C) parameters;
        "convpool" and "allcnn" have 1,254,250 (A), 1,300,618 (B) and 1,369,738 (C).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    Springenberg et al. (2015), section 3 with tables 1 and 2; section 3.1 has the dropout. The paper states neither
    the padding nor the initialization.

    Examples
    --------
    >>> model = all_cnn("C", "allcnn", rng=np.random.default_rng(0))
    >>> model.summary((32, 32, 3)).parameters
    1369738
    """
    kernels = _KERNELS[check_choice("kind", kind, _KERNELS)]
    check_choice("variant", variant, ("base", "strided", "convpool", "allcnn"))
    classes, channels = check_int("classes", classes), check_int("channels", channels)
    last_padding: Padding = "valid" if check_bool("unpadded_last", unpadded_last) else "same"
    check_bool("dropout", dropout)
    dtype, rng = check_dtype("dtype", dtype), check_generator("rng", rng)
    pooled = variant in ("base", "convpool")
    if variant in ("convpool", "allcnn"):
        kernels = (*kernels, 3)

    def conv(
        in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: Padding = "same"
    ) -> list[Layer]:
        layer = Conv2D(in_channels, out_channels, kernel, stride=stride, padding=padding, dtype=dtype, rng=rng)
        return [layer, ReLU()]

    def drop(rate: float) -> list[Layer]:
        return [Dropout(rate, rng=rng)] if dropout else []

    def stage(in_channels: int, width: int) -> list[Layer]:
        layers: list[Layer] = []
        for kernel in kernels[:-1]:
            layers += conv(in_channels, width, kernel)
            in_channels = width
        layers += conv(in_channels, width, kernels[-1], stride=1 if pooled else 2)
        if pooled:
            layers.append(MaxPool2D(3, stride=2, padding="same"))
        return layers + drop(0.5)

    return Sequential(
        *drop(0.2),
        *stage(channels, 96),
        *stage(96, 192),
        *conv(192, 192, 3, padding=last_padding),
        *conv(192, 192, 1),
        *conv(192, classes, 1),
        GlobalAveragePool2D(),
    )
