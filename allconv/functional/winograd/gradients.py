r"""The gradient of the kernel, alone or together with the gradients of the input and the bias.

The chain of steps that computes dx from dy is transposed with respect to the kernel, as `winograd` explains. So dy is
the input of the chain, V = B^T dY B, and x stands where the upstream gradient of its output would: dM = A x A^T.
"""

import functools
from collections.abc import Iterator

import numpy as np

from allconv.functional import tuning
from allconv.functional.geometry import Geometry
from allconv.functional.winograd.kernels import transform_kernel, transform_kernel_adjoint
from allconv.functional.winograd.points import multiply_points, multiply_points_adjoint
from allconv.functional.winograd.tiling import TileBlock, Tiling, best_tile, gradient_tiling
from allconv.functional.winograd.transforms import (
    half_output,
    transform_input_horizontal,
    transform_input_vertical,
    transform_output_adjoint_horizontal,
    transform_output_adjoint_vertical,
    transform_output_horizontal,
    transform_output_vertical,
)
from allconv.functional.winograd.workspaces import BlockWorkspace, PointsWorkspace
from allconv.parallel.buffers import borrowed, empty
from allconv.parallel.reductions import column_sums
from allconv.parallel.threads import divided, run
from allconv.typing import Array


def weight_grad(x: Array, dy: Array, geometry: Geometry, *, tile: int | None = None) -> Array:
    """Return dL/dW alone.

    Parameters
    ----------
    x : array (N, H, W, C)
    dy : array (N, H_out, W_out, O)
        In the dtype of x.
    geometry : Geometry
        The sizes of the convolution, for which `tiling.applies` is true.
    tile : {4, 2}, optional
        m; by default the tile of `best_tile`.

    Returns
    -------
    array (kh, kw, C, O)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> x, dy = np.ones((1, 5, 5, 1)), np.ones((1, 3, 3, 1))
    >>> dw = weight_grad(x, dy, geometry_of(x.shape, (3, 3, 1, 1), (1, 1), "valid", (1, 1), 1))
    >>> np.allclose(dw, 9.0)
    True
    """
    tiling = gradient_tiling(geometry, tile or best_tile(geometry.kernel, geometry.stride), dy.dtype)
    x, dy = np.ascontiguousarray(x), np.ascontiguousarray(dy)
    partial_sums = _partial_sums(tiling, x, dy)

    def add_up(index: int) -> Array:
        kernel_grad = _empty_kernel_grad(tiling, x, dy)
        with borrowed(BlockWorkspace) as halves, borrowed(PointsWorkspace) as points:
            for position, block in enumerate(partial_sums[index]):
                for i, dy_tiles, half_x in _rows_of_points(tiling, block, x, dy, halves, points):
                    _weight_grad_points(tiling, dy_tiles, half_x, kernel_grad[i], position > 0, points)
        return kernel_grad

    return _to_weight(tiling, run(add_up, len(partial_sums)))


def grads(
    x: Array, dy: Array, weight: Array, geometry: Geometry, *, tile: int | None = None
) -> tuple[Array, Array, Array]:
    """Return dL/dx, dL/dW and dL/db, all from one transform of dy.

    Parameters
    ----------
    x : array (N, H, W, C)
    dy : array (N, H_out, W_out, O)
    weight : array (kh, kw, C, O)
        All three arrays have one dtype.
    geometry : Geometry
        The sizes of the convolution, for which `tiling.applies` is true.
    tile : {4, 2}, optional
        m; by default the tile of `best_tile`.

    Returns
    -------
    dx : array (N, H, W, C)
    dw : array (kh, kw, C, O)
    db : array (O,)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> x, dy, weight = np.ones((1, 5, 5, 1)), np.ones((1, 3, 3, 1)), np.ones((3, 3, 1, 1))
    >>> dx, dw, db = grads(x, dy, weight, geometry_of(x.shape, weight.shape, (1, 1), "valid", (1, 1), 1))
    >>> db
    array([9.])
    """
    tiling = gradient_tiling(geometry, tile or best_tile(geometry.kernel, geometry.stride), dy.dtype)
    x, dy, dx = np.ascontiguousarray(x), np.ascontiguousarray(dy), empty(x.shape, dy.dtype)
    kernel = transform_kernel(tiling.vertical, tiling.horizontal, weight.swapaxes(2, 3))
    partial_sums = _partial_sums(tiling, x, dy)

    def add_up(index: int) -> tuple[Array, Array]:
        kernel_grad, bias_grad = _empty_kernel_grad(tiling, x, dy), np.zeros(dy.shape[3], dy.dtype)
        with borrowed(BlockWorkspace) as halves, borrowed(PointsWorkspace) as points:
            for position, block in enumerate(partial_sums[index]):
                half_dx = half_output(tiling, block, dx.shape[3], dx.dtype, halves.half_output)
                for i, dy_tiles, half_x in _rows_of_points(tiling, block, x, dy, halves, points):
                    _input_grad_points(tiling, dy_tiles, kernel[i], half_dx.points[i], points)
                    _weight_grad_points(tiling, dy_tiles, half_x, kernel_grad[i], position > 0, points)
                transform_output_vertical(block, half_dx, dx)
                bias_grad += column_sums(dy[block.images, block.counted_rows].reshape(-1, dy.shape[3]))
        return kernel_grad, bias_grad

    kernel_grads, bias_grads = zip(*run(add_up, len(partial_sums)), strict=True)
    return dx, _to_weight(tiling, list(kernel_grads)), functools.reduce(np.add, bias_grads)


def _partial_sums(tiling: Tiling, x: Array, dy: Array) -> list[list[TileBlock]]:
    """Return the blocks of each partial sum of dU: fewer sums where one of them is large."""
    limits = tuning.WINOGRAD
    sum_bytes = tiling.vertical.points * tiling.horizontal.points * dy.shape[3] * x.shape[3] * dy.itemsize
    count = min(max(limits.sum_bytes // sum_bytes, limits.fewest_sums), tuning.PARTIAL_SUMS, len(tiling.blocks))
    return divided(tiling.blocks, count)


def _empty_kernel_grad(tiling: Tiling, x: Array, dy: Array) -> Array:
    """Return an uninitialized dU (a_h, a_w, O, C): the chain is that of dx, so dy is its input and x its output."""
    return empty((tiling.vertical.points, tiling.horizontal.points, dy.shape[3], x.shape[3]), dy.dtype)


def _to_weight(tiling: Tiling, kernel_grads: list[Array]) -> Array:
    """Return dW (kh, kw, C, O) for the partial sums (a_h, a_w, O, C) of dU."""
    dw = transform_kernel_adjoint(tiling.vertical, tiling.horizontal, kernel_grads).swapaxes(2, 3)
    return np.ascontiguousarray(dw)


def _rows_of_points(
    tiling: Tiling, block: TileBlock, x: Array, dy: Array, halves: BlockWorkspace, points: PointsWorkspace
) -> Iterator[tuple[int, Array, Array]]:
    """Yield each row i of the points of a block with the tiles V_i of dy (n, R, T, a_w, O), and (A x)_i.

    The tiles lie in the workspace, and last until the next row. (A x)_i has the shape (n, R, T, m_w, C).
    """
    half_dy = transform_input_vertical(tiling, block, dy, halves.half_input)
    half_x = transform_output_adjoint_vertical(tiling, block, x, halves.half_adjoint)
    for i in range(tiling.vertical.points):
        yield i, transform_input_horizontal(tiling, half_dy[i], points.input_tiles), half_x[i]


def _input_grad_points(tiling: Tiling, dy_tiles: Array, kernel: Array, half_dx: Array, points: PointsWorkspace) -> None:
    """Write row i of the points of dx, half_dx (n, R, T, m_w, C), for the transformed kernel U_i (a_w, O, C)."""
    dx_tiles = multiply_points(dy_tiles, kernel, points.output_tiles)
    transform_output_horizontal(tiling, dx_tiles, half_dx)


def _weight_grad_points(
    tiling: Tiling, dy_tiles: Array, half_x: Array, kernel_grad: Array, add: bool, points: PointsWorkspace
) -> None:
    """Write a block's dU_i to kernel_grad (a_w, O, C); with `add`, add it to the sum over other blocks there."""
    x_tiles = transform_output_adjoint_horizontal(tiling, half_x, points.output_tiles)
    if add:
        own = points.kernel_grad.array(kernel_grad.shape, kernel_grad.dtype)
        kernel_grad += multiply_points_adjoint(dy_tiles, x_tiles, out=own)
    else:
        multiply_points_adjoint(dy_tiles, x_tiles, out=kernel_grad)
