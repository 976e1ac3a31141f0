"""The output from the input, and dx from dy: both are the same steps, with the matrices of another tiling."""

from collections.abc import Callable

import numpy as np

from allconv.functional.geometry import Geometry
from allconv.functional.winograd.bilinear import POINT_ONE, convolution
from allconv.functional.winograd.kernels import transform_kernel
from allconv.functional.winograd.points import multiply_points
from allconv.functional.winograd.tiling import Tiling, best_tile, forward_tiling, gradient_tiling
from allconv.functional.winograd.transforms import (
    empty_half_output,
    empty_tiles,
    transform_input_horizontal,
    transform_input_vertical,
    transform_output_horizontal,
    transform_output_vertical,
)
from allconv.functional.winograd.workspaces import BlockWorkspace, PointsWorkspace
from allconv.parallel.buffers import borrowed, empty
from allconv.parallel.pool import get_num_threads, run
from allconv.typing import Array, Pair


def forward(
    x: Array,
    weight: Array,
    geometry: Geometry,
    bias: Array | None = None,
    *,
    tile: int | None = None,
    transformed: Array | None = None,
    activation: Callable[[Array], object] | None = None,
) -> Array:
    """Return the output Y = A^T M A, plus the bias.

    Parameters
    ----------
    x : array (N, H, W, C)
        In the dtype of the weight, float32 or float64.
    weight : array (kh, kw, C, O)
    geometry : Geometry
        The sizes of the convolution, for which `tiling.applies` is true.
    bias : array (O,), optional
    tile : {4, 2}, optional
        m; by default the tile of `best_tile`. For 3x3 kernels with stride 1, a tile of 4 takes 2.25 products an
        output. A tile of 2 takes 4 products, and rounds less. The definition takes 9.
    transformed : array (a_h, a_w, C, O), optional
        ``transform_weight(weight, stride, tile=tile)``, where one weight serves many calls.
    activation : callable, optional
        Called with each finished block (n, rows, W_out, O) of the output, to overwrite it while it is in the cache.

    Returns
    -------
    array (N, H_out, W_out, O)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> x, weight = np.ones((1, 5, 5, 1)), np.ones((3, 3, 1, 1))
    >>> y = forward(x, weight, geometry_of(x.shape, weight.shape, (1, 1), "valid", (1, 1), 1))
    >>> np.allclose(y, 9.0)
    True
    """
    tiling = forward_tiling(geometry, tile or best_tile(geometry.kernel, geometry.stride, geometry.channels), x.dtype)
    if transformed is None:
        transformed = transform_kernel(tiling.vertical, tiling.horizontal, weight)
    return _convolve(tiling, x, transformed, bias, activation)


def input_grad(dy: Array, weight: Array, geometry: Geometry, *, tile: int | None = None) -> Array:
    """Return dL/dx alone.

    Parameters
    ----------
    dy : array (N, H_out, W_out, O)
        In the dtype of the weight.
    weight : array (kh, kw, C, O)
    geometry : Geometry
        The sizes of the convolution, for which `tiling.applies` is true.
    tile : {4, 2}, optional
        m; by default the tile of `best_tile`.

    Returns
    -------
    array (N, H, W, C)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> dy, weight = np.ones((1, 3, 3, 1)), np.ones((3, 3, 1, 1))
    >>> dx = input_grad(dy, weight, geometry_of((1, 5, 5, 1), weight.shape, (1, 1), "valid", (1, 1), 1))
    >>> dx[0, :, :, 0].round()
    array([[1., 2., 3., 2., 1.],
           [2., 4., 6., 4., 2.],
           [3., 6., 9., 6., 3.],
           [2., 4., 6., 4., 2.],
           [1., 2., 3., 2., 1.]])
    """
    tiling = gradient_tiling(geometry, tile or best_tile(geometry.kernel, geometry.stride, geometry.channels), dy.dtype)
    return _convolve(tiling, dy, transform_kernel(tiling.vertical, tiling.horizontal, weight.swapaxes(2, 3)))


def transform_weight(weight: Array, stride: Pair = (1, 1), *, tile: int | None = None) -> Array:
    """Return `transform_kernel` of a weight, U = G g G^T, for `forward` with that stride and tile.

    Parameters
    ----------
    weight : array (kh, kw, C, O)
    stride : pair of int, default (1, 1)
    tile : {4, 2}, optional
        m; by default the tile of `best_tile`.

    Returns
    -------
    array (a_h, a_w, C, O)

    Examples
    --------
    >>> transform_weight(np.ones((3, 3, 16, 32), np.float32)).shape
    (6, 6, 16, 32)
    """
    kernel = (weight.shape[0], weight.shape[1])
    tile = tile or best_tile(kernel, stride, (weight.shape[2], weight.shape[3]))
    vertical, horizontal = (convolution(tile, r, s, 0, weight.dtype) for r, s in zip(kernel, stride, strict=True))
    return transform_kernel(vertical, horizontal, weight)


def _convolve(
    tiling: Tiling,
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    activation: Callable[[Array], object] | None = None,
) -> Array:
    """Return Y (N, H_out, W_out, O) for x (N, H, W, C) and the transformed kernel U (a_h, a_w, C, O)."""
    x, y = np.ascontiguousarray(x), empty((len(x), *tiling.out_size, kernel.shape[3]), x.dtype)

    def compute_block(index: int) -> None:
        block = tiling.blocks[index]
        with borrowed(BlockWorkspace) as halves:
            half_input = transform_input_vertical(tiling, block, x, halves.half_input)
            half_y = empty_half_output(tiling, block, y.shape[3], y.dtype, halves.half_output)
            groups = tiling.point_rows(block, x.shape[3] + y.shape[3], x.itemsize)
            remaining = iter(groups)

            def compute_points(_: int) -> None:
                with borrowed(PointsWorkspace) as points:
                    input_tiles = empty_tiles(tiling, block, groups[0].stop, x.shape[3], x.dtype, points.input_tiles)
                    output_tiles = empty_tiles(tiling, block, groups[0].stop, y.shape[3], y.dtype, points.output_tiles)
                    for rows in remaining:
                        count = rows.stop - rows.start
                        transform_input_horizontal(tiling, half_input[rows], input_tiles[:count])
                        multiply_points(input_tiles[:count], kernel[rows], output_tiles[:count])
                        if bias is not None and rows.start <= POINT_ONE < rows.stop:
                            # In A^T M A each output has the value at the points (1, 1) once.
                            output_tiles[POINT_ONE - rows.start, ..., POINT_ONE, :] += bias
                        transform_output_horizontal(tiling, output_tiles[:count], half_y.points[rows])

            # Where there is one block only, each thread takes the next row of points until none is left. No row
            # depends on another one, so the bits do not depend on who computes it, or on how many come together.
            run(compute_points, get_num_threads() if len(tiling.blocks) == 1 else 1)
            transform_output_vertical(block, half_y, y)
        if activation is not None:
            activation(y[block.images, block.output_rows])

    run(compute_block, len(tiling.blocks))
    return y
