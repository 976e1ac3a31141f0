"""What all optimizers share: the parameters, the step, weight decay, and the state that a checkpoint keeps."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from allconv.optimizers.pieces import Piece, flush, over_slices
from allconv.parameter import Parameter, writable
from allconv.typing import Array
from allconv.validation import check_floating, check_int, check_non_negative, describe

# The number of steps between two searches for slots that are about to become denormal. A slot with the decay 0.9
# shrinks by the factor 0.9 ** 64 = 1e-3 in between. `flush` leaves elements from 1e8 times the smallest normal number
# on, so they stay normal.
_FLUSH_PERIOD = 64


class Optimizer:
    """The base of all optimizers.

    A subclass defines `update`, and calls `add_slot` in ``__init__`` for each array that it keeps per parameter.

    Parameters
    ----------
    parameters : iterable of Parameter
        The parameters to update, usually ``model.parameters()``: at least one, and each of them once.
    learning_rate : float
        The learning rate, at least 0, which may be assigned at any time.
    weight_decay : float, default 0.0
        The factor of the coupled weight decay (an L2 penalty), at least 0: a step adds ``weight_decay * w`` to the
        gradient of every parameter with ``decay=True``.

    Attributes
    ----------
    parameters : list of Parameter
        The parameters. A step skips those that are not trainable at that time.
    step_count : int
        The number of steps so far.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the parameters are not distinct or share a name.

    Notes
    -----
    A step updates the values in place. It reads the gradients, never writes to them, and sets ``grad`` to None at its
    end. The number of steps belongs to the optimizer and not to a parameter: while a parameter is frozen, its slots
    keep their values. Slots such as momentum or mean squares may fade away. They are set to zero before they become
    denormal numbers, which slow some processors 20 to 50 times.

    Examples
    --------
    Plain gradient descent:

    >>> class Descent(Optimizer):
    ...     def update(self, w, g):
    ...         w -= self.learning_rate * g
    >>> p = Parameter(np.array([1.0, 2.0])); p.add_grad(np.array([10.0, 0.0]))
    >>> Descent([p], learning_rate=0.01).step()
    >>> p.value
    array([0.9, 2. ])
    """

    def __init__(self, parameters: Iterable[Parameter], learning_rate: float, *, weight_decay: float = 0.0) -> None:
        self.parameters = check_parameters(parameters)
        self.learning_rate = learning_rate
        self.weight_decay = check_non_negative("weight_decay", weight_decay)
        self.step_count = 0
        self._slots: dict[str, list[Array]] = {}
        # The names are taken now, because listing the parameters of a part of the model renames them.
        self._paths = check_paths(self.parameters)

    @property
    def learning_rate(self) -> float:
        """The learning rate, a non-negative number."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._learning_rate = check_non_negative("learning_rate", rate)

    def add_slot(self, name: str, fill: float = 0.0) -> None:
        """Give every parameter an array of its shape and dtype, which `update` gets as a slice.

        Parameters
        ----------
        name : str
            The name of the argument by which `update` gets the slot.
        fill : float, default 0.0
            The initial value of all elements.
        """
        self._slots[name] = [np.full_like(parameter.value, fill) for parameter in self.parameters]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what was pickled or copied; read-only slots are copied, as `Parameter` does with its arrays."""
        vars(self).update(state)
        self._slots = {name: [writable(slot) for slot in slots] for name, slots in self._slots.items()}

    def update(self, w: Array, g: Array, *args: Any, **slots: Any) -> None:
        """Change the weights and the slots in place, element by element.

        A step calls this for slices of the parameters, perhaps on several threads at once. So an element may depend on
        the elements at its own place only.

        Parameters
        ----------
        w : array, shape (n,)
            The weights, which are changed.
        g : array, shape (n,)
            The gradient with the weight decay added, which is only read.
        *args : array, shape (n,)
            The base class passes none; a subclass names its slots instead.
        **slots : array, shape (n,)
            The slots by name, which are changed.

        Raises
        ------
        NotImplementedError
            If a subclass does not define it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update")

    def start_epoch(self, epoch: int) -> None:
        """Prepare for an epoch; `train` calls this when the epoch starts, and most optimizers do nothing.

        Parameters
        ----------
        epoch : int
            The number of the epoch, counted from 0.
        """

    def step(self) -> None:
        """Apply the gradients to the trainable parameters, and clear all gradients.

        Raises
        ------
        RuntimeError
            If a trainable parameter has no gradient, or its gradient has another shape; nothing is changed then.
        TypeError
            If a gradient is not of a real floating dtype; nothing is changed then.
        """
        pieces = [
            Piece(
                parameter.value.reshape(-1),
                gradient_of(parameter, index).reshape(-1),
                {name: arrays[index].reshape(-1) for name, arrays in self._slots.items()},
                parameter.decay,
            )
            for index, parameter in enumerate(self.parameters)
            if parameter.trainable
        ]
        self.step_count += 1
        self._apply(pieces)
        if self.step_count % _FLUSH_PERIOD == 0:
            over_slices(flush, pieces)
        for parameter in self.parameters:
            parameter.grad = None

    def _apply(self, pieces: list[Piece]) -> None:
        """Update all pieces in one sweep; an optimizer that needs sums over whole tensors makes several sweeps."""
        over_slices(lambda piece: self.update(piece.w, self._apply_weight_decay(piece), **piece.slots), pieces)

    def _apply_weight_decay(self, piece: Piece) -> Array:
        """Apply the weight decay to a piece, and return the gradient for `update`; here the decay is added to it."""
        if self.weight_decay == 0 or not piece.decay:
            return piece.g
        return piece.g + self.weight_decay * piece.w

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold.

        Returns
        -------
        dict
            The int ``step_count``, and a copy of each slot under the key ``slot/parameter path``. The path is the name
            that the parameter had when the optimizer was made, or its index in the list if it had no name.
        """
        return {"step_count": self.step_count} | {key: array.copy() for key, array in self._entries().items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned, bit by bit; a state that does not fit changes nothing.

        Parameters
        ----------
        state : mapping
            The value that `state` returned.

        Raises
        ------
        TypeError
            If `state` is no mapping, or an entry has the wrong type.
        ValueError
            If entries are missing or unexpected, all of which the message names, or an entry has another shape.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a dict as from state(), got {describe(state)}")
        entries = self._entries()
        missing = [key for key in ("step_count", *entries) if key not in state]
        unexpected = [str(key) for key in state if key != "step_count" and key not in entries]
        if missing or unexpected:
            raise ValueError(
                "state must hold exactly the entries of this optimizer; "
                f"missing: {', '.join(missing) or 'none'}; unexpected: {', '.join(unexpected) or 'none'}"
            )
        step_count = check_int("step_count", state["step_count"], minimum=0)
        loaded = {key: check_floating(key, state[key], array.dtype) for key, array in entries.items()}
        for key, array in entries.items():
            if loaded[key].shape != array.shape:
                raise ValueError(f"{key} must have shape {array.shape}, got {describe(loaded[key])}")
        self.step_count = step_count
        for key, array in entries.items():
            array[...] = loaded[key]

    def _entries(self) -> dict[str, Array]:
        """Return the slots themselves under their keys in the state."""
        return {
            f"{name}/{path}": array
            for name, arrays in self._slots.items()
            for path, array in zip(self._paths, arrays, strict=True)
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.parameters)} parameters, learning_rate={self.learning_rate:g})"


def check_parameters(parameters: object) -> list[Parameter]:
    """Return `parameters` as a list, which must hold at least one Parameter and none of them twice."""
    rule = "parameters must be a non-empty iterable of distinct Parameters"
    if not isinstance(parameters, Iterable):
        raise TypeError(f"{rule}, got {describe(parameters)}")
    listed = list(parameters)
    for index, parameter in enumerate(listed):
        if not isinstance(parameter, Parameter):
            raise TypeError(f"{rule}, got {describe(parameter)} at {index}")
    if not listed:
        raise ValueError(f"{rule}, got an empty {type(parameters).__name__}")
    seen: dict[int, int] = {}
    for index, parameter in enumerate(listed):
        first = seen.setdefault(id(parameter), index)
        if first != index:
            raise ValueError(f"{rule}, got {parameter!r} twice, at {first} and {index}")
    return listed


def check_paths(parameters: list[Parameter]) -> list[str]:
    """Return the names of `parameters`, which must be distinct; the index in the list stands for a missing name."""
    places: dict[str, int] = {}
    for index, parameter in enumerate(parameters):
        path = path_of(parameter, index)
        if path in places:
            raise ValueError(
                f"parameters must have distinct names, got {path!r} at {places[path]} and {index}; "
                "put the layers into one model, and list that model's parameters"
            )
        places[path] = index
    return list(places)


def path_of(parameter: Parameter, index: int) -> str:
    """Return the parameter's name, or its index in the list if it has no name."""
    return parameter.name or str(index)


def gradient_of(parameter: Parameter, index: int) -> Array:
    """Return the gradient in the dtype of the value; RuntimeError if it is missing or has another shape."""
    value, grad = parameter.value, parameter.grad
    if grad is None:
        raise RuntimeError(
            f"every trainable parameter must have a gradient, got none for {path_of(parameter, index)}: "
            "call backward first, or set trainable=False"
        )
    if grad.dtype != value.dtype:
        grad = check_floating(f"the gradient of {path_of(parameter, index)}", grad, value.dtype)
    if grad.shape != value.shape:
        raise RuntimeError(
            f"the gradient of {path_of(parameter, index)} must have shape {value.shape}, got {describe(grad)}"
        )
    return grad
