"""A group whose ranks are threads of this process, for tests without MPI."""

import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from allconv.parallel.process_group import ProcessGroup, use_group


class ThreadGroup(ProcessGroup):
    """One rank of several; they share a barrier, and a board for what they bring to a collective."""

    def __init__(self, rank, size, barrier, board):
        self.rank, self.size, self._barrier, self._board = rank, size, barrier, board
        self.collectives = []

    def _exchange(self, kind, array):
        self.collectives.append(kind)
        self._board[self.rank] = kind, array.copy()
        self._barrier.wait(60)
        kinds, arrays = zip(*self._board, strict=True)
        assert set(kinds) == {kind}, "all ranks must make the same calls"
        self._barrier.wait(60)
        return arrays

    def all_reduce(self, array):
        array[...] = functools.reduce(np.add, self._exchange("all_reduce", array))
        return array

    def all_gather(self, rows, total):
        gathered = np.concatenate(self._exchange("all_gather", rows))
        assert len(gathered) == total
        return gathered


def on_ranks(size, function):
    """Return ``[function(group of rank 0), ...]``, each rank in a thread of its own; an error ends all."""
    barrier, board = threading.Barrier(size), [None] * size

    def run(rank):
        with use_group(ThreadGroup(rank, size, barrier, board)) as group:
            try:
                return function(group)
            except BaseException:
                barrier.abort()
                raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(run, rank) for rank in range(size)]
    errors = [error for future in futures if (error := future.exception()) is not None]
    own = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
    if errors:
        raise (own or errors)[0]
    return [future.result() for future in futures]
