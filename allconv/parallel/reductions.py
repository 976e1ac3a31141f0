"""Statistics of the columns of a tall matrix, computed slice by slice over its rows."""

import functools
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from allconv.parallel.pool import SLICE_ELEMENTS, run, slices
from allconv.parallel.process_group import current
from allconv.typing import Array

T = TypeVar("T")


def map_slices(task: Callable[[slice], T], rows: Array) -> list[T]:
    """Return ``task(part)`` for consecutive slices of the rows (M, C), in the order of the slices."""
    parts = slices(len(rows), max(1, SLICE_ELEMENTS // rows.shape[1]))
    return run(lambda index: task(parts[index]), len(parts))


def slice_sum(rows: Array) -> Array:
    """Return the sum of the rows, (C,).

    It is computed as a matrix product, which BLAS does four times as fast as ``rows.sum(axis=0)``.
    """
    sums: Array = np.ones(len(rows), rows.dtype) @ rows
    return sums


def column_sum(rows: Array) -> Array:
    """Return the sum of the rows (M, C) as (C,): the threads sum the slices, whose sums are added in their order."""
    return functools.reduce(np.add, map_slices(lambda part: slice_sum(rows[part]), rows))


def mean_and_variance(rows: Array) -> tuple[Array, Array]:
    """Return the mean and the biased variance of each column of rows (M, C).

    Notes
    -----
    The rows are read once. Each slice has a mean and a sum of squares around this mean. The variance of all rows
    follows from these sums and from the squares of the slices' means around the mean of all rows (Chan, Golub and
    LeVeque, 1983).

    The first row is subtracted from all rows beforehand. Sums of values far from 0 would lose the digits in which the
    variance lies.
    """
    origin = rows[0]

    def moments(part: slice) -> tuple[int, Array, Array]:
        count = part.stop - part.start
        values = rows[part] - origin
        mean = slice_sum(values) / count
        values -= mean
        values *= values
        return count, mean, slice_sum(values)

    counts, means, squares = zip(*map_slices(moments, rows), strict=True)
    weights = np.array(counts, rows.dtype)[:, None] / len(rows)
    mean = (weights * means).sum(axis=0)
    variance = np.sum(squares, axis=0) / len(rows) + (weights * np.square(means - mean)).sum(axis=0)
    return origin + mean, variance


def group_mean_and_variance(rows: Array) -> tuple[Array, Array, int]:
    """Return the mean and the biased variance of each column over the rows of all ranks, and the number of rows.

    The ranks are put together as `mean_and_variance` puts slices together: by their sums of squares, and by the squares
    of their means around the mean of all rows.
    """
    mean, variance = mean_and_variance(rows)
    group = current()
    if group.size == 1:
        return mean, variance, len(rows)
    # In float64, since here the means themselves are added, and no first row is subtracted.
    count, *sums = group.all_reduce(np.concatenate([[1.0], mean]) * len(rows))
    whole = np.array(sums) / count
    squares = group.all_reduce((variance + np.square(mean - whole)) * len(rows))
    return whole.astype(rows.dtype), (squares / count).astype(rows.dtype), int(count)
