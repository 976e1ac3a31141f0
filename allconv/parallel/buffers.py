"""Memory for arrays: scratch that a thread uses again, and large arrays in the place of earlier ones.

A training step takes some hundred megabytes and gives them back. Systems fill such memory with zeros, page by page,
whenever they hand it out, which was a tenth of a step. So the buffers of large arrays are kept, and the next array
takes one that nobody uses any more: every array refers to the memory that it lies in, so the count of references tells.
Buffers start at a multiple of 64 bytes, a line of the cache, which a vector register of AVX-512 then never straddles;
NumPy's own are 16 bytes off.

Each thread has its own, so nothing here needs a lock.
"""

import math
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from allconv.typing import Array

_LINE = 64  # bytes
_LARGE = 1 << 16  # bytes from which an array is worth the search for a buffer
_IDLE_BYTES = 256 << 20  # of unused buffers that a thread keeps when it needs another one
_SCRATCH_BYTES = 64 << 20  # that a thread keeps between two calls

_local = threading.local()
W = TypeVar("W")


def _buffer(nbytes: int) -> Array:
    """Return so many bytes that start with a line of the cache: a view of the array that owns the memory."""
    owner = np.empty(nbytes + _LINE, np.uint8)
    start = -owner.ctypes.data % _LINE
    return owner[start : start + nbytes]


def _references(buffers: list[Array], index: int) -> int:
    """Return the number of references to the owner of a buffer's memory: each array in that memory is one."""
    return sys.getrefcount(buffers[index].base)


_UNUSED = _references([_buffer(0)], 0)  # without arrays in it: this differs between versions of Python


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an uninitialized array, as `numpy.empty` does; a large one in a buffer that no array uses any more."""
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < _LARGE:
        return np.empty(shape, dtype)
    buffers: list[Array] = vars(_local).setdefault("buffers", [])
    unused = [k for k in range(len(buffers)) if _references(buffers, k) == _UNUSED]
    fitting = [k for k in unused if nbytes <= buffers[k].size <= 2 * nbytes]
    if fitting:
        return np.ndarray(shape, dtype, buffers[min(fitting, key=lambda k: buffers[k].size)])
    _forget_unused(buffers, unused)
    buffers.append(_buffer(nbytes))
    return np.ndarray(shape, dtype, buffers[-1])


def _forget_unused(buffers: list[Array], unused: list[int]) -> None:
    """Drop the oldest of the unused buffers until the others are within bounds."""
    idle = sum(buffers[k].size for k in unused)
    for dropped, k in enumerate(unused):
        if idle <= _IDLE_BYTES:
            break
        idle -= buffers.pop(k - dropped).size


class Scratch:
    """A block of memory that grows to the largest array taken from it, and is used again."""

    def __init__(self) -> None:
        self._block: Array | None = None

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return an uninitialized array in the block: its values last until the next call."""
        nbytes = math.prod(shape) * dtype.itemsize
        if self._block is None or self._block.size < nbytes:
            self._block = _buffer(nbytes)
        return np.ndarray(shape, dtype, self._block)


@contextmanager
def borrowed(kind: type[W]) -> Iterator[W]:
    """Lend this thread's workspace of the class `kind`, whose attributes are `Scratch` objects.

    A second borrower in the same thread, as a signal handler may be, gets a workspace of its own.
    """
    idle: dict[type[Any], list[Any]] = vars(_local).setdefault("workspaces", {})
    workspace = idle.setdefault(kind, []).pop() if idle.get(kind) else kind()
    try:
        yield workspace
    finally:
        idle.setdefault(kind, []).append(workspace)


def free() -> None:
    """Let go of what this thread keeps; arrays in use stay as they are."""
    vars(_local).clear()
