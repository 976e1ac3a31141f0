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

_KERNELS = {"A": (5,), "B": (5, 1), "C": (3, 3)}  # of the convolutions in each of the first two stages


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
    """Return one of the paper's networks: models A, B and C, each in four variants.

    ::

                  A             B                          C
        stage 1   5x5,  96      5x5,  96, 1x1,  96         3x3,  96, 3x3,  96       then halved
        stage 2   5x5, 192      5x5, 192, 1x1, 192         3x3, 192, 3x3, 192       then halved
        stage 3   3x3, 192, 1x1, 192, 1x1, classes, global average pool

    A ReLU follows every convolution, the last included. What halves the maps:

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
        How it halves the maps. All-CNN-C, the paper's best, is ``all_cnn("C", "allcnn")``.
    classes : int, default 10
        The output's size.
    channels : int, default 3
        Of the input.
    unpadded_last : bool, default False
        Whether the last 3x3 convolution has the padding "valid": 32x32 pixels then end in the paper's 6x6 maps. With
        padding, as everywhere else in these networks, they are 8x8.
    dropout : bool, default False
        Whether 20 % of the input, and 50 % after each pool or its replacement, are dropped in training. The weights
        drawn are the same with and without.
    dtype : float32 or float64, default float32
        Of the parameters.
    rng : numpy.random.Generator, optional
        Draws the weights, and is the parent of each Dropout's generator.

    Returns
    -------
    Sequential
        Input ``(N, 32, 32, channels)`` or any other size, with `unpadded_last` at least 9x9; output logits
        ``(N, classes)``. Biases, weights by `he_normal`, padding "same". Parameters for 3 channels and 10 classes, in
        base and strided: A 839,242, B 885,610, C 954,730; in convpool and allcnn: A 1,254,250, B 1,300,618,
        C 1,369,738.

    Raises
    ------
    TypeError, ValueError
        For an argument outside its range.

    Notes
    -----
    Springenberg et al. (2015), section 3 with tables 1 and 2; dropout: section 3.1. The paper states neither padding
    nor initialization.

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
