"""What all optimizers share: the parameters, the step, weight decay, and the state that a checkpoint keeps."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from allconv.optimizers.checking import check_parameters, check_paths, gradient_of
from allconv.optimizers.hyperparameter import Hyperparameter
from allconv.optimizers.pieces import Piece, over_slices, watch_overflow
from allconv.parameter import Parameter, writable
from allconv.typing import Array
from allconv.validation import check_floating, check_int, check_non_negative, describe

# The number of steps between two searches for slots that are about to become denormal. A slot with the decay 0.9
# shrinks by the factor 0.9 ** 64 = 1e-3 in between.
_FLUSH_PERIOD = 64
# The size below which an element of a slot is set to zero then, as a multiple of the smallest normal number.
_FLUSH_MARGIN = 1e8


class Optimizer:
    """The base of all optimizers.

    A subclass defines `update`, and calls `add_slot` in ``__init__`` for each array that it keeps per parameter.

    Parameters
    ----------
    parameters : iterable of Parameter
        The parameters to update, usually ``model.parameters()``: at least one, and each of them once.
    learning_rate : float
        The learning rate, at least 0.
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
        If an argument is out of its range or of what the parameters' dtype can hold, or the parameters are not
        distinct or share a name. An assignment to a setting is checked in the same way.

    Notes
    -----
    The settings of an optimizer, such as its learning rate, may be assigned at any time, and count from the next step
    on. Those that decide what the slots hold stay as they were made, and an assignment raises AttributeError.

    A step updates the values in place. It reads the gradients, never writes to them, and sets ``grad`` to None at its
    end. The number of steps belongs to the optimizer and not to a parameter: while a parameter is frozen, its slots
    keep their values. Slots such as momentum or mean squares may fade away. They are set to zero before they become
    denormal numbers, which slow some processors 20 to 50 times; `negligible` says from which size on.

    A step knows only the parameters of its own optimizer. A backward pass also adds gradients to trainable parameters
    that another optimizer has, or none, and those stay until somebody clears them. `train` does so. A loop of one's own
    sets ``trainable=False`` for what it does not train.

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
        self._narrowest = min((p.value.dtype for p in self.parameters), key=lambda dtype: dtype.itemsize)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.step_count = 0
        self._slots: dict[str, list[Array]] = {}
        # The names are taken now, because listing the parameters of a part of the model renames them.
        self._paths = check_paths(self.parameters)

    weight_decay = Hyperparameter(check_non_negative)

    @property
    def learning_rate(self) -> float:
        """The learning rate, a non-negative number."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        rate = check_non_negative("learning_rate", rate)
        self.before_setting("learning_rate", rate)
        self._learning_rate = rate

    def before_setting(self, name: str, value: Any) -> None:
        """Check a new value of a setting against the parameters and the other settings, before it is stored.

        Parameters
        ----------
        name : str
            The name of the setting.
        value : object
            The value, which has passed the check of the setting itself.

        Raises
        ------
        ValueError
            If the value does not fit; nothing is changed then.
        """
        largest = float(np.finfo(self._narrowest).max)
        if isinstance(value, float) and abs(value) > largest:
            raise ValueError(
                f"{name} must be at most {largest:.3g}, the largest number of {self._narrowest}, which parameters "
                f"have, got {value!r}"
            )

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

    def _keep_slot(self, name: str, *, needed: bool) -> bool:
        """Make a slot that is needed, forget one that is not, and tell whether that changed anything."""
        if needed == (name in self._slots):
            return False
        if needed:
            self.add_slot(name)
        else:
            del self._slots[name]
        return True

    def negligible(self, slot: str, dtype: np.dtype[Any]) -> float:  # noqa: ARG002 - the slot matters to subclasses
        """Return the size below which an element of a slot is too small to matter, and is set to zero.

        Parameters
        ----------
        slot : str
            The name of the slot.
        dtype : dtype
            The dtype of its array.

        Returns
        -------
        float
            A multiple of the smallest normal number, unless a subclass says otherwise; 0 sets nothing to zero.
        """
        return _FLUSH_MARGIN * float(np.finfo(dtype).tiny)

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
        with watch_overflow():
            self._apply(pieces)
        if self.step_count % _FLUSH_PERIOD == 0:
            over_slices(self._flush, pieces)
        for parameter in self.parameters:
            parameter.grad = None

    def _apply(self, pieces: list[Piece]) -> None:
        """Update all pieces in one sweep; an optimizer that needs sums over whole tensors makes several sweeps."""
        over_slices(lambda piece: self.update(piece.w, self._apply_weight_decay(piece), **piece.slots), pieces)

    def _flush(self, piece: Piece) -> None:
        """Set to zero the elements of the slots that are too small to matter."""
        for name, slot in piece.slots.items():
            limit = self.negligible(name, slot.dtype)
            if limit > 0:
                slot[np.abs(slot) < limit] = 0

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
