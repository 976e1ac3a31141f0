"""The three passes of im2col: the output, the weight's gradient and the input's gradient, block by block."""

import functools
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import attrgetter

import numpy as np

from allconv.functional import tuning
from allconv.functional.geometry import Geometry
from allconv.functional.im2col.blocks import Block, cut_into_blocks, is_shared
from allconv.functional.im2col.columns import (
    Im2colWorkspace,
    add_columns,
    gather_columns,
    is_pointwise,
    padded_size,
)
from allconv.functional.im2col.groups import (
    by_matrix,
    channels_of_matrix,
    diagonal_blocks,
    matrix_count,
    weight_matrices,
)
from allconv.functional.products import multiply, multiply_transposed
from allconv.parallel.buffers import borrowed, empty
from allconv.parallel.pool import divided, run
from allconv.typing import Array


def forward(
    x: Array,
    weight: Array,
    geometry: Geometry,
    bias: Array | None = None,
    activation: Callable[[Array], object] | None = None,
) -> Array:
    """Return Y = X W + b.

    Parameters
    ----------
    x : array (N, H, W, C)
    weight : array (kh, kw, C / groups, O)
    geometry : Geometry
        The sizes of the convolution.
    bias : array (O,), optional
    activation : callable, optional
        Called with each finished block (n, rows, columns, O) of the output, to overwrite it while it is in the cache.

    Returns
    -------
    array (N, H_out, W_out, O)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> x, weight = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1))
    >>> sizes = geometry_of(x.shape, weight.shape, (1, 1), "valid", (1, 1), 1)
    >>> forward(x, weight, sizes)[0, :, :, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    y = empty(geometry.y_shape, x.dtype)
    matrices = weight_matrices(weight, geometry)
    blocks = cut_into_blocks(geometry, x.itemsize)
    # O may be small, and NumPy adds long vectors faster: the bias is repeated along a whole row of the widest block.
    bias_row = None if bias is None else np.tile(bias, blocks[0].width.stop)

    def compute_block(index: int) -> None:
        part = y[blocks[index]]
        with borrowed(Im2colWorkspace) as workspace:
            columns = gather_columns(x, blocks[index], geometry, workspace)
            multiply(columns, matrices, out=by_matrix(part, geometry))
        if bias_row is not None:
            lines = part.reshape(*part.shape[:2], -1)
            lines += bias_row[: lines.shape[2]]
        if activation is not None:
            activation(part)

    run(compute_block, len(blocks), shared=is_shared(geometry))
    return y


def weight_grad(x: Array, dy: Array, geometry: Geometry) -> Array:
    """Return dW = X^T dY, the sum over the blocks in a fixed order.

    Parameters
    ----------
    x : array (N, H, W, C)
    dy : array (N, H_out, W_out, O)
    geometry : Geometry
        The sizes of the convolution.

    Returns
    -------
    array (kh, kw, C / groups, O)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> x, dy = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((1, 2, 2, 1))
    >>> weight_grad(x, dy, geometry_of(x.shape, (2, 2, 1, 1), (1, 1), "valid", (1, 1), 1))[:, :, 0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    blocks = cut_into_blocks(geometry, x.itemsize)
    partial_sums = divided(blocks, min(tuning.PARTIAL_SUMS, len(blocks)))
    inputs, outputs = channels_of_matrix(geometry)

    def add_up(index: int) -> Array:
        with borrowed(Im2colWorkspace) as workspace:
            return _summed(
                multiply_transposed(gather_columns(x, block, geometry, workspace), by_matrix(dy[block], geometry))
                for block in partial_sums[index]
            )

    total = functools.reduce(np.add, run(add_up, len(partial_sums), shared=is_shared(geometry)))
    if geometry.groups == 1:
        return total.reshape(*geometry.kernel, inputs, outputs)
    dw = empty((*geometry.kernel, geometry.in_channels // geometry.groups, geometry.out_channels), x.dtype)
    for own, diagonal in diagonal_blocks(dw, total, geometry):
        own[...] = diagonal
    return dw


def output_and_weight_grad(x: Array, weight: Array, dy: Array, geometry: Geometry) -> tuple[Array, Array]:
    """Return Y = X W without a bias, and dW = X^T dY, from the same columns; for one group.

    Parameters
    ----------
    x : array (N, H, W, C)
    weight : array (kh, kw, C, O)
    dy : array (N, H_out, W_out, O)
    geometry : Geometry
        The sizes of the convolution.

    Returns
    -------
    y : array (N, H_out, W_out, O)
    dw : array (kh, kw, C, O)
    """
    y = empty(geometry.y_shape, x.dtype)
    matrices = weight_matrices(weight, geometry)
    blocks = cut_into_blocks(geometry, x.itemsize)
    partial_sums = divided(blocks, min(tuning.PARTIAL_SUMS, len(blocks)))

    def products(block: Block, workspace: Im2colWorkspace) -> Array:
        columns = gather_columns(x, block, geometry, workspace)
        multiply(columns, matrices, out=by_matrix(y[block], geometry))
        return multiply_transposed(columns, by_matrix(dy[block], geometry))

    def add_up(index: int) -> Array:
        with borrowed(Im2colWorkspace) as workspace:
            return _summed(products(block, workspace) for block in partial_sums[index])

    total = functools.reduce(np.add, run(add_up, len(partial_sums), shared=is_shared(geometry)))
    return y, total.reshape(weight.shape)


def _summed(products: Iterator[Array]) -> Array:
    """Return the sum of the products in their order, in the memory of the first."""
    total = next(products)
    for product in products:
        total += product
    return total


def input_grad(dy: Array, weight: Array, geometry: Geometry) -> Array:
    """Return dX: each row of dY W^T added back to the inputs that its window covered.

    Parameters
    ----------
    dy : array (N, H_out, W_out, O)
    weight : array (kh, kw, C / groups, O)
    geometry : Geometry
        The sizes of the convolution.

    Returns
    -------
    array (N, H, W, C)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> dy, weight = np.ones((1, 2, 2, 1)), np.ones((2, 2, 1, 1))
    >>> input_grad(dy, weight, geometry_of((1, 3, 3, 1), weight.shape, (1, 1), "valid", (1, 1), 1))[0, :, :, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    dx = empty(geometry.x_shape, dy.dtype)
    transposed = np.ascontiguousarray(weight_matrices(weight, geometry).swapaxes(1, 2))
    blocks = cut_into_blocks(geometry, dy.itemsize)
    # Windows of neighbouring blocks of one image overlap, so one task goes through all blocks of its images.
    by_images = [list(group) for _, group in groupby(blocks, key=attrgetter("images.start"))]

    def compute_images(index: int) -> None:
        images = by_images[index][0].images
        if is_pointwise(geometry):
            multiply(dy[images].reshape(-1, dy.shape[3]), transposed[0], out=dx[images].reshape(-1, dx.shape[3]))
        else:
            with borrowed(Im2colWorkspace) as workspace:
                _input_grad_of_images(dx[images], dy, transposed, by_images[index], geometry, workspace)

    run(compute_images, len(by_images), shared=is_shared(geometry))
    return dx


def _input_grad_of_images(
    dx: Array, dy: Array, transposed: Array, blocks: list[Block], geometry: Geometry, workspace: Im2colWorkspace
) -> None:
    """Write dx (n, H, W, C) of the images that the blocks share; `transposed` is W^T for each product."""
    (count, height, width, channels), ((top, _), (left, _)) = dx.shape, geometry.pads
    is_padded = padded_size(geometry) != (height, width)
    padded = workspace.padded.array((count, *padded_size(geometry), channels), dx.dtype) if is_padded else dx
    padded[...] = 0
    for block in blocks:
        gradients = by_matrix(dy[block], geometry)
        columns = workspace.columns.array((matrix_count(geometry), gradients.shape[1], transposed.shape[2]), dx.dtype)
        multiply(gradients, transposed, out=columns)
        add_columns(padded, columns, block, geometry)
    if is_padded:
        dx[...] = padded[:, top : top + height, left : left + width]
