r"""Which algorithm computes a convolution.

The choice follows from the shapes alone, never from a clock, so that the results are the same bits in every run. It is
the algorithm with the lower cost, counted in multiply-adds of a matrix product. With P output positions, and T tiles of
4x4 of them that take a products each, 36 for 3x3 kernels, a forward pass costs

.. math::

    \text{im2col:} &\quad P\, k_h k_w C\, (O / G + 13) + 20\, P O + 2 \cdot 10^6, \\
    \text{winograd:} &\quad a\, T\, (C O + 24\, (C' + O')) + 18\, a\, C O + 6 \cdot 10^6.

The terms are products, columns gathered and outputs written; and products, transforms of the tiles, where fewer than 16
channels cost as much as 16, and transforms of the weight, most of it the way from memory. The last term stands for the
calls. The constants, with those of a backward pass below, are a fit to 43 shapes on one core with AVX-512.
``benchmarks/convolutions.py`` shows the choice beside the best.
"""

import math

from allconv.functional.geometry import Geometry
from allconv.functional.winograd.tiling import applies, best_tile, products
from allconv.typing import Pair
from allconv.validation import check_choice

ALGORITHMS = ("auto", "im2col", "winograd")

# A gathered column entry, an output, the calls; an entry of a transformed tile, of a transformed weight, the calls.
_FORWARD = {"im2col": (13, 20, 2e6), "winograd": (24, 18, 6e6)}
_BACKWARD = {"im2col": (24, 36, 2e6), "winograd": (18, 23, 4e6)}  # halved, as the products are twice the forward ones
_READ = 16  # an entry of a weight that was transformed before, and comes from memory

_algorithm = "auto"


def set_algorithm(algorithm: str) -> None:
    """Set the algorithm of all convolutions that do not name one themselves.

    Parameters
    ----------
    algorithm : {"auto", "im2col", "winograd"}
        "auto", the default, is the choice by cost. "im2col" is a matrix product over gathered columns. "winograd"
        takes effect where it can: kernels from 3x3 to 7x7 with stride 1 or 2, dilation 1 and one group; the others
        stay with "im2col".

    Raises
    ------
    TypeError, ValueError
        For another value.
    """
    global _algorithm
    _algorithm = check_choice("algorithm", algorithm, ALGORITHMS)


def get_algorithm() -> str:
    """Return what `set_algorithm` set."""
    return _algorithm


def check_algorithm(algorithm: object, kernel: Pair, stride: Pair, dilation: Pair, groups: int) -> str:
    """Return `algorithm` if it can compute such convolutions; the error says what would work."""
    name = check_choice("algorithm", algorithm, ALGORITHMS)
    if name == "winograd" and not applies(kernel, stride, dilation, groups):
        raise ValueError(
            "algorithm must be 'auto' or 'im2col' for all but kernels from 3x3 to 7x7 with stride 1 or 2, dilation 1 "
            f"and one group, got 'winograd' for kernel {kernel}, stride {stride}, dilation {dilation}, groups {groups}"
        )
    return name


def choose(geometry: Geometry, algorithm: str = "auto", *, backward: bool = False, transformed: bool = False) -> str:
    """Return "im2col", "winograd" or "depthwise" for a pass.

    Parameters
    ----------
    geometry : Geometry
    algorithm : {"auto", "im2col", "winograd"}
        The layer's wish; "auto" leaves it to `set_algorithm`, and if that says the same to the costs.
    backward : bool
        Whether the pass is one for all gradients; one for the weight's alone costs about as much as a forward one.
    transformed : bool
        Whether the weight was transformed before.
    """
    bilinear = applies(geometry.kernel, geometry.stride, geometry.dilation, geometry.groups)
    wish = _algorithm if algorithm == "auto" else algorithm
    if wish == "winograd" and bilinear:
        return "winograd"
    if wish == "auto" and geometry.groups == geometry.in_channels == geometry.out_channels > 1:
        return "depthwise"
    if wish == "auto" and bilinear:
        columns, tiles = _im2col_cost(geometry, backward), _winograd_cost(geometry, backward, transformed)
        return "winograd" if tiles < columns else "im2col"
    return "im2col"


def _im2col_cost(geometry: Geometry, backward: bool) -> float:
    entry, output, calls = (_BACKWARD if backward else _FORWARD)["im2col"]
    n, height, width, o = geometry.y_shape
    columns = n * height * width * math.prod(geometry.kernel) * geometry.in_channels
    return columns * (o / geometry.groups + entry) + output * n * height * width * o + calls


def _winograd_cost(geometry: Geometry, backward: bool, transformed: bool) -> float:
    entry, weight, calls = (_BACKWARD if backward else _FORWARD)["winograd"]
    n, c, o = geometry.x_shape[0], geometry.in_channels, geometry.out_channels
    tile = best_tile(geometry.kernel, geometry.stride)
    # A backward pass has tiles of dx, which are as many times larger as the stride.
    sizes = (
        zip(geometry.x_shape[1:3], geometry.stride, strict=True) if backward else ((size, 1) for size in geometry.out)
    )
    tiles = n * math.prod(-(-size // (tile * stride)) for size, stride in sizes)
    per_tile = c * o + entry * (max(c, 16) + max(o, 16))
    transform = (_READ if transformed else weight) * c * o
    return products(geometry.kernel, geometry.stride) * (tiles * per_tile + transform) + calls
