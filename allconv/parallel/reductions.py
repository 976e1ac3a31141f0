"""Sums over the rows of tall matrices, which keep their digits for any number of rows.

BLAS adds the numbers of a column one after another. In float32 each addition may lose a part in 1e7, so that a million
of them lose two or more digits. Here BLAS adds blocks of a few rows, and the sums of the blocks are added in float64.
The cuts depend on shapes alone, and the slices are added in their order: the bits are the same for any number of
threads.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from allconv.parallel.pool import SHARED_ELEMENTS, SLICE_ELEMENTS, run, slices
from allconv.parallel.process_group import current
from allconv.typing import Array

T = TypeVar("T")

_BLOCK_ROWS = 128  # bounds the rows that BLAS adds one after another, which keeps the error in float32 below 3e-7
_LEAST_COLUMNS = 64  # bounds the columns of a block from below: BLAS is slow with shorter rows, so those are joined
_BUFFER = 4096  # bounds the numbers of a row from below: NumPy repeats a shorter one in a buffer, which costs a copy
_FEW_ROWS = 32  # bounds the numbers that NumPy adds one after another, with an error of 3e-7 at most
SUM_ELEMENTS = 2 * SLICE_ELEMENTS  # bounds the elements of a slice that is summed, of which little is written


def long_rows(rows: Array) -> Array:
    """Return rows (M, C) as (M / t, t C) without a copy: t rows are one, since NumPy is slow with short rows.

    What belongs to the channels, as a mean (C,), is repeated t times by `np.tile`.
    """
    count, columns = rows.shape
    return rows.reshape(-1, _rows_together(count, columns) * columns)


@functools.lru_cache(maxsize=256)
def _rows_together(count: int, columns: int) -> int:
    """Return t, a divisor of the number of rows: the smallest that is enough, or the largest of those that are less."""
    enough = _BUFFER // columns + 1
    divisors = [t for t in range(1, min(count, 8 * enough) + 1) if count % t == 0]
    return next((t for t in divisors if t >= enough), divisors[-1])


def map_slices(task: Callable[[slice], T], rows: Array, elements: int = SLICE_ELEMENTS) -> list[T]:
    """Return ``task(part)`` for consecutive slices of the rows (M, C), in the order of the slices."""
    size = max(1, elements // rows.shape[1])
    size = size // 16 * 16 or size  # so that `slice_sum` can halve the rows into blocks without a rest
    parts = slices(len(rows), size)
    return run(lambda index: task(parts[index]), len(parts))


def slice_sum(rows: Array) -> Array:
    """Return the sum of the rows (..., M, C) as (..., C), for a task of one thread; that of many rows is in float64.

    It is computed as matrix products, which BLAS does four times as fast as ``rows.sum(axis=-2)``.
    """
    *lead, count, columns = rows.shape
    if count <= _FEW_ROWS:
        few: Array = np.add.reduce(rows, axis=-2)
        return few
    joined = max(1, _LEAST_COLUMNS // columns)
    if count <= _BLOCK_ROWS and joined == 1:
        block: Array = np.ones(count, rows.dtype) @ rows
        return block
    blocks = 1 << (-(-count // (joined * _BLOCK_ROWS)) - 1).bit_length()
    block_rows = count // (joined * blocks)
    end = blocks * block_rows * joined
    in_blocks = rows[..., :end, :].reshape(*lead, blocks, block_rows, joined * columns)
    sums = (np.ones(block_rows, rows.dtype) @ in_blocks).reshape(*lead, blocks * joined, columns)
    total: Array = np.add.reduce(sums, axis=-2, dtype=None if blocks * joined <= _FEW_ROWS else _wide(rows))
    return total if end == count else total + rows[..., end:, :].sum(axis=-2, dtype=_wide(rows))


def column_sum(rows: Array) -> Array:
    """Return the sum of the rows (M, C) as (C,), in their dtype; the threads share the slices."""
    if len(rows) <= _FEW_ROWS:
        few: Array = rows.sum(axis=0)
        return few
    with np.errstate(over="ignore", invalid="ignore"):  # An infinity or a NaN shows in the sum.
        total = _within_range(lambda add: added(map_slices(lambda part: add(rows[part]), rows, SUM_ELEMENTS)))
        return total.astype(rows.dtype)


def position_sum(images: Array) -> Array:
    """Return the sum of each channel of images (N, H, W, C) over all positions, as (N, C)."""
    count, height, width, channels = images.shape
    parts = slices(count, max(1, SUM_ELEMENTS // (height * width * channels)))

    def sums(add: Callable[[Array], Array]) -> Array:
        def task(index: int) -> Array:
            part = images[parts[index]]
            return add(part.reshape(len(part), height * width, channels))

        if height * width <= _FEW_ROWS and len(parts) == 1:
            return task(0)
        return np.concatenate(run(task, len(parts), shared=images.size >= SHARED_ELEMENTS))

    with np.errstate(over="ignore", invalid="ignore"):  # An infinity or a NaN shows in the sum.
        return _within_range(sums)


def added(sums: list[Array]) -> Array:
    """Return the sum of arrays of one shape, in float64 if there are several."""
    return sums[0] if len(sums) == 1 else np.sum(sums, axis=0, dtype=_wide(sums[0]))


def _within_range(sums: Callable[[Callable[[Array], Array]], Array]) -> Array:
    """Return the sums of `slice_sum`, or sums in float64 where those of a block have left the range of float32."""
    total = sums(slice_sum)
    return total if np.isfinite(total).all() else sums(lambda rows: rows.sum(axis=-2, dtype=_wide(rows)))


def _wide(rows: Array) -> np.dtype[Any]:
    """Return the dtype in which sums of blocks are added."""
    return np.result_type(rows.dtype, np.float64)


def mean_and_variance(rows: Array) -> tuple[Array, Array]:
    """Return the mean and the biased variance of each column of rows (M, C), in float64.

    Numbers of float32 are squared in float32, and once more in float64 where a square has left the range of float32.
    """
    if rows.dtype == np.float32:
        with np.errstate(over="ignore", invalid="ignore"):  # An infinity or a NaN shows in the variance.
            mean, variance = _mean_and_variance(rows, rows.dtype)
        if np.isfinite(variance).all():
            return mean, variance
    return _mean_and_variance(rows, _wide(rows))


def _mean_and_variance(rows: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Return what `mean_and_variance` does, with the numbers and their squares in `dtype`.

    Notes
    -----
    One pass sums the numbers and their squares around a centre, the mean of the first rows. So sums of values far from
    0 keep the digits in which the variance lies. They would lose them where the centre is far from the mean beside the
    deviation. But the first rows are a part of all rows, so that the variance is large there too: with a part f of the
    rows, the square of that distance is at most (1 - f) / f times the variance.
    """
    count, channels = rows.shape
    head = rows[: max(1, SLICE_ELEMENTS // channels)].astype(dtype, copy=False)
    # The mean is computed around the first row: of equal numbers it is that number, and their variance is 0.
    centre = (head[0] + slice_sum(head - head[0]) / len(head)).astype(rows.dtype, copy=False)
    joined = long_rows(rows)
    along_row = repeated(joined, centre)[0].astype(dtype, copy=False)

    def sums(part: slice) -> Array:
        rest = joined[part] - along_row
        total = slice_sum(rest.reshape(-1, channels))
        rest *= rest
        return np.stack([total, slice_sum(rest.reshape(-1, channels))])

    mean, square = added(map_slices(sums, joined, SUM_ELEMENTS)).astype(_wide(rows)) / count
    return centre + mean, np.maximum(square - mean * mean, 0)


def repeated(joined: Array, *of_channels: Array) -> list[Array]:
    """Return numbers of the channels (C,) repeated along rows of `long_rows`, in their dtype."""
    return [np.tile(np.asarray(v, joined.dtype), joined.shape[1] // len(v)) for v in of_channels]


def group_mean_and_variance(rows: Array) -> tuple[Array, Array, int]:
    """Return the mean and the biased variance of each column over the rows of all ranks, and the number of rows.

    The ranks are put together as `mean_and_variance` puts slices together: by their sums of squares, and by the squares
    of their means around the mean of all rows. A variance that does not fit into the dtype of the rows is in float64.
    """
    (mean, variance), count = mean_and_variance(rows), len(rows)
    group = current()
    if group.size > 1:
        total, *sums = group.all_reduce(np.concatenate([[1.0], mean]) * count)
        whole = np.array(sums) / total
        variance = group.all_reduce((variance + np.square(mean - whole)) * count) / total
        mean, count = whole, int(total)
    with np.errstate(over="ignore"):
        rounded = variance.astype(rows.dtype, copy=False)
    return mean.astype(rows.dtype, copy=False), rounded if np.isfinite(rounded).all() else variance, count
