"""Memory for arrays that is used again, within one bound for the whole process.

A training step takes some hundred megabytes and gives them back. The system fills such memory with zeros, page by
page, whenever it hands it out; that was a tenth of a step. So the library keeps the memory of large arrays, and the
next array takes a buffer that nobody uses any more.

Whether a buffer is in use, the count of references tells: every array refers to the object that owns its memory. Where
Python counts in another way (without the global lock, or in another interpreter), nothing is kept.

Buffers start at a multiple of 64 bytes, a line of the cache. A vector register of AVX-512 then never straddles two
lines; NumPy's own memory starts 16 bytes off.

Objects that own buffers for many calls, such as prepared predictions, wait on a `Shelf` until somebody takes them.

All threads share the buffers. A thread, or a signal handler that interrupts it, takes a buffer by one `dict.pop`,
which cannot be divided. So nothing here needs a lock.
"""

import math
import sys
import threading
import weakref
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import numpy as np

from allconv.typing import Array
from allconv.validation import check_int

_LINE = 64  # bytes in a line of the cache
_LARGE = 1 << 16  # bounds from below the bytes of an array that is worth the search for a buffer
_MEMORY_LIMIT = 1 << 30  # bounds the bytes kept by default; a training step of the 94 % net at 500 images takes 800 MB

_REFERENCES_ARE_COUNTED = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()

_limit = _MEMORY_LIMIT
_kept: dict[int, Array] = {}  # the buffers, in use or not, by the `id` of their owner; the one taken last is at the end
_idle_workspaces: dict[type[Any], dict[int, Any]] = {}  # by class, then by `id`
_shelves: dict[int, weakref.ref["Shelf[Any]"]] = {}  # by `id`
_local = threading.local()  # its `last` holds, by class, the `id` of the workspace that the thread gave back last
W = TypeVar("W")


def set_memory_limit(bytes: int) -> None:  # noqa: A002 - the unit is the best name
    """Set how much memory the library keeps for its next arrays, in all threads together.

    Layers take the memory of their outputs and of their temporary arrays from what is kept. An array beyond the limit
    gets memory from the system, and gives it back when nobody uses it any more. So a low limit costs time, not
    correctness.

    Parameters
    ----------
    bytes : int
        At least 0, which keeps nothing. The default is 1 GB (2**30).

    Raises
    ------
    TypeError, ValueError
        If `bytes` is no int, or negative.

    Examples
    --------
    >>> before = get_memory_limit()
    >>> set_memory_limit(64 << 20)
    >>> get_memory_limit()
    67108864
    >>> set_memory_limit(before)
    """
    global _limit
    _limit = check_int("bytes", bytes, minimum=0)
    _keep_within_limit()


def get_memory_limit() -> int:
    """Return how many bytes the library keeps at most for its next arrays, in all threads together.

    Returns
    -------
    int
        The number of bytes.

    Examples
    --------
    >>> get_memory_limit() >= 0
    True
    """
    return _limit


def free_memory() -> None:
    """Give all memory that the library keeps, in all threads, back to the system.

    Arrays in use stay as they are; their memory goes back when nobody uses them any more.

    Examples
    --------
    >>> free_memory()
    """
    vars(_local).clear()
    _drop_idle()
    _kept.clear()


def kept_bytes() -> int:
    """Return how many bytes the library keeps, in use or not."""
    return sum(buffer.size for buffer in list(_kept.values()))


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an uninitialized array, as `numpy.empty` does; a large one in a buffer that no array uses any more."""
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < _LARGE or not _REFERENCES_ARE_COUNTED:
        return np.empty(shape, dtype)
    return _array(shape, dtype, nbytes)


def _array(shape: tuple[int, ...], dtype: np.dtype[Any], nbytes: int) -> Array:
    """Return an array in the smallest unused buffer that fits, or in a new one, which is kept if the limit allows."""
    fitting = [
        (buffer.size, key)
        for key, buffer in list(_kept.items())
        if nbytes <= buffer.size <= 2 * nbytes and _is_unused(buffer)
    ]
    for _, key in sorted(fitting):
        if (buffer := _take(key)) is not None:
            array: Array = np.ndarray(shape, dtype, buffer)
            _kept[key] = buffer
            return array
    buffer = _new_buffer(nbytes)
    array = np.ndarray(shape, dtype, buffer)
    if nbytes <= _limit:
        _kept[id(buffer.base)] = buffer
        _keep_within_limit()
    return array


def _new_buffer(nbytes: int) -> Array:
    """Return so many bytes that start with a line of the cache: a view of the array that owns the memory."""
    owner = np.empty(nbytes + _LINE, np.uint8)
    start = -owner.ctypes.data % _LINE
    return owner[start : start + nbytes]


def _references(buffer: Array) -> int:
    """Return the number of references to the owner of a buffer's memory: each array in that memory is one."""
    return sys.getrefcount(buffer.base)


_REFERENCES_WITHOUT_ARRAYS = _references(_new_buffer(0))  # measured, since versions of Python differ


def _is_unused(buffer: Array) -> bool:
    return _references(buffer) == _REFERENCES_WITHOUT_ARRAYS


def _take(key: int) -> Array | None:
    """Take a buffer out of what is kept, so that nobody else can have it; None if it is in use now, or gone."""
    buffer = _kept.pop(key, None)
    if buffer is not None and not _is_unused(buffer):
        _kept[key] = buffer
        return None
    return buffer


def _keep_within_limit() -> None:
    """Let go of buffers until what is kept is within the limit.

    Those that were unused for longest go first, then what is idle, and at last the newest of those in use: an array
    keeps its memory as long as it lives, and the library does not use that memory again.
    """
    _drop_unused()
    if kept_bytes() > _limit:
        _drop_idle()
        _drop_unused()
    for key in reversed(list(_kept)):
        if kept_bytes() <= _limit:
            break
        _kept.pop(key, None)


def _drop_unused() -> None:
    excess = kept_bytes() - _limit
    for key, buffer in list(_kept.items()):
        if excess <= 0:
            break
        if _is_unused(buffer) and _take(key) is not None:
            excess -= buffer.size


def _drop_idle() -> None:
    """Let go of the workspaces that no thread has borrowed, and of what lies on shelves."""
    _idle_workspaces.clear()
    for shelf in list(_shelves.values()):
        if (found := shelf()) is not None:
            found.clear()


class Scratch:
    """A block of memory that grows to the largest array taken from it, and is used again."""

    def __init__(self) -> None:
        self._block: Array | None = None

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return an uninitialized array in the block: its values last until the next call."""
        nbytes = math.prod(shape) * dtype.itemsize
        if self._block is None or self._block.size < nbytes:
            self._block = None  # first, so that its memory may be found again
            if nbytes < _LARGE or not _REFERENCES_ARE_COUNTED:
                self._block = _new_buffer(nbytes)
            else:
                self._block = _array((nbytes,), np.dtype(np.uint8), nbytes)
        return np.ndarray(shape, dtype, self._block)

    def forget_unkept(self) -> None:
        """Let go of a block that does not count towards the memory limit."""
        if self._block is not None and not are_kept([self._block]):
            self._block = None


def are_kept(arrays: Iterable[Array]) -> bool:
    """Tell whether all of these arrays, which start a buffer each, count towards the memory limit."""
    return all(id(array.base) in _kept for array in arrays)


@contextmanager
def borrowed(kind: type[W]) -> Iterator[W]:
    """Lend a workspace of the class `kind`, whose attributes are `Scratch` objects, to the calling thread.

    Nobody else gets it meanwhile. A second borrower gets another one, also if it is a signal handler in the same
    thread. A thread gets the workspace that it gave back last, if that is there: its memory may still be in the cache.
    """
    last: dict[type[Any], int] = vars(_local).setdefault("last", {})
    idle = _idle_workspaces.setdefault(kind, {})
    workspace = idle.pop(last.get(kind, 0), None)
    if workspace is None:
        workspace = _any_idle(idle)
    if workspace is None:
        workspace = kind()
    try:
        yield workspace
    finally:
        for item in vars(workspace).values():
            if isinstance(item, Scratch):
                item.forget_unkept()
        last[kind] = id(workspace)
        idle[id(workspace)] = workspace


def _any_idle(idle: dict[int, W]) -> W | None:
    try:
        return idle.popitem()[1]
    except KeyError:
        return None


class Shelf(Generic[W]):
    """Objects with memory of their own that wait for their next use; whoever takes one has it alone.

    The objects that have waited longest go when there are too many. All go with `free_memory`, and when the library
    would keep more memory than its limit.

    Parameters
    ----------
    most : int
        Bounds the objects on the shelf, as a number.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[int, tuple[Hashable, W]] = {}  # by `id`; the one put back last is at the end
        number = id(self)
        _shelves[number] = weakref.ref(self, lambda _: _shelves.pop(number, None))

    def take(self, key: Hashable) -> W | None:
        """Return the object that was put back last under this key, or None."""
        for number, (its_key, item) in reversed(list(self._waiting.items())):
            if its_key == key and self._waiting.pop(number, None) is not None:
                return item
        return None

    def put_back(self, key: Hashable, item: W) -> None:
        """Let an object wait."""
        self._waiting[id(item)] = key, item
        for number in list(self._waiting)[: -self._most]:
            self._waiting.pop(number, None)

    def clear(self) -> None:
        """Let go of all objects."""
        self._waiting.clear()
