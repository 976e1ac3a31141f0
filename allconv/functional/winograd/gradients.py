r"""The gradient of the kernel, alone or together with the gradients of the input and the bias.

The chain of steps that computes dx from dy is transposed with respect to the kernel, as `winograd` explains. So dy is
the input of the chain, V = B^T dY B, and x stands where the upstream gradient of its output would: dM = A x A^T.
"""

from collections.abc import Callable

import numpy as np

from allconv.functional import tuning
from allconv.functional.geometry import Geometry
from allconv.functional.winograd.kernels import transform_kernel, transform_kernel_adjoint
from allconv.functional.winograd.points import multiply_points, multiply_points_adjoint
from allconv.functional.winograd.tiling import TileBlock, Tiling, best_tile, gradient_tiling
from allconv.functional.winograd.transforms import (
    empty_half_output,
    empty_tiles,
    transform_input_horizontal,
    transform_input_vertical,
    transform_output_adjoint_horizontal,
    transform_output_adjoint_vertical,
    transform_output_horizontal,
    transform_output_vertical,
)
from allconv.functional.winograd.workspaces import BlockWorkspace, PointsWorkspace
from allconv.parallel.buffers import borrowed, empty
from allconv.parallel.pool import divided, run
from allconv.parallel.reductions import slice_sum
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
    tiling = gradient_tiling(geometry, tile or best_tile(geometry.kernel, geometry.stride, geometry.channels), dy.dtype)
    x, dy = np.ascontiguousarray(x), np.ascontiguousarray(dy)
    partial_sums = _partial_sums(tiling, x, dy)

    def add_up(index: int) -> Array:
        kernel_grad = _empty_kernel_grad(tiling, x, dy)
        with borrowed(BlockWorkspace) as halves, borrowed(PointsWorkspace) as points:
            for position, block in enumerate(partial_sums[index]):
                gradients = _BlockGradients(tiling, block, x, dy, halves, points)
                for rows in gradients.point_rows:
                    gradients.transform_dy(rows)
                    gradients.weight_grad(rows, kernel_grad[rows], add=position > 0)
        return kernel_grad

    return _to_weight(tiling, run(add_up, len(partial_sums)))


def grads(
    x: Array,
    dy: Array,
    weight: Array,
    geometry: Geometry,
    *,
    tile: int | None = None,
    with_bias: bool = True,
    activation_gradient: Callable[[Array, tuple[slice, ...]], object] | None = None,
) -> tuple[Array, Array, Array | None]:
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
    with_bias : bool, default True
        Whether to compute dL/db.
    activation_gradient : callable, optional
        Called with each finished block (n, rows, W, C) of dL/dx and with its place, to overwrite it while it is in the
        cache.

    Returns
    -------
    dx : array (N, H, W, C)
    dw : array (kh, kw, C, O)
    db : array (O,) or None

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> x, dy, weight = np.ones((1, 5, 5, 1)), np.ones((1, 3, 3, 1)), np.ones((3, 3, 1, 1))
    >>> dx, dw, db = grads(x, dy, weight, geometry_of(x.shape, weight.shape, (1, 1), "valid", (1, 1), 1))
    >>> dx.shape, np.allclose(dw, 9.0), db
    ((1, 5, 5, 1), True, array([9.]))
    """
    tiling = gradient_tiling(geometry, tile or best_tile(geometry.kernel, geometry.stride, geometry.channels), dy.dtype)
    x, dy, dx = np.ascontiguousarray(x), np.ascontiguousarray(dy), empty(x.shape, dy.dtype)
    kernel = transform_kernel(tiling.vertical, tiling.horizontal, weight.swapaxes(2, 3))
    partial_sums = _partial_sums(tiling, x, dy)

    def add_up(index: int) -> tuple[Array, Array]:
        kernel_grad, bias_grad = _empty_kernel_grad(tiling, x, dy), np.zeros(dy.shape[3])
        with borrowed(BlockWorkspace) as halves, borrowed(PointsWorkspace) as points:
            for position, block in enumerate(partial_sums[index]):
                half_dx = empty_half_output(tiling, block, dx.shape[3], dx.dtype, halves.half_output)
                gradients = _BlockGradients(tiling, block, x, dy, halves, points)
                for rows in gradients.point_rows:
                    gradients.transform_dy(rows)
                    gradients.input_grad(kernel[rows], half_dx.points[rows])
                    gradients.weight_grad(rows, kernel_grad[rows], add=position > 0)
                transform_output_vertical(block, half_dx, dx)
                if activation_gradient is not None:
                    place = (block.images, block.output_rows)
                    activation_gradient(dx[place], place)
                if with_bias:
                    bias_grad += slice_sum(dy[block.images, block.counted_rows].reshape(-1, dy.shape[3]))
        return kernel_grad, bias_grad

    kernel_grads, bias_grads = zip(*run(add_up, len(partial_sums)), strict=True)
    db = np.sum(bias_grads, axis=0).astype(dy.dtype) if with_bias else None
    return dx, _to_weight(tiling, list(kernel_grads)), db


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


class _BlockGradients:
    """The gradients of one block, a few rows i of points after the others.

    The vertical passes of both inputs are done at the beginning. One array holds the tiles of x and those of dx, since
    neither is needed beyond its step.
    """

    def __init__(
        self, tiling: Tiling, block: TileBlock, x: Array, dy: Array, halves: BlockWorkspace, points: PointsWorkspace
    ) -> None:
        self._tiling = tiling
        self._half_dy = transform_input_vertical(tiling, block, dy, halves.half_input)
        self._half_x = transform_output_adjoint_vertical(tiling, block, x, halves.half_adjoint)
        self.point_rows = tiling.point_rows(block, x.shape[3] + dy.shape[3], dy.itemsize)
        most = self.point_rows[0].stop
        self._dy_tiles = empty_tiles(tiling, block, most, dy.shape[3], dy.dtype, points.input_tiles)
        self._x_tiles = empty_tiles(tiling, block, most, x.shape[3], x.dtype, points.output_tiles)
        self._kernel_grad = points.kernel_grad

    def transform_dy(self, rows: slice) -> None:
        """Transform these rows of dy, which both gradients need: V_i (r, n, R, T, a_w, O)."""
        transform_input_horizontal(self._tiling, self._half_dy[rows], self._dy_tiles[: rows.stop - rows.start])

    def input_grad(self, kernel: Array, half_dx: Array) -> None:
        """Write these rows of half_dx (r, n, R, T, m_w, C), for the transformed kernel U_i (r, a_w, O, C)."""
        dy_tiles, dx_tiles = self._dy_tiles[: len(kernel)], self._x_tiles[: len(kernel)]
        multiply_points(dy_tiles, kernel, dx_tiles)
        transform_output_horizontal(self._tiling, dx_tiles, half_dx)

    def weight_grad(self, rows: slice, kernel_grad: Array, *, add: bool) -> None:
        """Write dU_i of the block to kernel_grad (r, a_w, O, C); with `add`, add it to the sum of others there."""
        dy_tiles, x_tiles = self._dy_tiles[: len(kernel_grad)], self._x_tiles[: len(kernel_grad)]
        transform_output_adjoint_horizontal(self._tiling, self._half_x[rows], x_tiles)
        if add:
            own = self._kernel_grad.array(kernel_grad.shape, kernel_grad.dtype)
            multiply_points_adjoint(dy_tiles, x_tiles, own)
            kernel_grad += own
        else:
            multiply_points_adjoint(dy_tiles, x_tiles, kernel_grad)
