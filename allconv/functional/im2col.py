r"""Convolution as a matrix product: any kernel, stride, padding, dilation and groups.

The inputs under the window at each output position form one row of a matrix, the columns
:math:`X \in R^{P \times k_h k_w C}` (P output positions); the weights are a matrix
:math:`W \in R^{k_h k_w C \times O}`. Then

.. math:: Y = X W, \qquad dW = X^\top dY, \qquad dX = dY\, W^\top,

where the last one is added back to the positions that the columns came from. The columns repeat each input up to
:math:`k_h k_w` times, so they are never built as a whole: a block of output rows of one or a few images at a time,
small enough that the columns are still in the cache when the product reads them. A 1x1 convolution with stride 1 has
its input for columns, and is one product.

With groups, each group is a product of its own. Narrow groups would make narrow products, which are slow, so a few are
merged into a block of up to 32 channels, whose weight matrix is block-diagonal: more multiplications, and faster.
"""

import functools
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.lib.stride_tricks import as_strided

from allconv.functional.geometry import Geometry
from allconv.parallel.buffers import empty, scratch
from allconv.parallel.threads import divided, run
from allconv.typing import Array, Pair

_COLUMN_BYTES = 1 << 21  # of one block: what a core's share of the cache still holds when the product reads it
_WIDTH = 32  # channels of a group from which a product is not narrow
_LEAST_WORK = 4_000_000  # of a block, in multiply-adds (100 us): a dozen calls of NumPy should not weigh
_ENTRY_COST = 13  # multiply-adds that pass while a column entry is gathered
_SHARED_WORK = 20_000_000  # of a pass: below, its short calls make two threads wait for each other
_PARTS, _LEAST_PART = 4, 1_500_000  # of a single image, and multiply-adds of one beside its reading of the weight
_WEIGHT_COST = 25  # multiply-adds that pass while an entry of the weight is read
_SUMS = 8  # partial sums of a weight gradient: enough for all cores, and a number that does not depend on them


def forward(
    x: Array,
    weight: Array,
    geometry: Geometry,
    bias: Array | None = None,
    activation: Callable[[Array], object] | None = None,
) -> Array:
    """Return y (N, H_out, W_out, O) = X W + b for x (N, H, W, C), weight (kh, kw, C / groups, O) and bias (O,).

    `activation` is called with each finished block of y, to overwrite it while it is in the cache.
    """
    y = empty(geometry.y_shape, x.dtype)
    matrices = _weight_matrices(weight, geometry)
    blocks = blocks_of(geometry, x.itemsize)
    bias_row = None if bias is None else np.tile(bias, geometry.out[1])  # a long vector, where O may be a short one

    def task(index: int) -> None:
        images, rows = blocks[index]
        block = y[images, rows]
        np.matmul(_columns(x[images], rows, geometry), matrices, out=_by_product(block, geometry))
        if bias_row is not None:
            lines = block.reshape(*block.shape[:2], -1)
            lines += bias_row
        if activation is not None:
            activation(block)

    run(task, len(blocks), shared=_is_shared(geometry))
    return y


def weight_grad(x: Array, dy: Array, geometry: Geometry) -> Array:
    """Return dW (kh, kw, C / groups, O) = X^T dY, summed over the blocks in a fixed order."""
    blocks = blocks_of(geometry, x.itemsize)
    sums = divided(blocks, min(_SUMS, len(blocks)))
    inputs, outputs = geometry.in_channels // _products(geometry), geometry.out_channels // _products(geometry)

    def task(index: int) -> Array:
        total = np.zeros((_products(geometry), inputs * math.prod(geometry.kernel), outputs), x.dtype)
        for images, rows in sums[index]:
            columns = _columns(x[images], rows, geometry)
            total += np.matmul(columns.swapaxes(1, 2), _by_product(dy[images, rows], geometry))
        return total

    total = functools.reduce(np.add, run(task, len(sums), shared=_is_shared(geometry)))
    if geometry.groups == 1:
        return total.reshape(*geometry.kernel, inputs, outputs)
    dw = empty((*geometry.kernel, geometry.in_channels // geometry.groups, geometry.out_channels), x.dtype)
    for own, diagonal in _diagonal_blocks(dw, total, geometry):
        own[...] = diagonal
    return dw


def input_grad(dy: Array, weight: Array, geometry: Geometry) -> Array:
    """Return dx (N, H, W, C): each row of dY W^T added back to the inputs that its window covered."""
    dx = empty(geometry.x_shape, dy.dtype)
    transposed = np.ascontiguousarray(_weight_matrices(weight, geometry).swapaxes(1, 2))
    blocks = blocks_of(geometry, dy.itemsize)
    # Windows of neighbouring blocks of one image overlap, so one worker goes through all blocks of its images.
    starts = [k for k, (images, _) in enumerate(blocks) if k == 0 or images != blocks[k - 1][0]] + [len(blocks)]

    def task(index: int) -> None:
        images = blocks[starts[index]][0]
        if _is_pointwise(geometry):
            np.matmul(dy[images].reshape(-1, dy.shape[3]), transposed[0], out=dx[images].reshape(-1, dx.shape[3]))
            return
        (top, _), (left, _) = geometry.pads
        (_, height, width, channels), count = dx.shape, images.stop - images.start
        padded = scratch("padded", (count, *_padded_size(geometry), channels), dy.dtype)
        padded[...] = 0
        for _, rows in blocks[starts[index] : starts[index + 1]]:
            gradients = _by_product(dy[images, rows], geometry)
            columns = scratch("columns", (_products(geometry), gradients.shape[1], transposed.shape[2]), dy.dtype)
            _add_columns(padded, np.matmul(gradients, transposed, out=columns), rows, geometry)
        dx[images] = padded[:, top : top + height, left : left + width]

    run(task, len(starts) - 1, shared=_is_shared(geometry))
    return dx


def blocks_of(geometry: Geometry, itemsize: int) -> list[tuple[slice, slice]]:
    """Return (images, output rows) of each block, image by image; chosen from the shapes alone."""
    n, (rows, columns) = geometry.x_shape[0], geometry.out
    row = columns * math.prod(geometry.kernel) * geometry.in_channels  # entries of the columns of an output row
    fit = max(1, _COLUMN_BYTES // (row * itemsize))  # output rows
    work = _work(geometry)
    if fit < rows or n == 1:
        weight = math.prod(geometry.kernel) * geometry.in_channels * geometry.out_channels // geometry.groups
        parts = work // (_LEAST_PART + _WEIGHT_COST * weight) if n == 1 else 1
        size = -(-rows // max(-(-rows // fit), min(parts, _PARTS, rows), 1))
        return [(slice(i, i + 1), slice(r, min(r + size, rows))) for i in range(n) for r in range(0, rows, size)]
    images = min(fit // rows, -(-n // min(max(work // _LEAST_WORK, 1), _SUMS)))
    return [(slice(i, min(i + images, n)), slice(0, rows)) for i in range(0, n, images)]


def _work(geometry: Geometry) -> int:
    """Return what a pass costs, in multiply-adds."""
    entries = math.prod(geometry.y_shape[:3]) * math.prod(geometry.kernel) * geometry.in_channels
    return entries * (geometry.out_channels // geometry.groups + _ENTRY_COST)


def _is_shared(geometry: Geometry) -> bool:
    return _work(geometry) >= _SHARED_WORK


def _merged(geometry: Geometry) -> int:
    """Return how many groups are taken together in one product."""
    groups, narrow = geometry.groups, max(geometry.in_channels, geometry.out_channels) // geometry.groups
    return max(d for d in range(1, groups + 1) if groups % d == 0 and (d == 1 or d * narrow <= _WIDTH))


def _products(geometry: Geometry) -> int:
    """Return into how many products the channels fall."""
    return geometry.groups // _merged(geometry)


def _is_pointwise(geometry: Geometry) -> bool:
    """Tell whether the columns are the input itself."""
    unit = geometry.kernel == geometry.stride == (1, 1) and geometry.groups == 1
    return unit and geometry.pads == ((0, 0), (0, 0))


def _weight_matrices(weight: Array, geometry: Geometry) -> Array:
    """Return the weights as one matrix a product, block-diagonal where it merges groups."""
    if geometry.groups == 1:
        return weight.reshape(1, -1, weight.shape[3])
    inputs, outputs = geometry.in_channels // _products(geometry), geometry.out_channels // _products(geometry)
    matrices = np.zeros((_products(geometry), math.prod(geometry.kernel) * inputs, outputs), weight.dtype)
    for own, diagonal in _diagonal_blocks(weight, matrices, geometry):
        diagonal[...] = own
    return matrices


def _diagonal_blocks(weight: Array, matrices: Array, geometry: Geometry) -> Iterator[tuple[Array, Array]]:
    """Yield the groups' weights, and where they stand in the matrices: views (products, kh, kw, C / G, O / G)."""
    merged, (kh, kw) = _merged(geometry), geometry.kernel
    inputs, outputs = weight.shape[2], weight.shape[3] // geometry.groups
    by_group = weight.reshape(kh, kw, inputs, _products(geometry), merged, outputs)
    blocks = matrices.reshape(_products(geometry), kh, kw, merged, inputs, merged, outputs)
    for k in range(merged):
        yield np.moveaxis(by_group[..., k, :], 3, 0), blocks[:, :, :, k, :, k]


def _by_product(block: Array, geometry: Geometry) -> Array:
    """Return a view of a block (n, rows, columns, O) as one matrix a product, (products, P, O / products)."""
    return block.reshape(-1, _products(geometry), block.shape[3] // _products(geometry)).swapaxes(0, 1)


def _padded_size(geometry: Geometry) -> Pair:
    (_, height, width, _), (vertical, horizontal) = geometry.x_shape, geometry.pads
    return height + sum(vertical), width + sum(horizontal)


def _columns(x: Array, rows: slice, geometry: Geometry) -> Array:
    """Return the columns (products, P, kh kw C / products) of some output `rows` of the images x."""
    if _is_pointwise(geometry):
        return x[:, rows].reshape(1, -1, x.shape[3])
    groups, (kh, kw), (sh, sw), (dh, dw) = _products(geometry), geometry.kernel, geometry.stride, geometry.dilation
    padded = _pad_rows(x, rows, geometry)
    (n, _, _, channels), (bn, bh, bw, bc) = padded.shape, padded.strides
    count, width = rows.stop - rows.start, geometry.out[1]
    if channels == 1:  # a tap a row, and the columns transposed: rows of the image are longer than rows of the kernel
        taps = (kh, kw, n, count, width), (dh * bh, dw * bw, bn, sh * bh, sw * bw)
        return _copied(padded, *taps).reshape(1, kh * kw, -1).swapaxes(1, 2)
    windows = (groups, n, count, width, kh, kw, channels // groups)
    strides = (channels // groups * bc, bn, sh * bh, sw * bw, dh * bh, dw * bw, bc)
    return _copied(padded, windows, strides).reshape(groups, n * count * width, -1)


def _copied(padded: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """Return a copy of overlapping windows, in scratch memory."""
    columns = scratch("columns", shape, padded.dtype)
    columns[...] = as_strided(padded, shape, strides, writeable=False)
    return columns


def _pad_rows(x: Array, rows: slice, geometry: Geometry) -> Array:
    """Return the padded input rows that the windows of the output `rows` cover."""
    (n, height, width, channels), ((top, _), (left, _)) = x.shape, geometry.pads
    (sh, _), (dh, _), (kh, _) = geometry.stride, geometry.dilation, geometry.kernel
    start, stop = rows.start * sh - top, (rows.stop - 1) * sh - top + dh * (kh - 1) + 1
    inside = slice(min(max(start, 0), height), max(min(stop, height), 0))
    if geometry.pads == ((0, 0), (0, 0)):
        return x[:, inside]
    padded = scratch("padded", (n, stop - start, _padded_size(geometry)[1], channels), x.dtype)
    above = max(inside.start - start, 0)
    below = above + inside.stop - inside.start
    padded[:, :above] = 0
    padded[:, below:] = 0
    padded[:, above:below, :left] = 0
    padded[:, above:below, left + width :] = 0
    padded[:, above:below, left : left + width] = x[:, inside]
    return padded


def _add_columns(padded: Array, columns: Array, rows: slice, geometry: Geometry) -> None:
    """Add columns (products, P, kh kw C / products) of some output `rows` to the inputs that they came from.

    Of one row, every p-th window at a time: those do not overlap, and their taps lie side by side.
    """
    groups, (kh, kw), (sh, sw), (dh, dw) = _products(geometry), geometry.kernel, geometry.stride, geometry.dilation
    (n, _, _, channels), (bn, bh, bw, bc) = padded.shape, padded.strides
    count, width, c = rows.stop - rows.start, geometry.out[1], channels // groups
    windows = columns.reshape(groups, n, count, width, kh, kw, c)
    apart = min((kw - 1) * dw // sw + 1, width)
    for i, first in np.ndindex(kh, apart):
        part = windows[:, :, :, first::apart, i]
        target = as_strided(
            padded[:, rows.start * sh + i * dh :, first * sw :],
            part.shape,
            (c * bc, bn, sh * bh, apart * sw * bw, dw * bw, bc),
        )
        target += part
