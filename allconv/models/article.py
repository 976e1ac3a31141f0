"""The two networks of the published experiment."""

import numpy as np
from numpy.typing import DTypeLike

from allconv.initializers import normal
from allconv.layers.base import Layer
from allconv.layers.conv import Conv2D
from allconv.layers.elu import ELU
from allconv.layers.global_average_pool import GlobalAveragePool2D
from allconv.layers.mean_pool import MeanPool2D
from allconv.layers.relu import ReLU
from allconv.layers.sequential import Sequential
from allconv.layers.skip import Skip
from allconv.validation import check_bool, check_choice, check_dtype, check_generator

_INITIAL_DILATION = 0.8  # the article's r(0)


def article_net(
    kind: str,
    *,
    dilated: bool = False,
    activation: str = "elu",
    dtype: DTypeLike = np.float32,
    rng: np.random.Generator | None = None,
) -> Sequential:
    """Return a network of the published experiment: nine convolutions and a global average pool.

    ::

        conv 3x3,  96
        conv 3x3,  96                                          shortcut around it, if dilated
        conv 3x3, 192    convpool: mean pool 2x2 after it      allcnn: stride 2 instead
        conv 3x3, 192
        conv 3x3, 192                                          shortcut around it, if dilated
        conv 3x3, 192    convpool: mean pool 2x2 after it      allcnn: stride 2 instead
        conv 3x3, 192
        conv 1x1, 192                                          shortcut around it, if dilated
        conv 1x1,  10, global average pool

    Parameters
    ----------
    kind : {"convpool", "allcnn"}
        The network of cases a to d, or of e to h.
    dilated : bool, default False
        Whether a `Skip` of scale 0.8 stands around convolutions 2, 5 and 8 with their activations (cases d and h).
    activation : {"elu", "relu"}, default "elu"
        After each convolution, the ninth included: ELU in the article's code, ReLU in the paper.
    dtype : float32 or float64, default float32
        Of the parameters.
    rng : numpy.random.Generator, optional
        Draws the weights.

    Returns
    -------
    Sequential
        Input ``(N, 32, 32, 3)`` or any other size, output logits ``(N, 10)``; 1,617,312 parameters, no biases,
        weights drawn from N(0, 0.05^2), padding "same".
    """
    strided = check_choice("kind", kind, ("convpool", "allcnn")) == "allcnn"
    activate = {"elu": ELU, "relu": ReLU}[check_choice("activation", activation, ("elu", "relu"))]
    check_bool("dilated", dilated)
    dtype, rng = check_dtype("dtype", dtype), check_generator("rng", rng)

    def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> list[Layer]:
        layer = Conv2D(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            bias=False,
            initializer=normal(0.05),
            dtype=dtype,
            rng=rng,
        )
        return [layer, activate()]

    def shortcut(body: list[Layer]) -> list[Layer]:
        return [Skip(Sequential(*body), scale=_INITIAL_DILATION)] if dilated else body

    def downsample(in_channels: int) -> list[Layer]:
        return conv(in_channels, 192, 3, stride=2) if strided else [*conv(in_channels, 192, 3), MeanPool2D(2)]

    return Sequential(
        *conv(3, 96, 3),
        *shortcut(conv(96, 96, 3)),
        *downsample(96),
        *conv(192, 192, 3),
        *shortcut(conv(192, 192, 3)),
        *downsample(192),
        *conv(192, 192, 3),
        *shortcut(conv(192, 192, 1)),
        *conv(192, 10, 1),
        GlobalAveragePool2D(),
    )
