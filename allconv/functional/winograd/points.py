"""The products at each point, M_ij = V_ij U_ij and dU_ij = V_ij^T dM_ij: most of the work of a pass."""

import functools

import numpy as np

from allconv.functional import tuning
from allconv.typing import Array


def multiply_points(input_tiles: Array, kernel: Array, output_tiles: Array) -> None:
    """Write M_i = V_i U_i: at each point, the product of a matrix (tiles, C) with a matrix (C, O).

    Parameters
    ----------
    input_tiles : array (n, R, T, a_w, C)
        V_i.
    kernel : array (a_w, C, O)
        U_i.
    output_tiles : array (n, R, T, a_w, O)
        M_i, which is written.
    """
    _multiply_in_pieces(_by_point(input_tiles), kernel, _by_point(output_tiles))


def multiply_points_adjoint(input_tiles: Array, output_tiles: Array, kernel_grad: Array) -> None:
    """Write dU_i = V_i^T dM_i, the sum over the tiles of a block.

    Parameters
    ----------
    input_tiles : array (n, R, T, a_w, C)
        V_i.
    output_tiles : array (n, R, T, a_w, O)
        dM_i.
    kernel_grad : array (a_w, C, O)
        dU_i, which is written.
    """
    _multiply_in_pieces(_by_point(input_tiles).swapaxes(1, 2), _by_point(output_tiles), kernel_grad)


def _by_point(tiles: Array) -> Array:
    """Return a view of transformed tiles (n, R, T, a, C) as (a, n R T, C): one matrix for each point."""
    return tiles.reshape(-1, *tiles.shape[3:]).swapaxes(0, 1)


def _multiply_in_pieces(left: Array, right: Array, out: Array) -> None:
    """Compute out = left @ right for each point, in pieces so small that BLAS takes the operands without packing."""
    (points, rows, inner), columns = left.shape, right.shape[2]
    height = min(rows, tuning.WINOGRAD.piece_rows)
    width = _piece_columns(columns, tuning.WINOGRAD.small_product // (height * inner))
    if not width:
        np.matmul(left, right, out=out)
        return
    whole = rows // height * height
    np.matmul(
        left[:, :whole].reshape(points, -1, 1, height, inner),
        right.reshape(points, 1, inner, -1, width).swapaxes(2, 3),
        out=out[:, :whole].reshape(points, -1, height, columns // width, width).swapaxes(2, 3),
    )
    if whole < rows:
        np.matmul(left[:, whole:], right, out=out[:, whole:])


@functools.cache
def _piece_columns(columns: int, most: int) -> int:
    """Return the largest divisor of `columns` that is at most `most`, or 0 where it would be too narrow."""
    least = tuning.WINOGRAD.least_piece_columns
    return next((width for width in range(min(columns, most), least - 1, -1) if columns % width == 0), 0)
