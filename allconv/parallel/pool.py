"""The worker pool: independent tasks of one call, shared by several threads.

NumPy releases Python's global lock in matrix products, ufuncs and copies. So threads that work on different slices of
a batch run at the same time. Three rules make the results the same bits for any number of threads:

1. The slices depend on shapes alone.
2. Each task writes to a part of the output that belongs to it.
3. Partial sums are added in the order of the tasks, whichever ends first.

Nothing here takes a lock that a signal handler or a ``__del__`` of the same thread could wait for.
"""

import atexit
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import numpy as np

from allconv.parallel import buffers
from allconv.parallel.blas import blas_can_be_limited, limit_blas, single_threaded_blas
from allconv.parallel.cores import default_num_threads
from allconv.parallel.workers import Job, Workers, this_thread
from allconv.typing import Array
from allconv.validation import check_int

T = TypeVar("T")

# Bounds the elements of a slice (512 KB of float32), so that it stays in a core's cache. With smaller slices the calls
# of NumPy are so short that threads wait more for Python's global lock; `waits` of benchmarks/parts.py counts that.
SLICE_ELEMENTS = 1 << 17
SHARED_ELEMENTS = 1 << 18  # bounds from below the elements of a pass that is worth another thread (20 us a call)

_num_threads = default_num_threads()
_workers: Workers | None = None


def set_num_threads(n: int) -> None:
    """Set how many threads share the heavy operations; results are the same bits for any number.

    Parameters
    ----------
    n : int
        At least 1. The default is the environment variable ``ALLCONV_NUM_THREADS``, or else the number of cores that
        the process's affinity and control group leave it. Where NumPy's BLAS cannot be held to one thread, as Apple's
        Accelerate, allconv uses one thread whatever n is.

    Raises
    ------
    TypeError, ValueError
        If `n` is no int, or less than 1.

    Examples
    --------
    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    global _num_threads
    _num_threads = check_int("n", n)
    _end_workers()


def get_num_threads() -> int:
    """Return how many threads share the heavy operations.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    return _num_threads if blas_can_be_limited() else 1


class _Call(Generic[T]):
    """The tasks of one call of `run`: which are still to do, their results, and the jobs of the workers."""

    def __init__(self, task: Callable[[int], T], count: int) -> None:
        self._task = task
        self._pending = deque(range(count))
        self.results: dict[int, T] = {}
        self._errors: list[BaseException] = []
        self._jobs: list[Job] = []

    def run(self, count: int) -> None:
        """Compute all results, together with `count` workers; when this returns or raises, no task runs any more."""
        try:
            this_thread.busy = True  # a signal handler that predicts while the jobs are handed out computes alone
            self._share(count)
            self._work()
        except BaseException as error:  # an interrupt between two tasks
            self._fail(error)
        finally:
            this_thread.busy = False
            self._settle()
        if self._errors:
            raise self._errors.pop(0)

    def _share(self, count: int) -> None:
        """Offer the tasks to the workers; fewer come where the system has no more threads."""
        global _workers
        workers = _workers  # read once: another thread, or a handler, may set it at any time
        if workers is None or workers.count != count:
            _end_workers()
            _workers = workers = Workers(count)
        # All jobs are listed before the first is handed out: an interrupted caller must find them again.
        self._jobs = [Job(self._work) for _ in range(min(count, len(self._pending) - 1))]
        try:
            workers.hand_out(self._jobs)
        except BaseException:  # an interrupt: a thread may have started that is in no list
            _workers = None
            workers.end()
            raise

    def _work(self) -> None:
        """Do tasks until none is left."""
        try:
            while (index := self._claim()) is not None:
                limit_blas()
                self.results[index] = self._task(index)
        except BaseException as error:
            self._fail(error)

    def _claim(self) -> int | None:
        """Take the number of the next task, which nobody else gets then; None when no task is left."""
        try:
            return self._pending.popleft()
        except IndexError:
            return None

    def _fail(self, error: BaseException) -> None:
        """Keep the error for the caller, and leave nobody a next task."""
        self._errors.append(error)
        self._pending.clear()

    def _settle(self) -> None:
        """Wait until no worker is at work on the tasks; an interrupt is put off until then."""
        while True:
            try:
                for job in self._jobs:
                    job.cancel_or_wait()
            except BaseException as error:
                self._fail(error)
            else:
                self._jobs.clear()  # they refer to this call, which would not be freed at once otherwise
                return


def _end_workers() -> None:
    """Let the workers end, and a later call start new ones."""
    global _workers
    workers, _workers = _workers, None
    if workers is not None:
        workers.end()


@atexit.register
def _end_workers_at_exit() -> None:
    """Let idle workers end in order; one that works for a daemon thread is cut off with it."""
    threads = _workers.threads if _workers is not None else []
    _end_workers()
    for thread in threads:
        thread.join(1.0)


def _forget_other_threads() -> None:
    """Let a forked process, which has one thread, start workers of its own."""
    global _workers
    _workers = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_other_threads)


def run(task: Callable[[int], T], count: int, *, shared: bool = True) -> list[T]:
    """Return ``[task(0), ..., task(count - 1)]``, computed by the calling thread and the workers together.

    An error or an interrupt stops the others before their next task, and is raised here with its own traceback. In
    either case no task runs any more when this call ends. A call from within a task runs in that task's thread.

    Parameters
    ----------
    task : callable
        Takes a task's number. It sees the caller's context variables, so `numpy.errstate` holds in every thread.
    count : int
        The number of tasks.
    shared : bool, default True
        False where the calls of NumPy are so short that threads would wait for Python's global lock most of the time:
        the calling thread then does all tasks.

    Returns
    -------
    list
        The results in the order of the tasks.

    Examples
    --------
    >>> run(lambda index: index * index, 5)
    [0, 1, 4, 9, 16]
    """
    if getattr(this_thread, "busy", False):  # in a call within a task, which has limited BLAS already
        return _run_alone(task, count)
    with single_threaded_blas():
        threads = get_num_threads()
        if min(threads, count) <= 1 or not shared:
            return _run_alone(task, count)
        call = _Call(task, count)
        call.run(threads - 1)
        return [call.results[index] for index in range(count)]


@contextmanager
def calling_thread_alone() -> Iterator[None]:
    """Let the calling thread do all of its tasks itself within a ``with`` block; other threads are not concerned.

    Yields
    ------
    None
        Nothing.
    """
    before = getattr(this_thread, "busy", False)
    with single_threaded_blas():
        this_thread.busy = True
        try:
            yield
        finally:
            this_thread.busy = before


def _run_alone(task: Callable[[int], T], count: int) -> list[T]:
    results = []
    for index in range(count):
        limit_blas()
        results.append(task(index))
    return results


def slices(length: int, size: int) -> list[slice]:
    """Cut range(length) into consecutive slices of `size`; the last one may be shorter."""
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def divided(items: list[T], count: int) -> list[list[T]]:
    """Cut a list into `count` consecutive parts whose lengths differ by one at most, the longer ones first.

    Workers that take one part each then end at about the same time.
    """
    size, more = divmod(len(items), count)
    bounds = [index * size + min(index, more) for index in range(count + 1)]
    return [items[start:stop] for start, stop in itertools.pairwise(bounds)]


def elementwise(function: Callable[..., Array], *arrays: Array) -> Array:
    """Return ``function(*arrays)`` for an element-by-element function, computed slice by slice along the batch.

    The arrays have one shape and dtype, which the result keeps. The slices fit a core's cache, so the temporary arrays
    of `function` cost little.
    """
    if arrays[0].size <= SLICE_ELEMENTS:
        return function(*arrays)
    return elementwise_into(lambda *parts: np.copyto(parts[-1], function(*parts[:-1])), *arrays)


def elementwise_into(function: Callable[..., object], *arrays: Array) -> Array:
    """Return the array that ``function(*arrays, out)`` fills, slice by slice as in `elementwise`."""
    first = arrays[0]
    out = buffers.empty(first.shape, first.dtype)
    if first.size <= SLICE_ELEMENTS:
        function(*arrays, out)
    else:
        in_slices(lambda part: function(*(array[part] for array in arrays), out[part]), out)
    return out


def in_slices(task: Callable[[slice], object], array: Array) -> None:
    """Call the task for consecutive slices along the batch of an array, each of which fits a core's cache."""
    parts = slices(len(array), max(1, SLICE_ELEMENTS * len(array) // array.size))
    run(lambda index: task(parts[index]), len(parts), shared=array.size >= SHARED_ELEMENTS)
