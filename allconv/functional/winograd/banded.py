"""The vertical pass of the transforms: one small matrix, applied to every window of the rows of an image."""

import functools
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from allconv.functional import tuning
from allconv.functional.winograd.bilinear import Bilinear
from allconv.parallel.pool import slices
from allconv.typing import Array, Pair


def sliding_windows(x: Array, count: int, step: int, length: int) -> Array:
    """Return overlapping windows of an array, without a copy.

    Parameters
    ----------
    x : array (..., size, C)
    count : int
        The number of windows.
    step : int
        The distance from one window to the next.
    length : int
        The length of a window.

    Returns
    -------
    array (..., count, length, C)
        A view of x.

    Examples
    --------
    >>> sliding_windows(np.arange(6)[:, None], count=2, step=2, length=4)[..., 0]
    array([[0, 1, 2, 3],
           [2, 3, 4, 5]])
    """
    *lead, across, along = x.strides
    return as_strided(x, (*x.shape[:-2], count, length, x.shape[-1]), (*lead, step * across, across, along))


class _Run(NamedTuple):
    """Consecutive windows whose blocks are cut alike: all of the interior, or a few at an edge."""

    block: Array
    windows: int
    first_input: int
    first_output: int


class BandedMatrix:
    """A banded matrix: the same small block for each window of the input rows.

    With the 6 x 6 block B^T of F(4, 3), whose windows start 4 rows apart, from row -1 on::

                           input rows
                    -1  0  1  2  3  4  5  6  7  8
                   +------------------+
        rows 0-5   |      block       |
                   +-----------+------+-----------+
        rows 6-11              |      block       |
                               +------------------+
                     ^                          ^
            row -1 is padding:          row 8 is padding:
            the block loses its         the block loses its
            first column                last column

    Input rows outside the image are zero, so their columns are cut off: no padding is stored. Output rows beyond the
    end are cut off as well.

    Parameters
    ----------
    block : array (height, length)
    count : int
        The number of windows; window t goes to the output rows from t height on.
    step : int
        The distance from one window to the next.
    start : int
        The input row at which window 0 begins; negative with padding.
    size : pair of int
        The numbers of input and output rows.
    """

    def __init__(self, block: Array, count: int, step: int, start: int, size: Pair) -> None:
        height, length = block.shape

        def cut(window: int) -> tuple[int, int, int]:
            """Return the columns of the block that meet input rows, from first to stop, and the number of its rows."""
            source, target = start + window * step, window * height
            first = max(-source, 0)
            return first, max(min(size[0] - source, length), first), min(size[1] - target, height)

        self._step = step
        self._columns_of_product = tuning.WINOGRAD.small_product // block.size
        self._runs: list[_Run] = []
        for (first, stop, rows), group in groupby(range(count), cut):
            window, *more = group
            if rows > 0:
                source = start + window * step + first if first < stop else 0
                part = np.ascontiguousarray(block[:rows, first:stop])
                self._runs.append(_Run(part, 1 + len(more), source, window * height))

    def apply(self, x: Array, out: Array) -> None:
        """Multiply the rows of x by the matrix.

        Parameters
        ----------
        x : array (n, input rows, L)
            L numbers of a row, such as the pixels and channels of an image.
        out : array (n, output rows, L)
            Where the products go.
        """
        for block, count, first_input, first_output in self._runs:
            height, length = block.shape
            sources = sliding_windows(x[:, first_input:], count, self._step, length)
            targets = out[:, first_output : first_output + count * height]
            targets = targets.reshape(len(out), count, height, out.shape[2])
            for part in slices(x.shape[2], self._columns_of_product):
                np.matmul(block, sources[..., part], out=targets[..., part])


@dataclass(frozen=True)
class VerticalTransforms:
    """The vertical passes of a block of tile rows; transformed rows are in the order (tile row, point).

    Attributes
    ----------
    tile_rows : int
        R.
    input : BandedMatrix
        B^T, from input rows to R a transformed rows.
    output : BandedMatrix
        A^T, from R a transformed rows to output rows.
    output_adjoint : BandedMatrix
        A, from output rows to R a transformed rows.
    """

    tile_rows: int
    input: BandedMatrix
    output: BandedMatrix
    output_adjoint: BandedMatrix


@functools.lru_cache(maxsize=256)
def vertical_transforms(algorithm: Bilinear, tile_rows: int, size: Pair, start: int) -> VerticalTransforms:
    """Return the vertical passes of a block.

    Parameters
    ----------
    algorithm : Bilinear
        The algorithm of the vertical axis.
    tile_rows : int
        The number of tile rows of the block.
    size : pair of int
        The numbers of input rows and output rows of the block.
    start : int
        Where the window of the first tile row begins, counted from the block's first input row.

    Returns
    -------
    VerticalTransforms
    """
    points, outputs = algorithm.points, algorithm.outputs
    transformed = tile_rows * points
    a_t = algorithm.output_matrix
    return VerticalTransforms(
        tile_rows,
        input=BandedMatrix(algorithm.input_matrix, tile_rows, algorithm.step, start, (size[0], transformed)),
        output=BandedMatrix(a_t, tile_rows, points, 0, (transformed, size[1])),
        output_adjoint=BandedMatrix(a_t.T, tile_rows, outputs, 0, (size[1], transformed)),
    )
