"""Statistics of the columns of a tall matrix, slice by slice over its rows."""

import functools
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from allconv.parallel.process_group import current
from allconv.parallel.threads import run, slices
from allconv.typing import Array

T = TypeVar("T")

_SLICE_ELEMENTS = 1 << 16  # 256 KB of float32: a slice and its temporaries stay in a core's second-level cache


def over_slices(task: Callable[[slice], T], rows: Array) -> list[T]:
    """Return ``task(part)`` for consecutive slices of the rows (M, C), in their order."""
    parts = slices(len(rows), max(1, _SLICE_ELEMENTS // rows.shape[1]))
    return run(lambda index: task(parts[index]), len(parts))


def column_sums(rows: Array) -> Array:
    """Return the sum of the rows, (C,): as a product, which BLAS does four times as fast as ``rows.sum(axis=0)``."""
    sums: Array = np.ones(len(rows), rows.dtype) @ rows
    return sums


def total(rows: Array) -> Array:
    """Return the sum of the rows (M, C) as (C,), slice by slice over the workers, added in their order."""
    return functools.reduce(np.add, over_slices(lambda part: column_sums(rows[part]), rows))


def mean_and_variance(rows: Array) -> tuple[Array, Array]:
    """Return the mean and the biased variance of each column of rows (M, C).

    The sum of squares is the one within the slices, each around its own mean, plus the one of these means around the
    whole's, so that the rows are read once (Chan, Golub and LeVeque, 1983). All of it is in differences from the first
    row: sums of values far from 0 would lose the digits that the variance lives in.
    """
    origin = rows[0]

    def moments(part: slice) -> tuple[int, Array, Array]:
        count = part.stop - part.start
        values = rows[part] - origin
        mean = column_sums(values) / count
        values -= mean
        values *= values
        return count, mean, column_sums(values)

    counts, means, squares = zip(*over_slices(moments, rows), strict=True)
    weights = np.array(counts, rows.dtype)[:, None] / len(rows)
    mean = (weights * means).sum(axis=0)
    variance = np.sum(squares, axis=0) / len(rows) + (weights * np.square(means - mean)).sum(axis=0)
    return origin + mean, variance


def group_mean_and_variance(rows: Array) -> tuple[Array, Array, int]:
    """Return the mean and the biased variance of each column over the rows of all ranks, and how many these are.

    The same decomposition as within a rank: the squares around each rank's mean, plus those of the ranks' means around
    the whole's.
    """
    mean, variance = mean_and_variance(rows)
    group = current()
    if group.size == 1:
        return mean, variance, len(rows)
    # In float64, since here the means themselves are added, not their differences from a first row.
    count, *sums = group.sum(np.concatenate([[1.0], mean]) * len(rows))
    whole = np.array(sums) / count
    squares = group.sum((variance + np.square(mean - whole)) * len(rows))
    return whole.astype(rows.dtype), (squares / count).astype(rows.dtype), int(count)
