"""What the layers of a plan share while it is built: the memory, and the stages so far."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from allconv.functional.padding import Pads
from allconv.functional.rectify import positive_part
from allconv.layers.base import Layer
from allconv.layers.relu import ReLU
from allconv.parallel import buffers
from allconv.parallel.stages import Part
from allconv.typing import Array

NO_MARGINS: Pads = ((0, 0), (0, 0))

# Bounds the memory of a plan, in bytes. One image of 32x32 pixels through the ConvPool net takes 10 MB. Larger batches
# are computed block by block, where the time of a call no longer counts.
_MOST_BYTES = 1 << 24

# Bounds the work of a layer that two threads share from below, in multiply-adds of a matrix product. They take 100 us,
# and a thread takes 30 us to wake after it has waited for the other.
_LEAST_SHARED_WORK = 10_000_000

# Bounds the parts of a stage, as a number. More threads would wait for Python's lock and for each other longer than
# they compute.
_MOST_PARTS = 2


class PlanTooLargeError(Exception):
    """A plan would take more memory than it may."""


class Stored(NamedTuple):
    """An array in the memory of a plan. Images may have margins of zeros, which are the padding of the next layer.

    Attributes
    ----------
    whole : array (N, top + H + bottom, left + W + right, C), or (N, F)
        In C order.
    margins : pair of pairs of int
        ((top, bottom), (left, right)).
    """

    whole: Array
    margins: Pads = NO_MARGINS

    @property
    def values(self) -> Array:
        """The array without its margins, (N, H, W, C) or (N, F)."""
        if self.margins == NO_MARGINS:
            return self.whole
        (top, bottom), (left, right) = self.margins
        _, height, width, _ = self.whole.shape
        return self.whole[:, top : height - bottom, left : width - right]


class Builder:
    """The memory and the stages of a plan that is being built.

    Parameters
    ----------
    dtype : numpy.dtype
        Of all arrays.

    Attributes
    ----------
    memory : list of arrays
        All arrays so far.
    stages : list of list of parts
        The stages so far.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.memory: list[Array] = []
        self.stages: list[list[list[Callable[[], object]]]] = []
        self._bytes = 0
        self._scratch: dict[str, Array] = {}

    def store(self, shape: tuple[int, ...], margins: Pads = NO_MARGINS) -> Stored:
        """Return memory for an input or an output. No other layer writes there, so the margins stay zero."""
        if margins != NO_MARGINS:
            images, height, width, channels = shape
            shape = (images, height + sum(margins[0]), width + sum(margins[1]), channels)
        array = self._array(shape)
        array[...] = 0
        return Stored(array, margins)

    def scratch(self, role: str, shape: tuple[int, ...]) -> Array:
        """Return uninitialized memory, which all layers share that ask for the same role."""
        size = math.prod(shape)
        block = self._scratch.get(role)
        if block is None or block.size < size:
            block = self._scratch[role] = self._array((size,))
        return block[:size].reshape(shape)

    def constant(self, array: Array) -> Array:
        """Return an array that was made for this plan alone, and count its memory."""
        self._count(array.nbytes)
        return array

    def _array(self, shape: tuple[int, ...]) -> Array:
        self._count(math.prod(shape) * self.dtype.itemsize)
        array = buffers.empty(shape, self.dtype)
        self.memory.append(array)
        return array

    def _count(self, nbytes: int) -> None:
        self._bytes += nbytes
        if self._bytes > _MOST_BYTES:
            raise PlanTooLargeError

    def parts(self, work: int) -> int:
        """Return into how many parts a layer is cut: by its work in multiply-adds, whatever the number of threads."""
        return _MOST_PARTS if work >= _LEAST_SHARED_WORK else 1

    def add(self, *parts: Part) -> None:
        """Add a stage of independent parts. Single parts that follow each other become one."""
        if len(parts) == 1 and self.stages and len(self.stages[-1]) == 1:
            self.stages[-1][0].extend(parts[0])
        else:
            self.stages.append([list(part) for part in parts])

    def with_margins(self, x: Stored, margins: Pads) -> Stored:
        """Return `x` if its margins are large enough, or else a copy that the plan makes."""
        if np.greater_equal(x.margins, margins).all():
            return x
        wider = self.store(x.values.shape, margins)
        self.add([partial(np.copyto, wider.values, x.values)])
        return wider

    def activation(self, layer: Layer | None, source: Array, target: Array) -> Part:
        """Return the calls that write the activation of `source` to `target`, which may be the same array."""
        if layer is None:
            return [] if target is source else [partial(np.copyto, target, source)]
        if type(layer) is ReLU:
            return [partial(positive_part, source, out=target)]
        return [partial(apply, layer, source, target)]


def apply(layer: Layer, source: Array, target: Array) -> None:
    """Write the output of any layer to `target`."""
    np.copyto(target, layer(source))


def view(array: Array, start: int, shape: tuple[int, ...], steps: tuple[int, ...]) -> Array:
    """Return a view of an array in C order, as `as_strided` does in ten times as long.

    Parameters
    ----------
    array : array
    start : int
        The place of the view's first number.
    shape : tuple of int
    steps : tuple of int
        How many numbers lie between two neighbours along each axis.
    """
    size = array.itemsize
    return np.ndarray(shape, array.dtype, array.data, start * size, tuple(step * size for step in steps))


def even_slices(count: int, parts: int) -> list[slice]:
    """Return consecutive slices of range(count), of nearly the same length and none of them empty."""
    parts = min(parts, count)
    return [slice(part * count // parts, (part + 1) * count // parts) for part in range(parts)]


def divided_batch(images: int, rows: int, parts: int) -> list[tuple[slice, slice]]:
    """Return parts of a batch: some of the images with all rows, or some rows of a single image."""
    if images > 1:
        return [(part, slice(0, rows)) for part in even_slices(images, parts)]
    return [(slice(0, 1), part) for part in even_slices(rows, parts)]


def length(part: slice) -> int:
    """Return the number of items of a slice that has both bounds."""
    return int(part.stop - part.start)
