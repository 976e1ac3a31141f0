"""From images to columns, and from gradients of columns back to images.

For a 2x2 kernel, each output position has a row of four inputs::

    input        columns
    a b c        a b d e
    d e f   ->   b c e f
    g h i        d e g h
                 e f h i
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import as_strided

from allconv.functional.geometry import Geometry
from allconv.functional.im2col.groups import matrix_count
from allconv.parallel.buffers import Scratch
from allconv.typing import Array, Pair


@dataclass
class Im2colWorkspace:
    """The memory that a task of im2col uses again for each block."""

    padded: Scratch = field(default_factory=Scratch)  # the images of a block within their padding
    columns: Scratch = field(default_factory=Scratch)  # the columns of a block, or their gradients


def is_pointwise(geometry: Geometry) -> bool:
    """Tell whether the columns are the input itself: for a 1x1 convolution with stride 1 and without padding.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.

    Returns
    -------
    bool
    """
    unit = geometry.kernel == geometry.stride == (1, 1) and geometry.groups == 1
    return unit and geometry.pads == ((0, 0), (0, 0))


def gather_columns(x: Array, rows: slice, geometry: Geometry, workspace: Im2colWorkspace) -> Array:
    """Return the columns of some output rows.

    Parameters
    ----------
    x : array (n, H, W, C)
        The images of a block.
    rows : slice
        The output rows of the block.
    geometry : Geometry
        The sizes of the convolution.
    workspace : Im2colWorkspace
        The memory for the result.

    Returns
    -------
    array (products, P, kh kw C / products)
        In the memory of the workspace; of a pointwise convolution, a view of x.
    """
    if is_pointwise(geometry):
        return x[:, rows].reshape(1, -1, x.shape[3])
    groups, (kh, kw), (sh, sw), (dh, dw) = matrix_count(geometry), geometry.kernel, geometry.stride, geometry.dilation
    padded = _pad_rows(x, rows, geometry, workspace)
    # Each b is the number of bytes from one image, row, column or channel to the next.
    (n, _, _, channels), (bn, bh, bw, bc) = padded.shape, padded.strides
    count, width = rows.stop - rows.start, geometry.out[1]
    if channels == 1:
        # With one channel the rows of the image are longer than the rows of the kernel. So the columns are copied
        # transposed, one row for each tap.
        taps = (kh, kw, n, count, width), (dh * bh, dw * bw, bn, sh * bh, sw * bw)
        return _copied(padded, *taps, workspace).reshape(1, kh * kw, -1).swapaxes(1, 2)
    patches = (groups, n, count, width, kh, kw, channels // groups)
    strides = (channels // groups * bc, bn, sh * bh, sw * bw, dh * bh, dw * bw, bc)
    return _copied(padded, patches, strides, workspace).reshape(groups, n * count * width, -1)


def _copied(padded: Array, shape: tuple[int, ...], strides: tuple[int, ...], workspace: Im2colWorkspace) -> Array:
    """Return a copy of overlapping patches of the padded images."""
    columns = workspace.columns.array(shape, padded.dtype)
    columns[...] = as_strided(padded, shape, strides, writeable=False)
    return columns


def padded_size(geometry: Geometry) -> Pair:
    """Return the height and the width of an image with its padding.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.

    Returns
    -------
    pair of int
    """
    (_, height, width, _), (vertical, horizontal) = geometry.x_shape, geometry.pads
    return height + sum(vertical), width + sum(horizontal)


def _pad_rows(x: Array, rows: slice, geometry: Geometry, workspace: Im2colWorkspace) -> Array:
    """Return the padded input rows that the windows of the output `rows` cover."""
    (n, height, width, channels), ((top, _), (left, _)) = x.shape, geometry.pads
    (sh, _), (dh, _), (kh, _) = geometry.stride, geometry.dilation, geometry.kernel
    start, stop = rows.start * sh - top, (rows.stop - 1) * sh - top + dh * (kh - 1) + 1
    inside = slice(min(max(start, 0), height), max(min(stop, height), 0))
    if geometry.pads == ((0, 0), (0, 0)):
        return x[:, inside]
    padded = workspace.padded.array((n, stop - start, padded_size(geometry)[1], channels), x.dtype)
    above = max(inside.start - start, 0)
    below = above + inside.stop - inside.start
    padded[:, :above] = 0
    padded[:, below:] = 0
    padded[:, above:below, :left] = 0
    padded[:, above:below, left + width :] = 0
    padded[:, above:below, left : left + width] = x[:, inside]
    return padded


def add_columns(padded: Array, columns: Array, rows: slice, geometry: Geometry) -> None:
    """Add the columns of some output rows to the inputs that they came from.

    Parameters
    ----------
    padded : array (n, H_padded, W_padded, C)
        The images with their padding, to which the columns are added.
    columns : array (products, P, kh kw C / products)
    rows : slice
        The output rows.
    geometry : Geometry
        The sizes of the convolution.

    Notes
    -----
    Neighbouring windows of a row overlap, and an addition over overlapping views would lose terms. So every p-th window
    is added at a time, with p so large that these do not overlap. The taps of one window row lie side by side.
    """
    groups, (kh, kw), (sh, sw), (dh, dw) = matrix_count(geometry), geometry.kernel, geometry.stride, geometry.dilation
    (n, _, _, channels), (bn, bh, bw, bc) = padded.shape, padded.strides  # bytes, as in gather_columns
    count, width, c = rows.stop - rows.start, geometry.out[1], channels // groups
    patches = columns.reshape(groups, n, count, width, kh, kw, c)
    apart = min((kw - 1) * dw // sw + 1, width)
    for i, first in np.ndindex(kh, apart):
        part = patches[:, :, :, first::apart, i]
        target = as_strided(
            padded[:, rows.start * sh + i * dh :, first * sw :],
            part.shape,
            (c * bc, bn, sh * bh, apart * sw * bw, dw * bw, bc),
        )
        target += part
