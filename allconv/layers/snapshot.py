"""What the two passes of a model may write to, kept and put back or written to a copy; and what their caches hold."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.intercept import observe_alike
from allconv.layers.nesting import parameters_in
from allconv.parameter import Parameter
from allconv.typing import Array


class Snapshot:
    """Everything that a forward or backward pass may write to, as it was when this object was made.

    Parameters
    ----------
    model : Layer
        Of its parameters the values, gradients and names are kept; of its layers the states.
    """

    def __init__(self, model: Layer) -> None:
        # The names first: to list the parameters gives them new ones.
        found = {id(p): p for layer in model.walk() for p in vars(layer).values() if isinstance(p, Parameter)}
        self._parameters = [(p, p.name, p.value.copy(), p.grad) for p in found.values()]
        self._states = [(layer, copy.deepcopy(layer.state())) for layer in model.walk() if layer.state()]

    def restore(self) -> None:
        """Put all of it back, to the bit."""
        for parameter, name, value, grad in self._parameters:
            if parameter.value.flags.writeable:  # a fused copy's are not, and nothing can have changed them
                parameter.value = value
            parameter.name, parameter.grad = name, grad
        for layer, state in self._states:
            layer.load_state(copy.deepcopy(state))


@contextmanager
def unchanged(model: Layer) -> Iterator[None]:
    """Let a block run passes of `model` that leave no trace in it.

    The parameters start the block without gradients. At its end, after an error too, values, gradients and states are
    those from before.

    Parameters
    ----------
    model : Layer
        The model itself is used, not a copy. So no other thread may use it meanwhile.
    """
    snapshot = Snapshot(model)
    try:
        clear_gradients(model)
        yield
    finally:
        snapshot.restore()


def private_copy(model: Layer) -> Layer:
    """Return a copy of a model that shares the values of its parameters, and starts without gradients.

    Gradients, flags and observers of the copy are its own, so its passes disturb no other thread that uses the model.
    What observes the model now, backward rules too, observes the copy.

    Parameters
    ----------
    model : Layer
        It stays as it is.

    Returns
    -------
    Layer
        For passes at inference. Nothing may write to its values.
    """
    arrays = (array for p in parameters_in(model) for array in (p.value, p.grad) if array is not None)
    copied = copy.deepcopy(model, {id(array): array for array in arrays})
    clear_gradients(copied)
    for layer, own in zip(model.walk(), copied.walk(), strict=True):
        observe_alike(own, layer)
    return copied


def clear_gradients(model: Layer) -> None:
    """Set the gradients of all parameters to None."""
    for parameter in model.parameters():
        parameter.grad = None


def arrays_in(cache: Any) -> Iterator[Array]:
    """Yield the arrays in a cache, whatever tuples, lists, dicts and plain objects they lie in.

    Parameters
    ----------
    cache : object
        What a forward pass has returned for the backward pass.

    Yields
    ------
    array
        Each array, in the order in which the cache holds them.

    Examples
    --------
    >>> [array.shape for array in arrays_in((np.zeros(2), None, [np.zeros(3)]))]
    [(2,), (3,)]
    """
    if isinstance(cache, np.ndarray):
        yield cache
    elif isinstance(cache, dict):
        for value in cache.values():
            yield from arrays_in(value)
    elif isinstance(cache, list | tuple):
        for value in cache:
            yield from arrays_in(value)
    elif hasattr(cache, "__dict__") and not isinstance(cache, Layer | Parameter | type):
        yield from arrays_in(vars(cache))
