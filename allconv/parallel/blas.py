"""The BLAS library that NumPy calls for matrix products, held to one thread while allconv computes.

The threads of BLAS gain nothing on the tall matrices of a network, and they change the order of its sums. They also
make a fork hang while another thread multiplies. So allconv divides the work itself, and BLAS gets one thread.

Two kinds of libraries need two kinds of limit. In most, as in OpenBLAS on pthreads, the number of threads belongs to
the process: the first thread that needs the limit sets it, and the last one lifts it. In the others, as in MKL and in
OpenBLAS on OpenMP, each thread has its own number, and so sets and lifts its own limit.

A Python without `ctypes`, as in some browsers, cannot call the library. No limit can be set then, and allconv uses one
thread.
"""

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np

try:
    import ctypes

    from threadpoolctl import ThreadpoolController
except ImportError:
    ThreadpoolController = None


@cache
def _controller() -> Any:
    # The search for the loaded libraries takes a hundred times as long as a call of what was found.
    return ThreadpoolController()


def _blas_controllers() -> list[Any]:
    if ThreadpoolController is None:
        return []
    return [found for found in _controller().lib_controllers if found.user_api == "blas"]


@cache
def blas_can_be_limited() -> bool:
    """Tell whether the BLAS that NumPy uses can be held to one thread; Apple's Accelerate cannot."""
    config = np.show_config(mode="dicts")
    name = str(config.get("Build Dependencies", {}).get("blas", {}).get("name", ""))
    return "accelerate" not in name.lower() and bool(_blas_controllers())


@cache
def blas_kernels() -> list[str]:
    """Return name, version and kernel of NumPy's BLAS, such as ``openblas 0.3.31 SkylakeX``."""
    libraries = [found.info() for found in _blas_controllers()]
    # SciPy and PyTorch bring a BLAS of their own, which may be loaded too; a BLAS of the system serves all of them.
    own = [library for library in libraries if "numpy" in library["filepath"]] or libraries
    return [
        " ".join(str(library[key]) for key in ("internal_api", "version", "architecture") if library.get(key))
        for library in own
    ]


class _Library:
    """One BLAS library: its number of threads, and the number that it had before the limit."""

    def __init__(self, found: Any) -> None:
        layer = getattr(found, "threading_layer", "")
        self._per_thread = found.internal_api == "mkl" or layer == "openmp"
        self._get, self._set = _thread_functions(found)
        self._before: dict[int, int] = {}  # by thread, or under 0 where the number belongs to the process

    def _key(self) -> int:
        return threading.get_ident() if self._per_thread else 0

    def begin(self) -> None:
        """Limit the library for a thread that has no limit yet."""
        if self._per_thread:
            self._before.pop(threading.get_ident(), None)  # left there by a worker that has ended
        self.limit()

    def limit(self) -> None:
        """Set the number of threads to 1, and remember what it was."""
        number = self._get()
        if number != 1:
            self._before[self._key()] = number
            self._set(1)

    def lift(self, *, last: bool) -> None:
        """Give the library its earlier number again; one that belongs to the process waits for the `last` thread."""
        number = self._before.get(self._key())
        if number is None or not (last or self._per_thread):
            return
        if self._get() == 1:  # or else somebody has set another number since, which is then the one to keep
            self._set(number)
        self._before.pop(self._key(), None)


def _thread_functions(found: Any) -> tuple[Callable[[], int], Callable[[int], object]]:
    """Return the functions that read and set a library's number of threads, from the library that was `found`.

    `threadpoolctl` from 3.8 on lets only one thread at a time set the number of an OpenBLAS on pthreads, and ignores
    all others in silence. So OpenBLAS' own functions are called here. They keep Python's global lock: each call is
    then one step, which no other thread and no fork can divide.
    """
    if found.internal_api == "openblas" and getattr(found, "threading_layer", "") != "openmp":
        library = ctypes.PyDLL(found.filepath, handle=found.dynlib._handle)
        for prefix, suffix in itertools.product(("", "scipy_"), ("", "64_", "_64")):
            names = [f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
            if all(hasattr(library, name) for name in names):
                return getattr(library, names[0]), getattr(library, names[1])
    return found.get_num_threads, found.set_num_threads


@cache
def _libraries() -> list[_Library]:
    return [_Library(found) for found in _blas_controllers() if found.num_threads is not None]


# Re-entrant, since a signal handler may predict while its own thread holds the lock. No worker takes it: the handler
# may wait for the workers.
_lock = threading.RLock()
_holders: set[int] = set()  # the threads that need the limit now
_this_thread = threading.local()  # `is_worker` is true in the workers of `pool.run`
_nothing_to_do = nullcontext()  # the context of a thread that has the limit already


def mark_worker() -> None:
    """Say that the calling thread is a worker: the thread that it works for holds the limit, and lifts it."""
    _this_thread.is_worker = True


def limit_blas() -> None:
    """Set BLAS to one thread again, in case that another thread has set its number meanwhile.

    To be called within `single_threaded_blas`. Where nobody has interfered, it only reads a number.
    """
    for library in _libraries():
        library.limit()


def single_threaded_blas() -> AbstractContextManager[None]:
    """Return a context that holds BLAS to one thread for the calling thread.

    Notes
    -----
    A library's number of threads may belong to the whole process. Another thread that sets it during a matrix product,
    as `threadpoolctl.threadpool_limits` does, then changes that one product; `pool.run` sets the limit again before
    each task.
    """
    if threading.get_ident() in _holders or getattr(_this_thread, "is_worker", False):
        limit_blas()
        return _nothing_to_do
    return _hold_limit()


@contextmanager
def _hold_limit() -> Iterator[None]:
    """Limit BLAS for a thread that does not hold the limit yet."""
    thread = threading.get_ident()
    try:
        with _lock:
            _holders.add(thread)
            for library in _libraries():
                library.begin()
        yield
    finally:
        _holders.discard(thread)  # first: if an interrupt skips the rest, the next thread that leaves lifts the limit
        with _lock:
            _lift_limit()


def _lift_limit() -> None:
    for library in _libraries():
        library.lift(last=not _holders)


def _forget_other_threads() -> None:
    """Keep only the limit of the thread that forked: the child process has no other thread."""
    global _lock
    _lock = threading.RLock()
    _holders.intersection_update({threading.get_ident()})
    if not _holders and _libraries.cache_info().currsize:
        _lift_limit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_other_threads)
