"""What the two passes of a model may write to, kept and put back."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from allconv.layers.base import Layer
from allconv.parameter import Parameter


class Snapshot:
    """Everything that a forward or backward pass may write to, as it was when this object was made.

    Parameters
    ----------
    model : Layer
        Of its parameters the values, gradients, flags ``trainable`` and names are kept; of its layers the states.
    """

    def __init__(self, model: Layer) -> None:
        # The names first: to list the parameters gives them new ones.
        found = {id(p): p for layer in model.walk() for p in vars(layer).values() if isinstance(p, Parameter)}
        self._parameters = [(p, p.name, p.value.copy(), p.grad, p.trainable) for p in found.values()]
        self._states = [(layer, copy.deepcopy(layer.state())) for layer in model.walk() if layer.state()]

    def restore(self) -> None:
        """Put all of it back, to the bit."""
        for parameter, name, value, grad, trainable in self._parameters:
            if parameter.value.flags.writeable:  # a fused copy's are not, and nothing can have changed them
                parameter.value = value
            parameter.name, parameter.grad, parameter.trainable = name, grad, trainable
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
        The model itself is used, not a copy.
    """
    snapshot = Snapshot(model)
    try:
        clear_gradients(model)
        yield
    finally:
        snapshot.restore()


def clear_gradients(model: Layer) -> None:
    """Set the gradients of all parameters to None."""
    for parameter in model.parameters():
        parameter.grad = None
