"""The arrays that an update works on, cut into slices that the threads share."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from allconv.parallel.pool import SLICE_ELEMENTS, run, slices
from allconv.typing import Array
from allconv.validation import quiet

T = TypeVar("T")

# The smallest update that is shared among threads, in elements. Handing a smaller one to other threads, which takes
# 50 us, costs about as much time as it saves.
_PARALLEL_ELEMENTS = 1 << 18


@dataclass(slots=True)
class Piece:
    """A parameter, several small ones, or a slice of them, as flat arrays of one length.

    Attributes
    ----------
    w : array
        The weights, as a view of the parameter's value. Those of several parameters are a copy.
    g : array
        The gradient of the loss with respect to the weights.
    slots : dict of str to array
        The optimizer's own arrays, such as a velocity, by name.
    decay : bool
        Whether weight decay applies to the weights.
    values : list of array
        The values of several parameters, in the order of `w`; empty for one parameter.
    """

    w: Array
    g: Array
    slots: dict[str, Array]
    decay: bool
    values: Sequence[Array] = ()

    def __getitem__(self, part: slice) -> "Piece":
        slots = {name: slot[part] for name, slot in self.slots.items()}
        return Piece(self.w[part], self.g[part], slots, self.decay)

    def write_back(self) -> None:
        """Give the updated weights to several parameters; a parameter by itself has them already."""
        start = 0
        for value in self.values:
            stop = start + value.size
            value.reshape(-1)[:] = self.w[start:stop]
            start = stop


def over_slices(function: Callable[[Piece], T], pieces: Sequence[Piece]) -> list[list[T]]:
    """Return ``function(slice)`` for the slices of each piece, grouped by piece and in order.

    The cuts depend on the sizes alone, so that sums of the results have the same bits for any number of threads.
    """
    cut = [
        [piece] if piece.w.size <= SLICE_ELEMENTS else [piece[part] for part in slices(piece.w.size, SLICE_ELEMENTS)]
        for piece in pieces
    ]
    parts = [part for group in cut for part in group]
    if sum(piece.w.size for piece in pieces) < _PARALLEL_ELEMENTS:
        results = iter([function(part) for part in parts])
    else:
        results = iter(run(lambda number: function(parts[number]), len(parts)))
    return [[next(results) for _ in group] for group in cut]


class _Overflow(threading.local):
    """Whether a result of this thread was too large for its dtype; NumPy calls the object when one is."""

    seen = False

    def __call__(self, *_: object) -> None:
        self.seen = True


_overflow = _Overflow()


def watch_overflow() -> np.errstate:
    """Return a context in which `overflowed` works, in place of NumPy's warnings; a step enters it once."""
    return quiet(over="call", call=_overflow)


def overflowed() -> bool:
    """Tell whether a result of this thread was too large for its dtype since this was last asked."""
    seen, _overflow.seen = _overflow.seen, False
    return seen


def limited_square(g: Array) -> tuple[Array, Array]:
    """Return the gradient, limited to a size whose square its dtype can hold, and its square.

    The limit is 2^63 = 9e18 in float32. An optimizer that divides by the root of a mean square makes the same step for
    a gradient of that size as for a larger one. Without the limit the mean square would be infinite from then on, and
    the weight would never move again. Infinite elements stay infinite, so that they can be noticed.

    This is for the update of a step, within `watch_overflow`.
    """
    square = g * g
    if overflowed():
        limit = 2.0 ** (np.finfo(g.dtype).maxexp // 2 - 1)
        g = np.where(np.isfinite(g), g.clip(-limit, limit), g)
        square = g * g
    return g, square
