r"""How many digits the bilinear algorithms lose in float32.

A tile's product :math:`M_p = (G_p\, g)(B_p\, d)` is rounded relative to its own size. For independent samples and
weights with mean 0 and variance 1, its variance is :math:`|G_p|^2 |B_p|^2`. An output adds the products with the
factors :math:`A_{ip}`, so it adds errors of variance :math:`\sum_p A_{ip}^2\, |G_p|^2 |B_p|^2`. The output itself has
the variance r, its number of terms. The root of the ratio is the *amplification* of an axis. An image has two axes,
whose amplifications multiply.

The amplified error is a few roundings of :math:`2^{-24}`. Sums over channels add roundings with the root of the number
of channels, up to the number that BLAS adds in one go. Barabasz et al. (2020), "Error Analysis and Improving the
Accuracy of Winograd Convolution for Deep Neural Networks", section 3, bound the error of one channel.
"""

import functools
import math

import numpy as np

from allconv.functional.winograd.bilinear import Bilinear, convolution, gradient
from allconv.typing import Pair

_ROUNDING = 2.0**-24  # half a unit of float32, relative to the rounded number

# The constants of the error, measured by benchmarks/winograd_error.py as an envelope of the largest of several draws.
_TRANSFORM_ROUNDINGS = 3.0  # bounds the roundings of the transforms, as a number
_SUM_ROUNDINGS = 0.5  # bounds the roundings of a sum over channels, divided by the root of their number
_CHANNELS_IN_ONE_GO = 256  # bounds the channels with which the error grows, in channels; BLAS blocks longer sums
_KERNEL_ROUNDINGS = 6.0  # bounds the roundings of a weight gradient, as a number; its sums go over the tiles of a block


@functools.lru_cache(maxsize=256)
def error_bound(kernel: Pair, stride: Pair, tile: int, channels: Pair) -> float:
    """Return a bound of the error that a pass makes in float32.

    Parameters
    ----------
    kernel, stride : pair of int
        (vertical, horizontal).
    tile : int
        The number of outputs of a tile along each axis.
    channels : pair of int
        (C, O).

    Returns
    -------
    float
        Bounds the error of y, dx and dW, in units of the largest number of the same array. It holds where inputs,
        weights and upstream gradients are about equally large everywhere. An outlier v of x adds at most this bound
        times v times the largest weight to each output of the tiles that read it.

    Examples
    --------
    >>> f"{error_bound((3, 3), (1, 1), 4, (512, 512)):.1e}, {error_bound((3, 3), (1, 1), 2, (512, 512)):.1e}"
    '6.8e-06, 1.1e-06'
    """
    forward = [convolution(tile, r, s, 0, np.float64) for r, s in zip(kernel, stride, strict=True)]
    backward = [gradient(tile, r, s, 0, np.float64) for r, s in zip(kernel, stride, strict=True)]
    roundings = [
        _TRANSFORM_ROUNDINGS + _SUM_ROUNDINGS * math.sqrt(min(count, _CHANNELS_IN_ONE_GO)) for count in channels
    ]
    y = roundings[0] * math.prod(_amplification(axis, "output") for axis in forward)
    dx = roundings[1] * math.prod(_amplification(axis, "output") for axis in backward)
    dw = _KERNEL_ROUNDINGS * math.prod(_amplification(axis, "kernel") for axis in backward)
    return _ROUNDING * max(y, dx, dw)


def _amplification(axis: Bilinear, result: str) -> float:
    """Return the amplification of the outputs of a tile, or of the gradient of its kernel."""
    matrices = axis.output_matrix, axis.kernel_matrix, axis.input_matrix
    others = {"output": (1, 2), "kernel": (0, 2)}[result]  # A result sums over these axes.
    # By output, tap and sample: 1 for each term of the definition, and the variance of all products that stand for it.
    terms = np.einsum("ip,pk,pl->ikl", *matrices) ** 2
    products = np.einsum("ip,pk,pl->ikl", *(matrix**2 for matrix in matrices))
    return math.sqrt((products.sum(others) / terms.sum(others)).max())
