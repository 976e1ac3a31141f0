r"""What each algorithm costs: the shapes tell, never a clock, so that every run chooses alike.

The unit of cost is one multiply-add of a large matrix product. With P output positions, kernels of
:math:`k_h \times k_w`, C input and O output channels and G groups, im2col multiplies :math:`P\, k_h k_w C\, O / G`. It
also gathers the columns, entry by entry and run by run: a run is a piece of consecutive numbers. For the gradients it
either gathers the columns of dy, or gathers those of x and adds those of dx back; see `im2col.mirrored`.

The bilinear algorithms take T tiles of 4x4 or 2x2 outputs, with a products each: 36 for a 3x3 kernel and 4x4 outputs.
They multiply :math:`a\, T\, C\, O` and transform the tiles of the input and of the output, and the kernel.

`CostModel` has the constants. They were fitted to the times of 40 shapes on one core with AVX-512; a quarter
is taken off all but the products, since other processors multiply more slowly.
``benchmarks/convolutions.py`` prints the choice beside the best one.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from allconv.functional.geometry import Geometry
from allconv.functional.im2col.banded import widened
from allconv.functional.im2col.convolution import GradientPlan
from allconv.functional.im2col.mirrored import can_mirror, mirrored
from allconv.functional.rounding import ceil_div
from allconv.functional.winograd.tiling import best_tile, products_of_tile


@dataclass(frozen=True)
class Term:
    """One constant of the cost model, in multiply-adds, for a forward pass and for a pass that computes all gradients.

    Attributes
    ----------
    forward, backward : float
    """

    forward: float
    backward: float

    def of(self, backward: bool) -> float:
        """Return the constant for a forward or a backward pass."""
        return self.backward if backward else self.forward


@dataclass(frozen=True)
class CostModel:
    """The constants of the costs.

    Attributes
    ----------
    product : Term
        A multiply-add of im2col's products. A backward pass has two of them.
    gathered_entry, gathered_run : Term
        An entry of the columns, and a run of consecutive entries, that are gathered.
    added_entry, added_run : float
        An entry and a run of the columns of dx that are added back to the image.
    output_entry : float
        An output that im2col writes, with its bias.
    banded_entry, banded_output : float
        An entry of a banded kernel, and an output that it computes at once.
    im2col_calls : Term
        The calls of NumPy of an im2col pass.
    tile_product : Term
        A multiply-add of the products of tiles.
    tile_entry : Term
        An entry of a transformed tile of the input or the output.
    kernel_entry : Term
        An entry of the transformed kernel.
    kernel_read : float
        An entry of a kernel that was transformed before.
    winograd_calls : Term
        The calls of NumPy of a Winograd pass.
    prepared_calls : float
        The calls of NumPy of a prepared im2col pass; a prepared Winograd pass has twice as many.
    packed_entry : float
        An entry of the kernel, which a product of few positions reads and packs.
    least_channels, least_tile_channels : int
        Bound the channels of a product, and of a transformed tile, from below, in channels: fewer cost as much.
    """

    product: Term = Term(1.05, 2.3)
    gathered_entry: Term = Term(15, 15)
    gathered_run: Term = Term(340, 580)
    added_entry: float = 70
    added_run: float = 1100
    output_entry: float = 15
    banded_entry: float = 45
    banded_output: float = 1e5
    im2col_calls: Term = Term(3e6, 7e6)
    tile_product: Term = Term(1.2, 2.4)
    tile_entry: Term = Term(42, 75)
    kernel_entry: Term = Term(30, 90)
    kernel_read: float = 20
    winograd_calls: Term = Term(6e6, 8e6)
    prepared_calls: float = 4e5
    packed_entry: float = 45
    least_channels: int = 16
    least_tile_channels: int = 32


COST = CostModel()

# Bounds the outputs that a banded kernel computes at once. More multiply zeros for longer than they save.
_MOST_OUTPUTS = 16


def possible_outputs(geometry: Geometry) -> list[int]:
    """Return the numbers of neighbouring outputs that im2col may compute at once.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.

    Returns
    -------
    list of int
        Divisors of W_out from 1 on, in order.
    """
    if geometry.groups > 1 or geometry.dilation[1] > 1 or geometry.kernel[1] == 1:
        return [1]
    return [w for w in range(1, _MOST_OUTPUTS + 1) if geometry.out[1] % w == 0]


@lru_cache(maxsize=256)
def best_outputs(geometry: Geometry, *, prepared: bool = False) -> int:
    """Return how many neighbouring outputs im2col should compute at once.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.
    prepared : bool, default False
        Whether all that does not depend on the data is there already, as in a plan for few images.

    Returns
    -------
    int
        One of `possible_outputs`; 1 is im2col without a band.
    """
    return min(possible_outputs(geometry), key=lambda outputs: im2col_cost(geometry, outputs, prepared=prepared))


def possible_plans(geometry: Geometry) -> list[GradientPlan]:
    """Return the ways in which im2col may compute the gradients.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.

    Returns
    -------
    list of GradientPlan
    """
    plans = [GradientPlan(False, outputs) for outputs in possible_outputs(geometry)]
    if can_mirror(geometry):
        plans += [GradientPlan(True, outputs) for outputs in possible_outputs(mirrored(geometry))]
    return plans


@lru_cache(maxsize=256)
def best_plan(geometry: Geometry, *, banded: bool = True) -> GradientPlan:
    """Return how im2col should compute the gradients.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.
    banded : bool, default True
        Whether several neighbours may be computed at once.

    Returns
    -------
    GradientPlan
        One of `possible_plans`.
    """
    plans = [plan for plan in possible_plans(geometry) if banded or plan.outputs == 1]
    return min(plans, key=lambda plan: im2col_gradient_cost(geometry, plan))


def im2col_cost(geometry: Geometry, outputs: int = 1, *, prepared: bool = False) -> float:
    """Return the cost of a forward pass by im2col.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.
    outputs : int, default 1
        The neighbouring outputs that are computed at once.
    prepared : bool, default False
        Whether all that does not depend on the data is there already, as in a plan for few images.

    Returns
    -------
    float
        In multiply-adds.
    """
    wide = widened(geometry, outputs)
    cost = _columns_cost(wide, backward=False) + COST.output_entry * math.prod(geometry.y_shape)
    if not prepared:
        return cost + (COST.banded_output * outputs if outputs > 1 else 0)
    entries = math.prod(wide.kernel) * wide.in_channels * wide.out_channels
    already = COST.im2col_calls.forward + (COST.banded_entry * entries if wide.stride[1] > 1 else 0)
    return cost - already + COST.prepared_calls + COST.packed_entry * entries


def im2col_gradient_cost(geometry: Geometry, plan: GradientPlan) -> float:
    """Return the cost of all gradients by im2col.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.
    plan : GradientPlan
        How they are computed.

    Returns
    -------
    float
        In multiply-adds.
    """
    if plan.from_dy:
        return _columns_cost(widened(mirrored(geometry), plan.outputs), backward=True)
    wide = widened(geometry, plan.outputs)
    positions = math.prod(wide.y_shape[:3])
    entries, runs = positions * math.prod(wide.kernel) * wide.in_channels, positions * wide.kernel[0]
    return _columns_cost(wide, backward=True) + COST.added_entry * entries + COST.added_run * runs


def _columns_cost(wide: Geometry, *, backward: bool) -> float:
    """Return the cost of gathering the columns of a convolution and of their products."""
    (n, height, width, channels), (kh, kw) = wide.y_shape, wide.kernel
    depth, positions = kh * kw * wide.in_channels, n * height * width
    multiplied = positions * depth * max(channels / wide.groups, COST.least_channels)
    cost = COST.product.of(backward) * multiplied + COST.im2col_calls.of(backward)
    if wide.stride[1] > 1:
        cost += COST.banded_entry * depth * channels
    if wide.kernel == wide.stride == (1, 1):
        return cost
    runs = positions * kh
    if wide.in_channels == 1 and width > kw:
        runs = kh * kw * n * height  # `gather_columns` gathers the rows of one channel transposed
    return cost + COST.gathered_entry.of(backward) * positions * depth + COST.gathered_run.of(backward) * runs


def winograd_cost(
    geometry: Geometry, *, backward: bool = False, transformed: bool = False, prepared: bool = False
) -> float:
    """Return the cost of a pass by a bilinear algorithm.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.
    backward : bool, default False
        Whether the pass computes the gradients.
    transformed : bool, default False
        Whether the weight was transformed beforehand.
    prepared : bool, default False
        Whether all else that does not depend on the data is there already, too.

    Returns
    -------
    float
        In multiply-adds.
    """
    n, inputs, outputs = geometry.x_shape[0], geometry.in_channels, geometry.out_channels
    tile = best_tile(geometry.kernel, geometry.stride, geometry.channels)
    # A backward pass has tiles of dx, which are as many times larger as the stride.
    sizes = (
        zip(geometry.x_shape[1:3], geometry.stride, strict=True) if backward else ((size, 1) for size in geometry.out)
    )
    tiles = n * math.prod(ceil_div(size, tile * stride) for size, stride in sizes)
    transformed_entries = max(inputs, COST.least_tile_channels) + max(outputs, COST.least_tile_channels)
    per_tile = COST.tile_product.of(backward) * inputs * outputs + COST.tile_entry.of(backward) * transformed_entries
    kernel_entry = COST.kernel_read if transformed else COST.kernel_entry.of(backward)
    products = products_of_tile(geometry.kernel, geometry.stride, tile)
    calls = 2 * COST.prepared_calls if prepared else COST.winograd_calls.of(backward)
    return products * (tiles * per_tile + kernel_entry * inputs * outputs) + calls
