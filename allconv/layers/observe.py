"""Observers: functions that see, and may change, what goes through the layers of a model."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from allconv.layers.base import Layer
from allconv.layers.intercept import Call, Observer, attach
from allconv.typing import Array, Cache
from allconv.validation import check_callable, describe, items_of

ForwardObserver = Callable[[Call, Array], tuple[Array, Cache]]
BackwardObserver = Callable[[Call, Array, Cache], Array | None]


def observe(
    layers: Layer | Iterable[tuple[str, Layer]],
    *,
    forward: ForwardObserver | None = None,
    backward: BackwardObserver | None = None,
    rule: str | None = None,
) -> AbstractContextManager[None]:
    """Return a context in which the calls of layers go through functions of the caller's.

    An observer gets the call and its arrays, passes them on with ``call(...)``, and returns what the caller is to get.
    What it returns may differ from what the layer returned, and so may the arrays that it passes on. The statistics of
    layers, the profile, the search for NaN, the backward rules and the gradient check are all observers.

    Parameters
    ----------
    layers : Layer, or iterable of (path, Layer)
        A model, for all its layers, itself included; or pairs such as those of ``model.leaves()``. A layer that stands
        in several places is observed once, under its first path.
    forward : callable, optional
        ``forward(call, x) -> (y, cache)``, where ``call(x)`` returns the layer's own pair. The cache need not be the
        layer's: `backward` gets what `forward` returned.
    backward : callable, optional
        ``backward(call, dy, cache) -> dx``, where ``call(dy, cache)`` returns the layer's own dL/dx. It sees calls of
        `backward_parameters` too. These return None, and their result is not used.
    rule : str, optional
        The name of what `backward` sends back in the place of the derivative. ``model.summary`` and
        `allconv.rules.active_rules` list it.

    Returns
    -------
    context manager
        At its end the layers are as before, after an error too. It can be used as a decorator.

    Raises
    ------
    TypeError
        If `layers` are no layers, or an observer is not callable.

    See Also
    --------
    allconv.rules.override_backward : Replace the backward pass of chosen layers.

    Notes
    -----
    The observer that was opened last sees a call first; its ``call(...)`` leads to the one before. An observer sees
    each call of a layer once: not the calls that a layer's method makes to other methods of the same layer. An
    observer that calls ``call.layer.backward`` gets the backward pass of the layer's class, without observers.
    Copies of an observed layer are not observed.

    An observer sees the calls of all threads. While the context opens or closes, no other thread may use the model.

    At prediction, ``model(x)``, a `Sequential` and a `Skip` call the layers that they hold and not their own `forward`.
    Only the layers that compute are seen then.

    Examples
    --------
    >>> from allconv import Linear, ReLU, Sequential
    >>> model = Sequential(Linear(2, 3), ReLU())
    >>> def shapes(call, x):
    ...     y, cache = call(x)
    ...     print(f"{call.path} {type(call.layer).__name__}: {x.shape} -> {y.shape}")
    ...     return y, cache
    >>> with observe(model.leaves(), forward=shapes):
    ...     y = model(np.ones((5, 2), np.float32))
    0 Linear: (5, 2) -> (5, 3)
    1 ReLU: (5, 3) -> (5, 3)
    """
    pairs = list(layers.named_layers()) if isinstance(layers, Layer) else _pairs(layers)
    for name, function in (("forward", forward), ("backward", backward)):
        check_callable(name, function, takes="call, x" if name == "forward" else "call, dy, cache", optional=True)
    if not isinstance(rule, str | None):
        raise TypeError(f"rule must be a str or None, got {describe(rule)}")
    observed: dict[int, tuple[Layer, Observer]] = {}
    for path, layer in pairs:
        observed.setdefault(id(layer), (layer, Observer(path, forward, backward, rule)))
    return _attached(list(observed.values()))


def _pairs(layers: object) -> list[tuple[str, Layer]]:
    """Return the (path, layer) pairs of an iterable."""
    pairs: list[tuple[str, Layer]] = []
    items = items_of(layers)
    for pair in [layers] if items is None else items:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], Layer)):
            raise TypeError(f"layers must be a Layer or pairs (path, Layer), got {describe(pair)}")
        pairs.append((pair[0], pair[1]))
    return pairs


@contextmanager
def _attached(observed: list[tuple[Layer, Observer]]) -> Iterator[None]:
    """Attach the observers, and detach them at the end."""
    with ExitStack() as stack:
        for layer, observer in observed:
            stack.callback(attach(layer, observer))
        yield
