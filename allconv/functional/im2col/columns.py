"""From images to columns, and from gradients of columns back to images.

For a 2x2 kernel, each output position has a row of four inputs::

    input        columns
    a b c        a b d e
    d e f   ->   b c e f
    g h i        d e g h
                 e f h i
"""

from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

from numpy.lib.stride_tricks import as_strided

from allconv.functional.geometry import Geometry
from allconv.functional.im2col.blocks import Block
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


def gather_columns(x: Array, block: Block, geometry: Geometry, workspace: Im2colWorkspace) -> Array:
    """Return the columns of a block of outputs.

    Parameters
    ----------
    x : array (N, H, W, C)
    block : Block
        The outputs.
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
        return x[block].reshape(1, -1, x.shape[3])
    windows = _windows(_padded_windows(x, block, geometry, workspace), block, geometry)
    groups, n, rows, width, kh, kw, channels = windows.shape
    if channels == groups == 1 and width > kw:
        # With one channel the rows of the image are longer than the rows of the kernel. So the columns are copied
        # transposed, one row for each tap.
        taps = _copied(windows.transpose(0, 4, 5, 6, 1, 2, 3), workspace)
        return taps.reshape(1, kh * kw, -1).swapaxes(1, 2)
    return _copied(windows, workspace).reshape(groups, n * rows * width, -1)


def _copied(windows: Array, workspace: Im2colWorkspace) -> Array:
    """Return a copy of the windows."""
    columns = workspace.columns.array(windows.shape, windows.dtype)
    columns[...] = windows
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


def _padded_windows(x: Array, block: Block, geometry: Geometry, workspace: Im2colWorkspace) -> Array:
    """Return the inputs (n, rows, columns, C) that the windows of a block cover, padding included."""
    rows, columns = _covered(block.rows, geometry, axis=0), _covered(block.width, geometry, axis=1)
    images = x[block.images, rows.inside, columns.inside]
    if geometry.pads == ((0, 0), (0, 0)):
        return images
    padded = workspace.padded.array((len(images), rows.size, columns.size, x.shape[3]), x.dtype)
    above, left = rows.before, columns.before
    below, right = above + images.shape[1], left + images.shape[2]
    padded[:, :above] = 0
    padded[:, below:] = 0
    padded[:, above:below, :left] = 0
    padded[:, above:below, right:] = 0
    padded[:, above:below, left:right] = images
    return padded


class _Covered(NamedTuple):
    """The samples of one axis that some windows cover.

    Attributes
    ----------
    size : int
        The number of samples, padding included.
    before : int
        How many of them are padding before the image.
    inside : slice
        Those of the image.
    """

    size: int
    before: int
    inside: slice


def _covered(outputs: slice, geometry: Geometry, axis: int) -> _Covered:
    """Return what the windows of some outputs cover along an axis."""
    size, stride, before = geometry.x_shape[1 + axis], geometry.stride[axis], geometry.pads[axis][0]
    start = outputs.start * stride - before
    stop = (outputs.stop - 1) * stride - before + geometry.dilation[axis] * (geometry.kernel[axis] - 1) + 1
    inside = slice(min(max(start, 0), size), max(min(stop, size), 0))
    return _Covered(stop - start, max(inside.start - start, 0), inside)


def add_columns(padded: Array, columns: Array, block: Block, geometry: Geometry) -> None:
    """Add the columns of a block of outputs to the inputs that they came from.

    Parameters
    ----------
    padded : array (n, H_padded, W_padded, C)
        The images of the block with their padding, to which the columns are added.
    columns : array (products, P, kh kw C / products)
    block : Block
        The outputs.
    geometry : Geometry
        The sizes of the convolution.

    Notes
    -----
    Neighbouring windows of a row overlap, and an addition over overlapping views would lose terms. So every p-th window
    is added at a time, with p so large that these do not overlap. The taps of one window row lie side by side.
    """
    (sh, sw), kw, dw = geometry.stride, geometry.kernel[1], geometry.dilation[1]
    windows = _windows(padded[:, block.rows.start * sh :, block.width.start * sw :], block, geometry, writeable=True)
    patches = columns.reshape(windows.shape)
    apart = min((kw - 1) * dw // sw + 1, windows.shape[3])
    for i, first in product(range(geometry.kernel[0]), range(apart)):
        target = windows[:, :, :, first::apart, i]
        target += patches[:, :, :, first::apart, i]


def _windows(padded: Array, block: Block, geometry: Geometry, *, writeable: bool = False) -> Array:
    """Return the windows of a block as a view (products, n, rows, columns, kh, kw, C / products) that overlaps itself.

    Parameters
    ----------
    padded : array (n, H', W', C)
        Padded inputs, of which the first row and column belong to the block's first window.
    block : Block
        The outputs.
    geometry : Geometry
        The sizes of the convolution.
    writeable : bool, default False
    """
    groups, (kh, kw), (sh, sw), (dh, dw) = matrix_count(geometry), geometry.kernel, geometry.stride, geometry.dilation
    # Each b is the number of bytes from one image, row, column or channel to the next.
    (n, _, _, channels), (bn, bh, bw, bc) = padded.shape, padded.strides
    (rows, width), c = (part.stop - part.start for part in (block.rows, block.width)), channels // groups
    strides = (c * bc, bn, sh * bh, sw * bw, dh * bh, dw * bw, bc)
    return as_strided(padded, (groups, n, rows, width, kh, kw, c), strides, writeable=writeable)
