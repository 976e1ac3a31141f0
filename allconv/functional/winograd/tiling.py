"""What `winograd` does for which sizes: the tile that it takes, and how it cuts a batch into blocks.

Everything here follows from the shapes alone, never from the number of workers or a clock, so that the results are the
same bits on any number of threads.
"""

import functools
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from allconv.functional import tuning
from allconv.functional.geometry import Geometry
from allconv.functional.rounding import ceil_div
from allconv.functional.winograd.banded import VerticalTransforms, vertical_transforms
from allconv.functional.winograd.bilinear import Bilinear, convolution, gradient
from allconv.functional.winograd.error import error_bound
from allconv.parallel.pool import slices
from allconv.typing import Pair


def applies(kernel: Pair, stride: Pair, dilation: Pair, groups: int) -> bool:
    """Tell whether there is a bilinear algorithm.

    Parameters
    ----------
    kernel, stride, dilation : pair of int
        (vertical, horizontal).
    groups : int

    Returns
    -------
    bool
        True for kernels from 3x3 to 7x7 with stride 1 or 2, dilation 1 and one group.

    Examples
    --------
    >>> applies((3, 3), (2, 2), (1, 1), 1), applies((1, 1), (1, 1), (1, 1), 1)
    (True, False)
    """
    plain = dilation == (1, 1) and groups == 1 and max(stride) <= 2
    return plain and min(kernel) >= 3 and max(kernel) <= 7


def best_tile(kernel: Pair, stride: Pair, channels: Pair) -> int:
    """Return the number of outputs of a tile along each axis.

    Parameters
    ----------
    kernel, stride : pair of int
        (vertical, horizontal).
    channels : pair of int
        (C, O).

    Returns
    -------
    {4, 2}
        4, or 2 where tiles of 4 outputs would lose more digits than ``tuning.WINOGRAD.most_error`` allows.

    Examples
    --------
    >>> best_tile((3, 3), (1, 1), (512, 512)), best_tile((5, 5), (1, 1), (512, 512))
    (4, 2)
    """
    return 4 if error_bound(kernel, stride, 4, channels) <= tuning.WINOGRAD.most_error else 2


def products_of_tile(kernel: Pair, stride: Pair, tile: int) -> int:
    """Return the number of products of a tile, a_h a_w.

    Parameters
    ----------
    kernel, stride : pair of int
        (vertical, horizontal).
    tile : {4, 2}
        The number of outputs of a tile along each axis.

    Returns
    -------
    int

    Examples
    --------
    >>> products_of_tile((3, 3), (1, 1), 4), products_of_tile((3, 3), (2, 2), 4)
    (36, 81)
    """
    return math.prod(s * (tile - 1) + r for r, s in zip(kernel, stride, strict=True))


@dataclass(frozen=True)
class TileBlock:
    """Some tile rows of some images: what one task computes.

    The windows of neighbouring tile rows overlap. So input rows that two blocks read are counted in the first one. For
    a 3x3 kernel with padding 1, an image of 8 rows, and two blocks of one tile row of 4 outputs each::

        row                       0 1 2 3 4 5 6 7
        block 0   input_rows      # # # # #          and a row of padding above
                  counted_rows    # # # # #
                  output_rows     # # # #
        block 1   input_rows            # # # # #    and a row of padding below
                  counted_rows              # # #
                  output_rows             # # # #

    Attributes
    ----------
    images : slice
        The images of the block.
    input_rows : slice
        The input rows that the block's windows cover.
    counted_rows : slice
        The input rows that are this block's where each row must be counted once, as in the bias gradient.
    output_rows : slice
        The output rows of the block.
    vertical : VerticalTransforms
        The vertical passes from these input rows to these output rows.
    """

    images: slice
    input_rows: slice
    counted_rows: slice
    output_rows: slice
    vertical: VerticalTransforms


@dataclass(frozen=True)
class Tiling:
    """A convolution cut into tiles and blocks of tiles.

    The tiles of the output lie side by side, the windows of the input overlap. Along one axis::

        input    |<---- window 0 ---->|
                             |<---- window 1 ---->|
        output      |  tile 0   |  tile 1   |

    Attributes
    ----------
    vertical, horizontal : Bilinear
        The algorithms of the two axes.
    out_size : pair of int
        (H_out, W_out).
    tile_columns : int
        T, the number of tiles side by side.
    blocks : list of TileBlock
        They hold every output row of every image once.
    """

    vertical: Bilinear
    horizontal: Bilinear
    out_size: Pair
    tile_columns: int
    blocks: list[TileBlock]

    def point_rows(self, block: TileBlock, channels: int, itemsize: int) -> list[slice]:
        """Return the rows of points in the groups that a block computes at once.

        Parameters
        ----------
        block : TileBlock
            The block of tiles.
        channels : int
            C + O.
        itemsize : int
            The bytes of a number.

        Returns
        -------
        list of slice
            Parts of ``range(a_h)``: several rows at once where the tiles of one row are small. Each call of NumPy then
            takes longer, and two threads wait less for Python's lock. It is one row where the pass is one block, whose
            rows the threads share.
        """
        tiles = (block.images.stop - block.images.start) * block.vertical.tile_rows * self.tile_columns
        row_bytes = tiles * self.horizontal.points * channels * itemsize
        most = 1 if len(self.blocks) == 1 else max(1, tuning.WINOGRAD.group_bytes // row_bytes)
        groups = ceil_div(self.vertical.points, most)
        return slices(self.vertical.points, ceil_div(self.vertical.points, groups))


@functools.lru_cache(maxsize=256)
def forward_tiling(geometry: Geometry, tile: int, dtype: np.dtype[Any]) -> Tiling:
    """Return the tiling that computes y from x.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.
    tile : int
        The number of outputs of a tile along each axis.
    dtype : numpy.dtype
        Of the matrices.

    Returns
    -------
    Tiling
    """
    vertical, horizontal = (
        convolution(tile, r, s, before, dtype)
        for r, s, (before, _) in zip(geometry.kernel, geometry.stride, geometry.pads, strict=True)
    )
    return _tiling(vertical, horizontal, geometry.x_shape, geometry.out)


@functools.lru_cache(maxsize=256)
def gradient_tiling(geometry: Geometry, tile: int, dtype: np.dtype[Any]) -> Tiling:
    """Return the tiling that computes dx from dy.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.
    tile : int
        A tile has as many outputs along each axis, times the stride.
    dtype : numpy.dtype
        Of the matrices.

    Returns
    -------
    Tiling
        Its input is dy, and its output dx.
    """
    vertical, horizontal = (
        gradient(tile, r, s, before, dtype)
        for r, s, (before, _) in zip(geometry.kernel, geometry.stride, geometry.pads, strict=True)
    )
    return _tiling(vertical, horizontal, geometry.y_shape, geometry.x_shape[1:3])


def _tiling(vertical: Bilinear, horizontal: Bilinear, shape: tuple[int, int, int, int], out_size: Pair) -> Tiling:
    """Return the tiling from an input of `shape` (N, H, W, C) to an output of `out_size` (H_out, W_out)."""
    images, height = shape[:2]
    tile_rows, tile_columns = ceil_div(out_size[0], vertical.outputs), ceil_div(out_size[1], horizontal.outputs)
    most_tiles = tuning.WINOGRAD.block_points // vertical.points
    blocks = []
    for group, bounds in _cut(images, tile_rows, tile_columns, most_tiles):
        counted = 0
        for first, stop in pairwise(bounds):
            above = vertical.start + vertical.step * first
            below = vertical.start + vertical.step * (stop - 1) + vertical.window
            input_rows = slice(min(max(above, 0), height), min(max(below, 0), height))
            counted_rows = slice(counted, input_rows.stop if stop < tile_rows else height)
            output_rows = slice(vertical.outputs * first, min(vertical.outputs * stop, out_size[0]))
            sizes = input_rows.stop - input_rows.start, output_rows.stop - output_rows.start
            transforms = vertical_transforms(vertical, stop - first, sizes, above - input_rows.start)
            blocks.append(TileBlock(group, input_rows, counted_rows, output_rows, transforms))
            counted = input_rows.stop
    return Tiling(vertical, horizontal, out_size, tile_columns, blocks)


def _cut(images: int, tile_rows: int, tile_columns: int, most_tiles: int) -> list[tuple[slice, list[int]]]:
    """Return groups of images, each with the bounds of its tile rows, for blocks of about `most_tiles` or fewer."""
    tiles, limits = images * tile_rows * tile_columns, tuning.WINOGRAD
    count = 1
    if tiles > limits.undivided_tiles:
        wanted = ceil_div(tiles, limits.block_multiple * most_tiles) * limits.block_multiple
        count = min(wanted, tiles // limits.fewest_tiles)
    groups = min(images, count)
    parts = min(ceil_div(count, images), tile_rows)
    bounds = [part * tile_rows // parts for part in range(parts + 1)]
    return [(slice(i * images // groups, (i + 1) * images // groups), bounds) for i in range(groups)]
