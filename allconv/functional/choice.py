"""Which algorithm computes a convolution.

The choice follows from the shapes alone, never from a clock, so that the results are the same bits in every run. The
algorithm with the lowest cost is taken; `cost` has the model.

Cost decides only where the bilinear algorithm keeps its error in float32 within ``tuning.WINOGRAD.most_error``.
Elsewhere im2col is taken. float64 has the same choice, so that its gradient checks test the same algorithm.
"""

import math
from functools import lru_cache

from allconv.functional import tuning
from allconv.functional.cost import best_outputs, best_plan, im2col_cost, im2col_gradient_cost, winograd_cost
from allconv.functional.geometry import Geometry
from allconv.functional.winograd.error import error_bound
from allconv.functional.winograd.tiling import applies, best_tile
from allconv.typing import Pair
from allconv.validation import check_choice

ALGORITHMS = ("auto", "im2col", "banded", "winograd")


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
    {"auto", "im2col", "banded", "winograd"}

    Raises
    ------
    TypeError, ValueError
        For another name, and for "banded" or "winograd" where no such algorithm exists; the message says what would
        work.

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
    if name == "banded" and (groups > 1 or dilation[1] > 1):
        raise ValueError(
            "algorithm must be 'auto' or 'im2col' for all but one group and horizontal dilation 1, "
            f"got 'banded' for dilation {dilation}, groups {groups}"
        )
    return name


@lru_cache(maxsize=1024)
def choose(
    geometry: Geometry,
    algorithm: str = "auto",
    *,
    backward: bool = False,
    transformed: bool = False,
    prepared: bool = False,
) -> str:
    """Return the name of the algorithm that computes a pass.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.
    algorithm : {"auto", "im2col", "banded", "winograd"}, default "auto"
        "auto" is the algorithm with the lowest cost among those that keep the error in bounds. "im2col" is a matrix
        product over gathered columns, and "banded" computes several outputs by each row of that product. "winograd"
        takes effect where a bilinear algorithm exists; other convolutions fall back to "im2col".
    backward : bool, default False
        Whether the pass computes all gradients. A pass for the weight's gradient alone costs about as much as a
        forward pass, and counts as one.
    transformed : bool, default False
        Whether the weight was transformed beforehand, as in a fused model.
    prepared : bool, default False
        Whether all else that does not depend on the data was prepared, too, as in the plan of a fused model.

    Returns
    -------
    {"im2col", "banded", "winograd", "depthwise"}

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
    if algorithm == "banded":
        return "banded"
    if algorithm != "auto":
        return "im2col"
    if backward:
        plan = best_plan(geometry)
        outputs, columns = plan.outputs, im2col_gradient_cost(geometry, plan)
    else:
        outputs = best_outputs(geometry, prepared=prepared)
        columns = im2col_cost(geometry, outputs, prepared=prepared)
    tiles = math.inf
    if bilinear:
        tiles = winograd_cost(geometry, backward=backward, transformed=transformed, prepared=prepared)
    if tiles < columns and _keeps_to_bound(geometry):
        return "winograd"
    return "im2col" if outputs == 1 else "banded"


def _keeps_to_bound(geometry: Geometry) -> bool:
    """Tell whether the best tile loses so few digits that cost may decide."""
    kernel, stride, channels = geometry.kernel, geometry.stride, geometry.channels
    tile = best_tile(kernel, stride, channels)
    return error_bound(kernel, stride, tile, channels) <= tuning.WINOGRAD.most_error
