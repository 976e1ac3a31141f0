"""The weights of im2col as matrices, one for each product.

With groups, each group is a product of its own. Narrow groups would make narrow products, which are slow. So a few
groups are merged into a product of up to 32 channels, whose matrix is block-diagonal. It has more multiplications, and
is faster. With four groups merged into two products, the weights W of the groups stand as::

    product 0:  | W0  0  |    product 1:  | W2  0  |
                | 0   W1 |                | 0   W3 |
"""

import math
from collections.abc import Iterator

import numpy as np

from allconv.functional import tuning
from allconv.functional.geometry import Geometry
from allconv.typing import Array


def matrix_count(geometry: Geometry) -> int:
    """Return the number of matrix products into which the channels fall.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.

    Returns
    -------
    int
        1 without groups.
    """
    return geometry.groups // _merged_groups(geometry)


def _merged_groups(geometry: Geometry) -> int:
    """Return how many groups one product takes together."""
    groups, narrow = geometry.groups, max(geometry.in_channels, geometry.out_channels) // geometry.groups
    return max(
        merged
        for merged in range(1, groups + 1)
        if groups % merged == 0 and (merged == 1 or merged * narrow <= tuning.IM2COL.wide_channels)
    )


def weight_matrices(weight: Array, geometry: Geometry) -> Array:
    """Return the weights as one matrix for each product.

    Parameters
    ----------
    weight : array (kh, kw, C / groups, O)
    geometry : Geometry
        The sizes of the convolution.

    Returns
    -------
    array (products, kh kw C / products, O / products)
        Block-diagonal where a product merges groups; without groups a view of the weight.
    """
    if geometry.groups == 1:
        return weight.reshape(1, -1, weight.shape[3])
    inputs, outputs = channels_of_matrix(geometry)
    matrices = np.zeros((matrix_count(geometry), math.prod(geometry.kernel) * inputs, outputs), weight.dtype)
    for own, diagonal in diagonal_blocks(weight, matrices, geometry):
        diagonal[...] = own
    return matrices


def channels_of_matrix(geometry: Geometry) -> tuple[int, int]:
    """Return the numbers of input and output channels of each product."""
    return geometry.in_channels // matrix_count(geometry), geometry.out_channels // matrix_count(geometry)


def diagonal_blocks(weight: Array, matrices: Array, geometry: Geometry) -> Iterator[tuple[Array, Array]]:
    """Yield the weights of the groups, and the place of each in the matrices.

    Parameters
    ----------
    weight : array (kh, kw, C / groups, O)
    matrices : array (products, kh kw C / products, O / products)
    geometry : Geometry
        The sizes of the convolution.

    Yields
    ------
    own, diagonal : array (products, kh, kw, C / groups, O / groups)
        Views of `weight` and of `matrices`: first of each product's first group, then of the second, and so on.
    """
    merged, (kh, kw) = _merged_groups(geometry), geometry.kernel
    inputs, outputs = weight.shape[2], weight.shape[3] // geometry.groups
    by_group = weight.reshape(kh, kw, inputs, matrix_count(geometry), merged, outputs)
    blocks = matrices.reshape(matrix_count(geometry), kh, kw, merged, inputs, merged, outputs)
    for k in range(merged):
        yield np.moveaxis(by_group[..., k, :], 3, 0), blocks[:, :, :, k, :, k]


def by_matrix(block: Array, geometry: Geometry) -> Array:
    """Return a view of a block of outputs as one matrix for each product.

    Parameters
    ----------
    block : array (n, rows, columns, O)
    geometry : Geometry
        The sizes of the convolution.

    Returns
    -------
    array (products, P, O / products)
        P is n rows columns.
    """
    count = matrix_count(geometry)
    return block.reshape(-1, count, block.shape[3] // count).swapaxes(0, 1)
