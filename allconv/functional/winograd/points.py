"""The products at each point, M_ij = V_ij U_ij and dU_ij = V_ij^T dM_ij: most of the work of a pass."""

import numpy as np

from allconv.functional.winograd.pieces import pieces
from allconv.typing import Array


def multiply_points(input_tiles: Array, kernel: Array, output_tiles: Array) -> None:
    """Write M_i = V_i U_i: at each point, the product of a matrix (tiles, C) with a matrix (C, O).

    Parameters
    ----------
    input_tiles : array (r, n, R, T, a_w, C)
        V_i for r rows i of points.
    kernel : array (r, a_w, C, O)
        U_i.
    output_tiles : array (r, n, R, T, a_w, O)
        M_i, which is written.
    """
    _multiply_in_pieces(_by_point(input_tiles), kernel, _by_point(output_tiles))


def multiply_points_adjoint(input_tiles: Array, output_tiles: Array, kernel_grad: Array) -> None:
    """Write dU_i = V_i^T dM_i, the sum over the tiles of a block.

    Parameters
    ----------
    input_tiles : array (r, n, R, T, a_w, C)
        V_i for r rows i of points.
    output_tiles : array (r, n, R, T, a_w, O)
        dM_i.
    kernel_grad : array (r, a_w, C, O)
        dU_i, which is written.
    """
    _multiply_in_pieces(_by_point(input_tiles).swapaxes(2, 3), _by_point(output_tiles), kernel_grad)


def _by_point(tiles: Array) -> Array:
    """Return a view of transformed tiles (r, n, R, T, a, C) as (r, a, n R T, C): one matrix for each point."""
    return tiles.reshape(len(tiles), -1, *tiles.shape[4:]).swapaxes(1, 2)


def _multiply_in_pieces(left: Array, right: Array, out: Array) -> None:
    for left_pieces, right_pieces, products in pieces(left, right, out):
        np.matmul(left_pieces, right_pieces, out=products)
