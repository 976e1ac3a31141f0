"""The processes that share the images of a step: this one by itself, unless `allconv.distributed` started several.

Each process is a rank, and computes most of a step from its own shard of the images. Three parts of a step need
something of all ranks: BatchNorm needs the sums of its statistics, Dropout needs to know which rows of the step's mask
are its own, and training needs all scores and the sum of the gradients.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from allconv.typing import Array


class ProcessGroup:
    """A group of one process, and the interface of larger groups, such as `allconv.distributed.MPIGroup`.

    Each method but `shard` is a collective: every rank has to call it, and it returns when all ranks have.

    Attributes
    ----------
    rank, size : int
        This process's number, 0..size - 1, and the number of processes.
    """

    rank = 0
    size = 1

    def shard(self, total: int) -> slice:
        """Return which of `total` rows belong to this rank: consecutive rows, as many as any other rank's or one more.

        The shards of all ranks, in the order of the ranks, are all the rows.
        """
        return shard_of(total, self.rank, self.size)

    def all_reduce(self, array: Array) -> Array:
        """Return the sum of the ranks' arrays, the same bits on every rank; `array` is overwritten and returned."""
        return array

    def all_gather(self, rows: Array, total: int) -> Array:  # noqa: ARG002 - a single rank has all rows already
        """Return all `total` rows, (total, ...), from each rank's `rows`, which are the rank's `shard` of them.

        The ranks' arrays agree in their dtype and in all axes but the first.
        """
        return rows

    def barrier(self) -> None:
        """Return when all ranks have called this."""
        self.all_reduce(np.zeros(1))

    def offset(self, count: int) -> tuple[int, int]:
        """Return how many rows the ranks before this one have, and how many all ranks have; this rank has `count`."""
        counts = self.all_gather(np.array([count]), self.size)
        return int(counts[: self.rank].sum()), int(counts.sum())


def shard_of(total: int, rank: int, size: int) -> slice:
    """Return the consecutive rows, of `total`, that belong to `rank` in a group of `size`."""
    return slice(total * rank // size, total * (rank + 1) // size)


_process_group = ProcessGroup()
_this_thread = threading.local()  # its `group`, where it has one, takes precedence over the process's group


def current() -> ProcessGroup:
    """Return the group that this thread works in."""
    group: ProcessGroup = getattr(_this_thread, "group", _process_group)
    return group


def set_process_group(group: ProcessGroup) -> None:
    """Let all threads of this process work in `group`."""
    global _process_group
    _process_group = group


@contextmanager
def use_group(group: ProcessGroup) -> Iterator[ProcessGroup]:
    """Let this thread work in `group` while the context is open."""
    before = vars(_this_thread).copy()
    _this_thread.group = group
    try:
        yield group
    finally:
        vars(_this_thread).clear()
        vars(_this_thread).update(before)


@contextmanager
def shared_over(total: int) -> Iterator[ProcessGroup]:
    """Let this thread work in a group that can share `total` images, and give that group.

    It is the current group if that has an image for each rank. Otherwise each rank works by itself on all images, and
    gets what one process would: a rank without images could not take part in the layers' collectives.
    """
    group = current()
    with use_group(group if total >= group.size else ProcessGroup()) as usable:
        yield usable


def place_in_batch(count: int) -> tuple[slice, int]:
    """Return where this process's `count` images lie in the batch, and the number of images in the batch.

    By itself a process has the whole batch: ``slice(0, count)`` and `count`. This is a collective.
    """
    before, total = current().offset(count)
    return slice(before, before + count), total


def sum_over_batch(own: Array) -> Array:
    """Return the sum, over the whole batch, of an array that was summed over this process's images.

    By itself a process has the whole batch, so `own` is the sum already. `own` is never written to. This is a
    collective.
    """
    return current().all_reduce(own.copy()) if current().size > 1 else own
