"""What all optimizers share: the parameters, the step, weight decay, and the state that a checkpoint keeps."""

# This file is longer than 300 lines because its docstrings hold the contract of all optimizers.

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from allconv.optimizers.checking import check_groups, check_paths, gradient_of
from allconv.optimizers.groups import Grouped, Groups
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


# Longer than 150 lines because its docstrings hold the contract and the equations; the code is short.
class Optimizer(Grouped):
    """The base of all optimizers.

    A subclass defines `update`, and calls `add_slot` in ``__init__`` for each array that it keeps per parameter.

    Parameters
    ----------
    parameters : iterable of Parameter, or list of dict
        The parameters to update, usually ``model.parameters()``: at least one, and each of them once. A list of dicts
        makes groups: each dict has the key ``"parameters"``, and settings of its own by name. All other settings of a
        group are those of the optimizer.
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
    groups : list of Optimizer
        The groups, each an optimizer of the same class whose settings can be read and assigned. An optimizer without
        groups is its own only group.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range or of what the parameters' dtype can hold, or the parameters are not
        distinct or share a name. An assignment to a setting is checked in the same way.

    Notes
    -----
    The settings of an optimizer, such as its learning rate, may be assigned at any time, and count from the next step
    on. Those that decide what the slots hold stay as they were made, and an assignment raises AttributeError.

    An assignment to a setting of the optimizer reaches all groups without a value of their own. An assignment to
    ``groups[i]`` reaches that group, which has a value of its own from then on. The learning rate is the exception: an
    assignment to the optimizer's multiplies the rates of all groups by the same factor, so that a schedule serves all
    of them. A subclass declares each setting that a group may have as a `Hyperparameter`; a group finds all other
    attributes in the whole optimizer.

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

    The second group has ten times the rate of the first, whatever a schedule assigns:

    >>> q = Parameter(np.array([1.0]))
    >>> optimizer = Descent([{"parameters": [p]}, {"parameters": [q], "learning_rate": 1.0}], learning_rate=0.1)
    >>> optimizer.learning_rate = 0.02
    >>> [group.learning_rate for group in optimizer.groups]
    [0.02, 0.2]
    """

    # The number of the step at which the velocity of a group begins.
    _first_velocity = 1

    def __init__(
        self,
        parameters: Iterable[Parameter] | Groups,
        learning_rate: float,
        *,
        weight_decay: float = 0.0,
    ) -> None:
        groups = check_groups(parameters, self._settings())
        self.step_count = 0
        self._own_parameters([parameter for group, _ in groups for parameter in group], first=0)
        # The names are taken now, because listing the parameters of a part of the model renames them.
        self._paths = check_paths(self.parameters)
        self._make_groups(groups)
        self._set_rates(learning_rate)
        self.weight_decay = weight_decay

    weight_decay = Hyperparameter(check_non_negative)

    def after_setting(self, name: str) -> None:
        """Act on a setting that was just stored in an optimizer without groups, or in a group; by default do nothing.

        Parameters
        ----------
        name : str
            The name of the setting.
        """

    def add_slot(self, name: str, fill: float = 0.0) -> None:
        """Give every parameter an array of its shape and dtype, which `update` gets as a slice.

        Parameters
        ----------
        name : str
            The name of the argument by which `update` gets the slot.
        fill : float, default 0.0
            The initial value of all elements.
        """
        for group in self.groups:
            group._slots[name] = group._layout.new_slot(fill)

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
            If a trainable parameter has no gradient, or its gradient has another shape, or this is a group of another
            optimizer; nothing is changed then.
        TypeError
            If a gradient is not of a real floating dtype; nothing is changed then.
        """
        self._check_whole()
        work = [(group, group._pieces()) for group in self.groups]
        self.step_count += 1
        with watch_overflow():
            for group, pieces in work:
                group._apply(pieces)
                for piece in pieces:
                    piece.write_back()
        if self.step_count % _FLUSH_PERIOD == 0:
            for group, pieces in work:
                over_slices(group._flush, pieces)
        for parameter in self.parameters:
            parameter.grad = None

    def _pieces(self) -> list[Piece]:
        """Return what a step of a group updates."""
        gradients = {
            number: gradient_of(parameter, self._numbers[number])
            for number, parameter in enumerate(self.parameters)
            if parameter.trainable
        }
        return self._layout.pieces(gradients, self._slots, joined=self._is_elementwise())

    def _is_elementwise(self) -> bool:
        """Tell whether a step needs no more of a parameter than `update` does, so that small ones may be joined."""
        return True

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
            that the parameter had when the optimizer was made, or its index in the list if it had no name. With groups,
            the array ``rate_factors`` has the learning rate of each divided by the optimizer's. A velocity that has yet
            to begin has the number of its first step under ``first_velocity``.
        """
        state = {"step_count": self.step_count} | {key: array.copy() for key, array in self._entries().items()}
        for key, group in self._velocities().items():
            if group._first_velocity > max(1, self.step_count):
                state[key] = group._first_velocity
        factors = [group._rate_factor for group in self._all_inner()]
        return state | ({"rate_factors": np.array(factors)} if factors else {})

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
        self._check_whole()
        entries, inner = self._entries(), self._all_inner()
        missing = [key for key in ("step_count", *entries) if key not in state]
        velocities = self._velocities()
        others = ("step_count", *velocities, *(["rate_factors"] if inner else []))
        unexpected = [str(key) for key in state if key not in others and key not in entries]
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
        # A state from before there were groups has no factors.
        factors = check_floating("rate_factors", state.get("rate_factors", [group._rate_factor for group in inner]))
        if factors.shape != (len(inner),):
            raise ValueError(f"rate_factors must have shape ({len(inner)},), got {describe(factors)}")
        firsts = {key: check_int(key, state.get(key, 1)) for key in velocities}
        self.step_count = step_count
        for group, factor in zip(inner, factors.tolist(), strict=True):
            group._rate_factor = factor
        for key, array in entries.items():
            array[...] = loaded[key]
        for key, group in velocities.items():
            group._first_velocity = firsts[key]

    def _velocities(self) -> dict[str, "Optimizer"]:
        """Return the groups with a velocity, each under the key that its first step has in the state."""
        return {
            f"first_velocity/{index}" if self._inner else "first_velocity": group
            for index, group in enumerate(self.groups)
            if "velocity" in group._slots
        }

    def _entries(self) -> dict[str, Array]:
        """Return the slots themselves under their keys in the state."""
        return {
            f"{name}/{self._paths[group._numbers[number]]}": group._layout.part(slot, number).reshape(p.value.shape)
            for group in self.groups
            for name, slot in group._slots.items()
            for number, p in enumerate(group.parameters)
        }

    def __repr__(self) -> str:
        groups = f" in {len(self.groups)} groups" if self._inner else ""
        return f"{type(self).__name__}({len(self.parameters)} parameters{groups}, learning_rate={self.learning_rate:g})"
