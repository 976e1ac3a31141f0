"""How a pass of im2col is cut into blocks: by the shapes alone, so that the order of sums is always the same."""

import math
from typing import NamedTuple

from allconv.functional import tuning
from allconv.functional.geometry import Geometry
from allconv.functional.rounding import ceil_div


class RowBlock(NamedTuple):
    """Some output rows of some images, whose columns are gathered and multiplied at once.

    A block is either all rows of several images, or some rows of one image::

        several small images            one large image
        +------+ +------+ +------+      +--------------+
        |######| |######| |      |      |              |
        |######| |######| |      |      |##############| rows.start
        |######| |######| |      |      |##############| rows.stop
        +------+ +------+ +------+      +--------------+
    """

    images: slice
    rows: slice


def cut_into_blocks(geometry: Geometry, itemsize: int) -> list[RowBlock]:
    """Return the blocks of a pass, image by image and from top to bottom.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.
    itemsize : int
        Bytes of one number.

    Returns
    -------
    list of RowBlock
        They hold every output row once.
    """
    images, (rows, columns) = geometry.x_shape[0], geometry.out
    entries_of_row = columns * math.prod(geometry.kernel) * geometry.in_channels
    rows_that_fit = max(1, tuning.IM2COL.column_bytes // (entries_of_row * itemsize))
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


def _parts_of_images(geometry: Geometry, rows_that_fit: int) -> list[RowBlock]:
    """Cut each image into blocks of rows, a single image into as many as give several threads enough to do."""
    images, rows = geometry.x_shape[0], geometry.out[0]
    parts = 1
    if images == 1:
        weight = math.prod(geometry.kernel) * geometry.in_channels * geometry.out_channels // geometry.groups
        least = tuning.IM2COL.least_part_work + tuning.IM2COL.weight_entry_work * weight
        parts = min(_work(geometry) // least, tuning.IM2COL.most_parts, rows)
    height = ceil_div(rows, max(ceil_div(rows, rows_that_fit), parts, 1))
    return [
        RowBlock(slice(image, image + 1), slice(row, min(row + height, rows)))
        for image in range(images)
        for row in range(0, rows, height)
    ]


def _groups_of_images(geometry: Geometry, images_that_fit: int) -> list[RowBlock]:
    """Take whole images together: as many as fit, or fewer where threads would otherwise have nothing to do."""
    images, rows = geometry.x_shape[0], geometry.out[0]
    wanted = min(max(_work(geometry) // tuning.IM2COL.least_block_work, 1), tuning.PARTIAL_SUMS)
    size = min(images_that_fit, ceil_div(images, wanted))
    return [RowBlock(slice(i, min(i + size, images)), slice(0, rows)) for i in range(0, images, size)]


def _work(geometry: Geometry) -> int:
    """Return the work of a pass, in multiply-adds of a matrix product."""
    entries = math.prod(geometry.y_shape[:3]) * math.prod(geometry.kernel) * geometry.in_channels
    return entries * (geometry.out_channels // geometry.groups + tuning.IM2COL.entry_work)
