r"""Which algorithm computes a convolution.

The choice follows from the shapes alone, never from a clock, so that the results are the same bits in every run. The
algorithm with the lowest cost is taken. The unit of cost is one multiply-add of a matrix product.

A convolution has P output positions, kernels of :math:`k_h \times k_w`, C input and O output channels, and G groups.
The bilinear algorithms take T tiles of 4x4 or 2x2 outputs, with a products each: 36 for a 3x3 kernel and 4x4 outputs.
Then

.. math::

    \text{im2col:} &\quad P\, k_h k_w C\, (O / G + e_{column}) + e_{output}\, P O + e_{calls}, \\
    \text{winograd:} &\quad a\, T\, (C O + e_{tile}\, (C' + O')) + a\, e_{kernel}\, C O + e_{calls}.

:math:`C' = \max(C, 16)` and :math:`O' = \max(O, 16)`, since the transforms of fewer than 16 channels cost as much as
those of 16. `CostModel` has the constants e, which were fitted to 43 shapes on one core with AVX-512.
``benchmarks/convolutions.py`` prints the choice beside the best one.

Cost decides only where the bilinear algorithm keeps its error in float32 within ``tuning.WINOGRAD.most_error``.
Elsewhere im2col is taken. float64 has the same choice, so that its gradient checks test the same algorithm.
"""

import math
from dataclasses import dataclass

from allconv.functional import tuning
from allconv.functional.geometry import Geometry
from allconv.functional.rounding import ceil_div
from allconv.functional.winograd.error import error_bound
from allconv.functional.winograd.tiling import applies, best_tile, products_of_tile
from allconv.typing import Pair
from allconv.validation import check_choice

ALGORITHMS = ("auto", "im2col", "winograd")


@dataclass(frozen=True)
class Term:
    """One constant of the cost model, in multiply-adds for each `unit`.

    The constants of a backward pass are halved: its products are twice those of a forward pass, and the model counts
    the products of one forward pass.
    """

    meaning: str
    unit: str
    forward: float
    backward: float

    def of(self, backward: bool) -> float:
        """Return the constant for a forward or a backward pass."""
        return self.backward if backward else self.forward


@dataclass(frozen=True)
class CostModel:
    """The constants of both costs: what a pass spends beside its matrix products."""

    column_entry: Term = Term("gather an input into the columns", "entry of the columns", 13, 24)
    output_entry: Term = Term("write an output of im2col", "entry of the output", 20, 36)
    im2col_calls: Term = Term("call NumPy for an im2col pass", "pass", 2e6, 2e6)
    tile_entry: Term = Term("transform a tile of the input or the output", "entry of a transformed tile", 24, 18)
    kernel_entry: Term = Term("transform the kernel", "entry of the transformed kernel", 18, 23)
    kernel_read: Term = Term("read a kernel that was transformed before", "entry of the transformed kernel", 16, 16)
    winograd_calls: Term = Term("call NumPy for a Winograd pass", "pass", 6e6, 4e6)
    least_channels: int = 16  # channels: the transforms of a tile with fewer cost as much as with 16, a vector register


COST = CostModel()


def check_algorithm(algorithm: object, kernel: Pair, stride: Pair, dilation: Pair, groups: int) -> str:
    """Return `algorithm` if it can compute such convolutions.

    Parameters
    ----------
    algorithm : object
        What a caller passed as the name of an algorithm.
    kernel, stride, dilation : pair of int
        (vertical, horizontal).
    groups : int

    Returns
    -------
    {"auto", "im2col", "winograd"}

    Raises
    ------
    TypeError, ValueError
        For another name, and for "winograd" where no bilinear algorithm exists; the message says what would work.

    Examples
    --------
    >>> check_algorithm("winograd", kernel=(3, 3), stride=(1, 1), dilation=(1, 1), groups=1)
    'winograd'
    """
    name = check_choice("algorithm", algorithm, ALGORITHMS)
    if name == "winograd" and not applies(kernel, stride, dilation, groups):
        raise ValueError(
            "algorithm must be 'auto' or 'im2col' for all but kernels from 3x3 to 7x7 with stride 1 or 2, dilation 1 "
            f"and one group, got 'winograd' for kernel {kernel}, stride {stride}, dilation {dilation}, groups {groups}"
        )
    return name


def choose(geometry: Geometry, algorithm: str = "auto", *, backward: bool = False, transformed: bool = False) -> str:
    """Return the name of the algorithm that computes a pass.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.
    algorithm : {"auto", "im2col", "winograd"}, default "auto"
        "auto" is the algorithm with the lowest cost among those that keep the error in bounds. "im2col" is a matrix
        product over gathered columns. "winograd" takes effect where a bilinear algorithm exists; other convolutions
        fall back to "im2col".
    backward : bool, default False
        Whether the pass computes all gradients. A pass for the weight's gradient alone costs about as much as a
        forward pass, and counts as one.
    transformed : bool, default False
        Whether the weight was transformed beforehand, as in a fused model.

    Returns
    -------
    {"im2col", "winograd", "depthwise"}

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> sizes = geometry_of((50, 32, 32, 96), (3, 3, 96, 96), (1, 1), "same", (1, 1), 1)
    >>> choose(sizes), choose(sizes, "im2col")
    ('winograd', 'im2col')
    """
    bilinear = applies(geometry.kernel, geometry.stride, geometry.dilation, geometry.groups)
    if algorithm == "winograd" and bilinear:
        return "winograd"
    if algorithm == "auto" and geometry.groups == geometry.in_channels == geometry.out_channels > 1:
        return "depthwise"
    if algorithm == "auto" and bilinear and _keeps_to_bound(geometry):
        columns, tiles = _im2col_cost(geometry, backward), _winograd_cost(geometry, backward, transformed)
        return "winograd" if tiles < columns else "im2col"
    return "im2col"


def _keeps_to_bound(geometry: Geometry) -> bool:
    """Tell whether the best tile loses so few digits that cost may decide."""
    kernel, stride, channels = geometry.kernel, geometry.stride, geometry.channels
    tile = best_tile(kernel, stride, channels)
    return error_bound(kernel, stride, tile, channels) <= tuning.WINOGRAD.most_error


def _im2col_cost(geometry: Geometry, backward: bool) -> float:
    n, height, width, channels = geometry.y_shape
    outputs = n * height * width * channels
    columns = n * height * width * math.prod(geometry.kernel) * geometry.in_channels
    return (
        columns * (channels / geometry.groups + COST.column_entry.of(backward))
        + COST.output_entry.of(backward) * outputs
        + COST.im2col_calls.of(backward)
    )


def _winograd_cost(geometry: Geometry, backward: bool, transformed: bool) -> float:
    n, inputs, outputs = geometry.x_shape[0], geometry.in_channels, geometry.out_channels
    tile = best_tile(geometry.kernel, geometry.stride, geometry.channels)
    # A backward pass has tiles of dx, which are as many times larger as the stride.
    sizes = (
        zip(geometry.x_shape[1:3], geometry.stride, strict=True) if backward else ((size, 1) for size in geometry.out)
    )
    tiles = n * math.prod(ceil_div(size, tile * stride) for size, stride in sizes)
    transformed_entries = max(inputs, COST.least_channels) + max(outputs, COST.least_channels)
    per_tile = inputs * outputs + COST.tile_entry.of(backward) * transformed_entries
    kernel_entry = COST.kernel_read if transformed else COST.kernel_entry
    kernel = kernel_entry.of(backward) * inputs * outputs
    products = products_of_tile(geometry.kernel, geometry.stride, tile)
    return products * (tiles * per_tile + kernel) + COST.winograd_calls.of(backward)
