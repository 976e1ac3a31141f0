"""The worker pool: independent tasks over the cores, BLAS held to one thread inside.

NumPy releases the interpreter's lock in matmul, ufuncs and copies, so threads that work on different
slices of a batch run at the same time. Three rules keep the results the same bits for any number of
workers: the slices depend on shapes alone, each task writes to its own part of the output, and partial
sums are added in the order of the tasks, never in the order in which they finish.
"""

import atexit
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from allconv.parallel import buffers
from allconv.parallel.cores import default_num_threads
from allconv.parallel.workers import Pool, Share, this_thread
from allconv.typing import Array
from allconv.validation import check_int

T = TypeVar("T")

_SLICE_ELEMENTS = 1 << 16  # 256 KB of float32: a slice and its temporaries stay in a core's second-level cache
SHARED_ELEMENTS = 1 << 18  # below this, handing a pass to another thread (20 us) costs about what it saves

_lock = threading.Lock()
_num_threads = default_num_threads()


def set_num_threads(n: int) -> None:
    """Set how many threads share the heavy operations; results are the same bits for any number.

    Parameters
    ----------
    n : int
        At least 1. The default is the environment variable ``ALLCONV_NUM_THREADS``, or else the number of cores that
        the process's affinity and control group leave it. Where NumPy's BLAS cannot be held to one thread, as Apple's
        Accelerate, there is one worker whatever n is.
    """
    global _num_threads
    n = check_int("n", n)
    _retire_pool()
    _num_threads = n


def get_num_threads() -> int:
    """Return how many threads share the heavy operations."""
    return _num_threads if blas_can_be_limited() else 1


# BLAS at one thread.

_holders: set[int] = set()  # the threads that need it so
_limiter: Any = None


@cache
def _controller() -> ThreadpoolController:
    # Looking for the loaded libraries takes a hundred times longer than one limit() on what was found.
    return ThreadpoolController()


@cache
def blas_can_be_limited() -> bool:
    """Tell whether the BLAS that NumPy uses can be held to one thread: all that threadpoolctl knows can."""
    config = np.show_config(mode="dicts")
    name = str(config.get("Build Dependencies", {}).get("blas", {}).get("name", ""))
    return "accelerate" not in name.lower() and bool(_controller().select(user_api="blas").info())


@cache
def blas_kernels() -> list[str]:
    """Return name, version and kernel of NumPy's BLAS, such as ``openblas 0.3.31 SkylakeX``."""
    libraries = _controller().select(user_api="blas").info()
    # Others, of SciPy or PyTorch, may be loaded too, or not yet; a system's own serves all of them.
    own = [library for library in libraries if "numpy" in library["filepath"]] or libraries
    return [
        " ".join(str(library[key]) for key in ("internal_api", "version", "architecture") if library.get(key))
        for library in own
    ]


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread: its own threads gain nothing on tall matrices and change the order of sums.

    The limit is the process's, so the threads that hold it are listed: the first sets it, the last lifts it. Within
    another one of the same thread it costs next to nothing.
    """
    global _limiter
    thread = threading.get_ident()
    if thread in _holders:
        yield
        return
    try:
        with _lock:
            _holders.add(thread)
            if _limiter is None:
                _limiter = _controller().limit(limits=1, user_api="blas")
        yield
    finally:
        _holders.discard(thread)  # first: an interrupt in the rest leaves nobody listed, and the next holder cleans up
        with _lock:
            _lift_limit_without_holders()


def _lift_limit_without_holders() -> None:
    global _limiter
    if not _holders and _limiter is not None:
        _limiter.restore_original_limits()
        _limiter = None


# The pool.

_pool: Pool | None = None


def _hand_out(work: Callable[[], None], count: int, shares: list[Share]) -> None:
    global _pool
    with _lock:
        if _pool is None:
            _pool = Pool()
        _pool.hand_out(work, count, shares)


def _retire_pool() -> list[threading.Thread]:
    global _pool
    with _lock:
        pool, _pool = _pool, None
        return pool.retire() if pool is not None else []


def _join_threads(timeout: float | None = None) -> None:
    for thread in _retire_pool():
        if thread is not threading.current_thread():
            thread.join(timeout)


# An idle thread ends at once; a busy one works for a daemon thread, and is cut off with it.
atexit.register(_join_threads, 1.0)


def _drop_what_fork_did_not_copy() -> None:
    """In the child there is one thread, the one that forked: no pool, and no other holder of BLAS."""
    global _pool
    _pool = None
    _holders.intersection_update({threading.get_ident()})
    _lift_limit_without_holders()
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_drop_what_fork_did_not_copy
    )


def run(task: Callable[[int], T], count: int, *, shared: bool = True) -> list[T]:
    """Return ``[task(0), ..., task(count - 1)]``, computed by the caller and the pool's workers together.

    With `shared` false the caller does all of it: where the calls of NumPy are so short that the threads would wait
    for the interpreter's lock most of the time.

    A task that fails stops the others before their next one and raises here, with its own traceback; so does an
    interrupt, and in either case no task runs any more when this call ends. A call from within a task runs in that
    task's thread.
    """
    if getattr(this_thread, "busy", False):
        return [task(index) for index in range(count)]
    with single_threaded_blas():
        workers = min(get_num_threads(), count)
        if workers <= 1 or not shared:
            return [task(index) for index in range(count)]
        results: dict[int, T] = {}
        errors: list[BaseException] = []
        pending = itertools.count()

        def work() -> None:
            try:
                while not errors and (index := next(pending)) < count:
                    results[index] = task(index)
            except BaseException as error:
                errors.append(error)

        shares: list[Share] = []
        try:
            this_thread.busy = True
            _hand_out(work, workers - 1, shares)
            work()
        except BaseException as error:  # an interrupt between two tasks
            errors.append(error)
        finally:
            this_thread.busy = False
            _settle(shares, errors)
        if errors:
            raise errors.pop(0)
        return [results[index] for index in range(count)]


def _settle(shares: list[Share], errors: list[BaseException]) -> None:
    """Wait until none of the shares is at work; an interrupt is put off until then."""
    while True:
        try:
            for share in shares:
                share.settle()
        except BaseException as error:
            errors.append(error)
        else:
            return


def slices(length: int, size: int) -> list[slice]:
    """Cut range(length) into consecutive slices of `size`, the last one shorter."""
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def divided(items: list[T], count: int) -> list[list[T]]:
    """Cut a list into `count` runs of equal length or one less, the longer ones first: workers then end together."""
    size, more = divmod(len(items), count)
    bounds = [index * size + min(index, more) for index in range(count + 1)]
    return [items[start:stop] for start, stop in itertools.pairwise(bounds)]


def elementwise(function: Callable[..., Array], *arrays: Array) -> Array:
    """Return ``function(*arrays)`` for an element-by-element function, computed slice by slice along the batch.

    The arrays have one shape and dtype, which the result keeps. Slices that fit the cache make the temporaries of
    `function` nearly free.
    """
    if arrays[0].size <= _SLICE_ELEMENTS:
        return function(*arrays)
    return elementwise_into(lambda *parts: np.copyto(parts[-1], function(*parts[:-1])), *arrays)


def elementwise_into(function: Callable[..., object], *arrays: Array) -> Array:
    """Return the array that ``function(*arrays, out)`` fills, as `elementwise` does, but without a copy."""
    first = arrays[0]
    out = buffers.empty(first.shape, first.dtype)
    if first.size <= _SLICE_ELEMENTS:
        function(*arrays, out)
        return out
    parts = slices(len(first), max(1, _SLICE_ELEMENTS * len(first) // first.size))

    def task(index: int) -> None:
        part = parts[index]
        function(*(array[part] for array in arrays), out[part])

    run(task, len(parts), shared=first.size >= SHARED_ELEMENTS)
    return out


def free_scratch() -> None:
    """Give back the memory that the workers and this thread keep for the next call."""
    _join_threads()
    buffers.free()
