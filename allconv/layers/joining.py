"""Two layers in one pass over memory: an activation overwrites the blocks that its neighbour has just finished.

An activation alone reads all numbers of a layer's output and writes as many. That takes longer than its arithmetic. A
convolution computes its output block by block, and a finished block is still in the cache. So a `Sequential` joins such
neighbours::

    forward     x  --> Conv2D, each block through ReLU.write -->  y
    backward    dx <-- Conv2D, each block through the ReLU.write_gradient of the layer before <-- dy

It knows no pair. One layer offers what it does to a block (`Overwriting`), and another accepts that (`Finishing`). The
bits, and the caches, are those of two passes. Where somebody observes one of the two layers, or a rule replaces its
backward pass, they are called one after the other.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from allconv.layers.base import Layer
from allconv.parallel.pool import in_slices
from allconv.typing import Array, Cache
from allconv.validation import check_gradient

Pair = tuple[str, str]  # a pass, and the method that stands for it where two layers are joined

_ACCEPTS_FORWARD, _ACCEPTS_BACKWARD = ("forward", "forward_with"), ("backward", "backward_with")
_OFFERS_FORWARD, _OFFERS_BACKWARD = ("forward", "write"), ("backward", "write_gradient")
_PAIRS = (_ACCEPTS_FORWARD, _ACCEPTS_BACKWARD, _OFFERS_FORWARD, _OFFERS_BACKWARD)


class _Joinable(Layer):
    """A layer whose class remembers which pairs of methods do the same, and those methods."""

    _pairs: ClassVar[dict[Pair, tuple[Any, Any]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        """Keep the pairs that one class defines: a subclass may define one method of a pair alone."""
        super().__init_subclass__(**options)
        cls._pairs = {}
        for pair in _PAIRS:
            nearest = next(vars(base).keys() for base in cls.__mro__ if not vars(base).keys().isdisjoint(pair))
            if nearest >= set(pair):
                cls._pairs[pair] = getattr(cls, pair[0]), getattr(cls, pair[1])


class Overwriting(_Joinable):
    """An activation, element by element, whose derivative follows from its output y. Its cache is y."""

    def write(self, x: Array, y: Array) -> None:
        """Write the activation of x to y.

        Parameters
        ----------
        x, y : array
            Of one shape and dtype. y may be x itself.
        """
        raise NotImplementedError(f"{type(self).__name__} must define write")

    def write_gradient(self, dy: Array, y: Array, dx: Array) -> None:
        """Write dL/dx to dx.

        Parameters
        ----------
        dy, y, dx : array
            Of one shape and dtype. dx may be dy itself.
        """
        raise NotImplementedError(f"{type(self).__name__} must define write_gradient")


class Finishing(_Joinable):
    """A layer that computes its output, or its dL/dx, in blocks that an activation may overwrite.

    Its backward pass needs its input, and not the output that was overwritten. A layer may define one method alone.
    """

    def forward_with(self, x: Array, activation: Overwriting, *, training: bool = False) -> tuple[Array, Cache]:
        """Return the activation of the output, and this layer's own cache.

        Parameters
        ----------
        x : array (N, ...)
            The batch.
        activation : Overwriting
            The layer after this one.
        training : bool, default False
            As in `forward`.

        Returns
        -------
        y : array (N, ...)
            The activation's output, which is its cache too.
        cache : object
            As from `forward`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward_with")

    def backward_with(
        self, dy: Array, cache: Cache, activation: Overwriting, y: Array, *, release: bool = False
    ) -> Array:
        """Return the gradient at the input of the layer before, and add this layer's own gradients.

        Parameters
        ----------
        dy : array
            The gradient at this layer's output.
        cache : object
            This layer's.
        activation : Overwriting
            The layer before this one.
        y : array
            The activation's cache, its output.
        release : bool, default False
            As in `backward`.

        Returns
        -------
        array
            The gradient at the activation's input.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward_with")


def overwritten(dx: Array, activation: Overwriting, y: Array) -> Array:
    """Return dx, overwritten with the gradient at the input of the activation before.

    Parameters
    ----------
    dx : array (N, ...)
        A gradient that nobody else has, such as a layer's backward pass has just made.
    activation : Overwriting
        The layer before.
    y : array (N, ...)
        The activation's output.

    Returns
    -------
    array
        dx itself.
    """
    check_gradient(dx, y)
    in_slices(lambda part: activation.write_gradient(dx[part], y[part], dx[part]), dx)
    return dx


def in_forward_order(layers: Sequence[Layer]) -> Iterator[tuple[Any, Overwriting | None]]:
    """Yield each layer with the activation after it that it can finish, or None.

    Parameters
    ----------
    layers : sequence of Layer
        In forward order.

    Yields
    ------
    (Layer, Overwriting or None)
        An activation that is joined is not yielded again.
    """
    return _joined(layers, _ACCEPTS_FORWARD, _OFFERS_FORWARD)


def in_backward_order(layers: Sequence[Layer]) -> Iterator[tuple[Any, Overwriting | None]]:
    """Yield each layer, from the last to the first, with the activation before it that it can finish, or None.

    Parameters
    ----------
    layers : sequence of Layer
        In forward order.

    Yields
    ------
    (Layer, Overwriting or None)
        An activation that is joined is not yielded again.
    """
    return _joined(layers[::-1], _ACCEPTS_BACKWARD, _OFFERS_BACKWARD)


def _joined(layers: Sequence[Layer], accepts: Pair, offers: Pair) -> Iterator[tuple[Any, Overwriting | None]]:
    """Yield each layer with the next one, if the two have the methods that joining takes."""
    waiting: deque[Any] = deque(layers)
    while waiting:
        layer = waiting.popleft()
        yield layer, waiting.popleft() if _has(layer, accepts) and waiting and _has(waiting[0], offers) else None


def _has(layer: Layer, pair: Pair) -> bool:
    """Tell whether a layer has a pair of methods, and no observer, rule or program has replaced one of them."""
    if not isinstance(layer, _Joinable) or "forward" in vars(layer) or "backward" in vars(layer):
        return False
    methods, layer_class = layer._pairs.get(pair), type(layer)
    return methods is not None and methods == (getattr(layer_class, pair[0]), getattr(layer_class, pair[1]))
