"""How a pass of im2col is cut into blocks: by the shapes alone, so that the order of sums is always the same."""

import math
from functools import lru_cache
from typing import NamedTuple

from allconv.functional import tuning
from allconv.functional.geometry import Geometry
from allconv.functional.rounding import ceil_div


class Block(NamedTuple):
    """A part of the output, whose columns are gathered and multiplied at once.

    A block is all rows of several images, or some rows of one image, or a piece of one wide row::

        several small images            one large image       one wide image
        +------+ +------+ +------+      +--------------+      +-----------------------+
        |######| |######| |      |      |              |      |                       |
        |######| |######| |      |      |##############|      |       ########        |
        |######| |######| |      |      |##############|      |                       |
        +------+ +------+ +------+      +--------------+      +-----------------------+

    Attributes
    ----------
    images : slice
    rows : slice
        Output rows.
    width : slice
        Output positions along each of these rows. The name `columns` means the matrix of gathered inputs here.
    """

    images: slice
    rows: slice
    width: slice


def cut_into_blocks(geometry: Geometry, itemsize: int) -> list[Block]:
    """Return the blocks of a pass, image by image, from top to bottom, and from left to right.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.
    itemsize : int
        Bytes of one number.

    Returns
    -------
    list of Block
        They hold every output once. The columns of each take at most ``tuning.IM2COL.column_bytes``, or those of
        ``tuning.IM2COL.least_piece`` positions where these take more. The list is shared by all calls.
    """
    return _cut_into_blocks(geometry, itemsize, tuning.IM2COL)


@lru_cache(maxsize=256)
def _cut_into_blocks(geometry: Geometry, itemsize: int, limits: tuning.Im2colTuning) -> list[Block]:
    images, (rows, width) = geometry.x_shape[0], geometry.out
    positions_that_fit = limits.column_bytes // (math.prod(geometry.kernel) * geometry.in_channels * itemsize)
    rows_that_fit = positions_that_fit // width
    if rows_that_fit == 0:
        return _pieces_of_rows(geometry, max(positions_that_fit, limits.least_piece))
    if rows_that_fit < rows or images == 1:
        return _parts_of_images(geometry, rows_that_fit)
    return _groups_of_images(geometry, rows_that_fit // rows)


def is_shared(geometry: Geometry) -> bool:
    """Tell whether a pass is long enough for several threads.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.

    Returns
    -------
    bool
    """
    return _work(geometry) >= tuning.IM2COL.least_shared_work


def _pieces_of_rows(geometry: Geometry, positions: int) -> list[Block]:
    """Cut each row into pieces of at most so many output positions."""
    images, (rows, width) = geometry.x_shape[0], geometry.out
    size = ceil_div(width, ceil_div(width, positions))
    return [
        Block(slice(image, image + 1), slice(row, row + 1), slice(start, min(start + size, width)))
        for image in range(images)
        for row in range(rows)
        for start in range(0, width, size)
    ]


def _parts_of_images(geometry: Geometry, rows_that_fit: int) -> list[Block]:
    """Cut each image into blocks of rows, a single image into as many as give several threads enough to do."""
    images, (rows, width) = geometry.x_shape[0], geometry.out
    parts = 1
    if images == 1:
        weight = math.prod(geometry.kernel) * geometry.in_channels * geometry.out_channels // geometry.groups
        least = tuning.IM2COL.least_part_work + tuning.IM2COL.weight_entry_work * weight
        parts = min(_work(geometry) // least, tuning.IM2COL.most_parts, rows)
    height = ceil_div(rows, max(ceil_div(rows, rows_that_fit), parts, 1))
    return [
        Block(slice(image, image + 1), slice(row, min(row + height, rows)), slice(0, width))
        for image in range(images)
        for row in range(0, rows, height)
    ]


def _groups_of_images(geometry: Geometry, images_that_fit: int) -> list[Block]:
    """Take whole images together: as many as fit, or fewer where threads would otherwise have nothing to do."""
    images, (rows, width) = geometry.x_shape[0], geometry.out
    wanted = min(_work(geometry) // tuning.IM2COL.least_block_work, tuning.PARTIAL_SUMS) if is_shared(geometry) else 1
    size = min(images_that_fit, ceil_div(images, wanted))
    return [Block(slice(i, min(i + size, images)), slice(0, rows), slice(0, width)) for i in range(0, images, size)]


def _work(geometry: Geometry) -> int:
    """Return the work of a pass, in multiply-adds of a matrix product."""
    entries = math.prod(geometry.y_shape[:3]) * math.prod(geometry.kernel) * geometry.in_channels
    return entries * (geometry.out_channels // geometry.groups + tuning.IM2COL.entry_work)
