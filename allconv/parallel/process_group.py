"""The processes that share the images of a step: this one alone, unless `allconv.distributed` started several.

Most of a step needs only the rank's own images. What needs those of all ranks asks the group: BatchNorm for the sums
of its statistics, Dropout for its place in the mask of the whole step, training for all scores and for the sum of the
gradients.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from allconv.typing import Array


class Group:
    """One process by itself: what the group of several (`allconv.distributed.MPIGroup`) is like with a single rank.

    Each method but `part` is a meeting: it returns when all ranks have called it.

    Attributes
    ----------
    rank, size : int
        This process's number, 0..size - 1, and how many there are.
    """

    rank = 0
    size = 1

    def part(self, total: int) -> slice:
        """Return which of `total` rows are this rank's: consecutive ones, on any two ranks as many or one more."""
        return part_of(total, self.rank, self.size)

    def sum(self, array: Array) -> Array:
        """Return the sum of the ranks' arrays, the same bits on all; `array` is written to and returned."""
        return array

    def gather(self, rows: Array, total: int) -> Array:  # noqa: ARG002 - there is nothing to add to the rows
        """Return all `total` rows, (total, ...), from those of each rank's `part`; dtype and other axes agree."""
        return rows

    def wait(self) -> None:
        """Return when all ranks have come here."""
        self.sum(np.zeros(1))

    def place(self, count: int) -> tuple[int, int]:
        """Return how many rows come before this rank's `count`, and how many there are on all ranks together."""
        counts = self.gather(np.array([count]), self.size)
        return int(counts[: self.rank].sum()), int(counts.sum())


def part_of(total: int, rank: int, size: int) -> slice:
    """Return the consecutive rows of `total` that `rank` of `size` takes."""
    return slice(total * rank // size, total * (rank + 1) // size)


_process_group = Group()
_this_thread = threading.local()  # its `group`, where it has one, stands in for the process's


def current() -> Group:
    """Return the group that this thread works in."""
    group: Group = getattr(_this_thread, "group", _process_group)
    return group


def set_process_group(group: Group) -> None:
    """Let all threads of this process work in `group`."""
    global _process_group
    _process_group = group


@contextmanager
def using(group: Group) -> Iterator[Group]:
    """Let this thread work in `group` while the context is open."""
    before = vars(_this_thread).copy()
    _this_thread.group = group
    try:
        yield group
    finally:
        vars(_this_thread).clear()
        vars(_this_thread).update(before)


@contextmanager
def sharing(total: int) -> Iterator[Group]:
    """Give the group that shares `total` images: the current one, or where they are too few for it, each rank alone.

    A rank without images could not take part in the layers' meetings. So with fewer images than ranks, each computes
    all of them, and comes to what one process would.
    """
    with using(current() if total >= current().size else Group()) as group:
        yield group
