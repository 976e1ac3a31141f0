r"""Convolution as a matrix product: any kernel, stride, padding, dilation and groups.

The inputs under the window at each output position form one row of a matrix, the columns
:math:`X \in R^{P \times k_h k_w C}` (P output positions); the weights are a matrix
:math:`W \in R^{k_h k_w C \times O}`. Then

.. math:: Y = X W, \qquad dW = X^\top dY, \qquad dX = dY\, W^\top,

where the last one is added back to the positions that the columns came from. The columns repeat each input up to
:math:`k_h k_w` times, so they are never built as a whole: a block of output rows of one or a few images at a time,
small enough that the columns are still in the cache when the product reads them. A 1x1 convolution with stride 1 has
its input for columns, and is one product. With groups, each group is a product of its own.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from allconv.functional.padding import Pads, output_size
from allconv.functional.threads import run, scratch
from allconv.validation import Array, Pair

_COLUMN_BYTES = 1 << 21  # of one block: what a core's share of the cache still holds when the product reads it
_SUMS = 8  # partial sums of a weight gradient: enough for all cores, and a number that does not depend on them


@dataclass(frozen=True)
class Geometry:
    """The sizes of one convolution: what is the same for forward and both gradients."""

    x_shape: tuple[int, int, int, int]  # (N, H, W, C)
    kernel: Pair
    out_channels: int
    stride: Pair
    pads: Pads
    dilation: Pair
    groups: int

    @property
    def out(self) -> Pair:
        """(H_out, W_out)."""
        return output_size(self.x_shape[1:3], self.pads, self.kernel, self.stride, self.dilation)

    @property
    def y_shape(self) -> tuple[int, int, int, int]:
        """The output's shape (N, H_out, W_out, O)."""
        return (self.x_shape[0], *self.out, self.out_channels)

    @property
    def is_pointwise(self) -> bool:
        """Whether the columns are the input itself."""
        return self.kernel == (1, 1) and self.stride == (1, 1) and self.pads == ((0, 0), (0, 0)) and self.groups == 1

    def blocks(self, itemsize: int) -> list[tuple[slice, slice]]:
        """Return (images, output rows) of each block, image by image; chosen from the shapes alone."""
        n, _, _, channels = self.x_shape
        rows, columns = self.out
        bytes_per_row = columns * self.kernel[0] * self.kernel[1] * channels * itemsize
        fit = max(1, _COLUMN_BYTES // bytes_per_row)  # output rows
        if fit < rows:
            parts = -(-rows // fit)
            size = -(-rows // parts)
            return [(slice(i, i + 1), slice(r, min(r + size, rows))) for i in range(n) for r in range(0, rows, size)]
        images = min(fit // rows, -(-n // _SUMS))
        return [(slice(i, min(i + images, n)), slice(0, rows)) for i in range(0, n, images)]


def forward(x: Array, weight: Array, geometry: Geometry) -> Array:
    """Return y (N, H_out, W_out, O) = X W for x (N, H, W, C) and weight (kh, kw, C / groups, O)."""
    y = np.empty(geometry.y_shape, x.dtype)
    matrices = _weight_matrices(weight, geometry.groups)
    blocks = geometry.blocks(x.itemsize)

    def task(index: int) -> None:
        images, rows = blocks[index]
        np.matmul(_columns(x[images], rows, geometry), matrices, out=_by_group(y[images, rows], geometry.groups))

    run(task, len(blocks))
    return y


def weight_grad(x: Array, dy: Array, geometry: Geometry) -> Array:
    """Return dW (kh, kw, C / groups, O) = X^T dY, summed over the blocks in a fixed order."""
    blocks = geometry.blocks(x.itemsize)
    sums = min(_SUMS, len(blocks))
    groups, out = geometry.groups, geometry.out_channels // geometry.groups

    def task(index: int) -> Array:
        total = np.zeros((groups, (geometry.x_shape[3] // groups) * math.prod(geometry.kernel), out), x.dtype)
        for images, rows in blocks[index * len(blocks) // sums : (index + 1) * len(blocks) // sums]:
            columns = _columns(x[images], rows, geometry)
            total += np.matmul(columns.swapaxes(1, 2), _by_group(dy[images, rows], groups))
        return total

    total = functools.reduce(np.add, run(task, sums))
    return np.moveaxis(total.reshape(groups, *geometry.kernel, -1, out), 0, 3).reshape(
        *geometry.kernel, -1, groups * out
    )


def input_grad(dy: Array, weight: Array, geometry: Geometry) -> Array:
    """Return dx (N, H, W, C): each row of dY W^T added back to the inputs that its window covered."""
    dx = np.empty(geometry.x_shape, dy.dtype)
    transposed = np.ascontiguousarray(_weight_matrices(weight, geometry.groups).swapaxes(1, 2))
    blocks = geometry.blocks(dy.itemsize)
    # Windows of neighbouring blocks of one image overlap, so one worker goes through all blocks of its images.
    starts = [k for k, (images, _) in enumerate(blocks) if k == 0 or images != blocks[k - 1][0]] + [len(blocks)]

    def task(index: int) -> None:
        images = blocks[starts[index]][0]
        if geometry.is_pointwise:
            np.matmul(dy[images].reshape(-1, dy.shape[3]), transposed[0], out=dx[images].reshape(-1, dx.shape[3]))
            return
        (top, _), (left, _) = geometry.pads
        (_, height, width, channels), count = dx.shape, images.stop - images.start
        padded = scratch("padded", (count, *_padded_size(geometry), channels), dy.dtype)
        padded[...] = 0
        for _, rows in blocks[starts[index] : starts[index + 1]]:
            gradients = _by_group(dy[images, rows], geometry.groups)
            columns = scratch("columns", (geometry.groups, gradients.shape[1], transposed.shape[2]), dy.dtype)
            _add_columns(padded, np.matmul(gradients, transposed, out=columns), rows, geometry)
        dx[images] = padded[:, top : top + height, left : left + width]

    run(task, len(starts) - 1)
    return dx


def _weight_matrices(weight: Array, groups: int) -> Array:
    """Return the weights (kh, kw, C / G, O) as one matrix a group, (G, kh kw C / G, O / G)."""
    matrix = weight.reshape(-1, groups, weight.shape[3] // groups)
    return np.ascontiguousarray(matrix.swapaxes(0, 1))


def _by_group(block: Array, groups: int) -> Array:
    """Return a view of a block (n, rows, columns, O) as one matrix a group, (G, P, O / G)."""
    return block.reshape(-1, groups, block.shape[3] // groups).swapaxes(0, 1)


def _padded_size(geometry: Geometry) -> Pair:
    (_, height, width, _), (vertical, horizontal) = geometry.x_shape, geometry.pads
    return height + sum(vertical), width + sum(horizontal)


def _columns(x: Array, rows: slice, geometry: Geometry) -> Array:
    """Return the columns (G, P, kh kw C / G) of some output `rows` of the images x."""
    if geometry.is_pointwise:
        return x[:, rows].reshape(1, -1, x.shape[3])
    groups, (kh, kw), (sh, sw), (dh, dw) = geometry.groups, geometry.kernel, geometry.stride, geometry.dilation
    padded = _pad_rows(x, rows, geometry)
    (n, _, _, channels), (bn, bh, bw, bc) = padded.shape, padded.strides
    count, width = rows.stop - rows.start, geometry.out[1]
    windows = as_strided(
        padded,
        (groups, n, count, width, kh, kw, channels // groups),
        (channels // groups * bc, bn, sh * bh, sw * bw, dh * bh, dw * bw, bc),
        writeable=False,
    )
    columns = scratch("columns", windows.shape, x.dtype)
    columns[...] = windows
    return columns.reshape(groups, n * count * width, -1)


def _pad_rows(x: Array, rows: slice, geometry: Geometry) -> Array:
    """Return the padded input rows that the windows of the output `rows` cover."""
    (n, height, width, channels), ((top, _), (left, _)) = x.shape, geometry.pads
    (sh, _), (dh, _), (kh, _) = geometry.stride, geometry.dilation, geometry.kernel
    start, stop = rows.start * sh - top, (rows.stop - 1) * sh - top + dh * (kh - 1) + 1
    inside = slice(max(start, 0), max(min(stop, height), 0))
    if geometry.pads == ((0, 0), (0, 0)):
        return x[:, inside]
    padded = scratch("padded", (n, stop - start, _padded_size(geometry)[1], channels), x.dtype)
    above, below = inside.start - start, inside.stop - start
    padded[:, :above] = 0
    padded[:, below:] = 0
    padded[:, above:below, :left] = 0
    padded[:, above:below, left + width :] = 0
    padded[:, above:below, left : left + width] = x[:, inside]
    return padded


def _add_columns(padded: Array, columns: Array, rows: slice, geometry: Geometry) -> None:
    """Add columns (G, P, kh kw C / G) of some output `rows` to the padded input positions that they came from."""
    groups, (kh, kw), (sh, sw), (dh, dw) = geometry.groups, geometry.kernel, geometry.stride, geometry.dilation
    (n, _, _, channels), count, width = padded.shape, rows.stop - rows.start, geometry.out[1]
    windows = columns.reshape(groups, n, count, width, kh, kw, channels // groups)
    grouped: Array = padded.reshape(*padded.shape[:3], groups, channels // groups)
    for i in range(kh):
        for j in range(kw):
            top, left = rows.start * sh + i * dh, j * dw
            target = grouped[:, top : top + (count - 1) * sh + 1 : sh, left : left + (width - 1) * sw + 1 : sw]
            target += np.moveaxis(windows[..., i, j, :], 0, 3)
