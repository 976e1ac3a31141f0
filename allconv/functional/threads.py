"""The worker pool: independent tasks over the cores, BLAS held to one thread inside.

NumPy releases the interpreter's lock in matmul, ufuncs and copies, so threads that work on different
slices of a batch run at the same time. Three rules keep the results the same bits for any number of
workers: the slices depend on shapes alone, each task writes to its own part of the output, and partial
sums are added in the order of the tasks, never in the order in which they finish.
"""

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from allconv.validation import Array, check_int

T = TypeVar("T")

_SLICE_ELEMENTS = 1 << 16  # 256 KB of float32: a slice and its temporaries stay in a core's second-level cache

_lock = threading.Lock()
_holders = 0  # how many callers hold BLAS at one thread right now
_limiter: Any = None
_pool: ThreadPoolExecutor | None = None
_local = threading.local()


def _available_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_num_threads = _available_cores()


def set_num_threads(n: int) -> None:
    """Set how many threads share the heavy operations; results are the same bits for any number.

    Parameters
    ----------
    n : int
        At least 1. The default is the number of cores that the process may use.
    """
    global _num_threads, _pool
    n = check_int("n", n)
    with _lock:
        if _pool is not None:
            _pool.shutdown(wait=True)
        _num_threads, _pool = n, None


def get_num_threads() -> int:
    """Return how many threads share the heavy operations."""
    return _num_threads


@cache
def _controller() -> ThreadpoolController:
    # Looking for the loaded libraries takes a hundred times longer than one limit() on what was found.
    return ThreadpoolController()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread: its own threads gain nothing on tall matrices and change the order of sums.

    The limit is the process's, so concurrent and nested holders are counted: the first sets it, the last lifts it.
    """
    global _holders, _limiter
    with _lock:
        if _holders == 0:
            _limiter = _controller().limit(limits=1, user_api="blas")
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                _limiter.restore_original_limits()


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_num_threads - 1, thread_name_prefix="allconv")
        return _pool


def run(task: Callable[[int], T], count: int) -> list[T]:
    """Return ``[task(0), ..., task(count - 1)]``, computed by the caller and the pool's workers together.

    A task that fails stops the others before their next one and raises here, with its own traceback. A call
    from within a task runs serially in that worker.
    """
    with single_threaded_blas():
        if count == 1 or _num_threads == 1 or getattr(_local, "busy", False):
            return [task(index) for index in range(count)]
        results: dict[int, T] = {}
        pending = itertools.count()
        stop = threading.Event()

        def work() -> None:
            _local.busy = True
            try:
                while not stop.is_set() and (index := next(pending)) < count:
                    results[index] = task(index)
            except BaseException:
                stop.set()
                raise
            finally:
                _local.busy = False

        helpers: list[Future[None]] = [_executor().submit(work) for _ in range(min(_num_threads, count) - 1)]
        try:
            work()
        finally:
            # Also after an error or Ctrl-C here: no helper may still write to arrays that the caller gives up.
            for helper in helpers:
                helper.exception()
        for helper in helpers:
            helper.result()
        return [results[index] for index in range(count)]


def slices(length: int, size: int) -> list[slice]:
    """Cut range(length) into consecutive slices of `size`, the last one shorter."""
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def elementwise(function: Callable[..., Array], *arrays: Array) -> Array:
    """Return ``function(*arrays)`` for an element-by-element function, computed slice by slice along the batch.

    The arrays have one shape and dtype, which the result keeps. Slices that fit the cache make the temporaries of
    `function` nearly free.
    """
    first = arrays[0]
    if first.size <= _SLICE_ELEMENTS:
        return function(*arrays)
    out = np.empty_like(first, order="C", subok=False)
    parts = slices(len(first), max(1, _SLICE_ELEMENTS * len(first) // first.size))

    def task(index: int) -> None:
        part = parts[index]
        out[part] = function(*(array[part] for array in arrays))

    run(task, len(parts))
    return out


def scratch(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return this thread's reusable array `name`, uninitialized: the caller must be done with it before the next."""
    buffers: dict[tuple[str, np.dtype[Any]], Array] = _local.__dict__.setdefault("buffers", {})
    size = int(np.prod(shape))
    buffer = buffers.get((name, dtype))
    if buffer is None or buffer.size < size:
        buffer = buffers[name, dtype] = np.empty(size, dtype)
    return buffer[:size].reshape(shape)
