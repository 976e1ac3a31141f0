"""What all optimizers share: the parameters, the step, weight decay, and the state that a checkpoint keeps."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from allconv.parallel.threads import run, slices
from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import check_floating, check_int, check_non_negative, describe

T = TypeVar("T")

_SLICE_ELEMENTS = 1 << 16  # 256 KB of float32; measured: smaller slices lose more to call overhead than caches give
_PARALLEL_ELEMENTS = 1 << 18  # below this, handing work to other threads (50 us) costs about what it saves
_FLUSH_PERIOD = 64  # steps; 0.9 ** 64 = 1e-3, so what is cut at 1e8 times the smallest normal number stays normal


@dataclass(slots=True)
class Piece:
    """A parameter, or a slice of one, as flat arrays of one length: weights `w`, gradient `g`, and the slots."""

    w: Array
    g: Array
    slots: dict[str, Array]
    decay: bool

    def __getitem__(self, part: slice) -> "Piece":
        slots = {name: slot[part] for name, slot in self.slots.items()}
        return Piece(self.w[part], self.g[part], slots, self.decay)


class Optimizer:
    """The base of all optimizers; to write one's own, call `add_slot` in ``__init__`` and define `update`.

    Parameters
    ----------
    parameters : iterable of Parameter
        What to update, usually ``model.parameters()``. At least one, each of them once.
    learning_rate : float
        At least 0; may be assigned at any time.
    weight_decay : float, default 0.0
        At least 0. Coupled (an L2 penalty): ``weight_decay * w`` is added to the gradient of every parameter
        with ``decay=True``.

    Attributes
    ----------
    parameters : list of Parameter
        Those that are not trainable at the time of a step are skipped.
    step_count : int
        How many steps have been made.

    Notes
    -----
    Values are updated in place. The gradients are read, never written to, and given up (``grad = None``) at the
    end of the step. The number of steps is the optimizer's, not the parameter's: a parameter that was frozen for a
    while comes back with the slots that it left with. Slots (momentum, mean squares) that fade away are set to zero
    before they become denormal numbers, which slow some processors 20 to 50 times.

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
        # Taken now, because listing the parameters of a part of the model renames them.
        self._paths = check_paths(self.parameters)

    @property
    def learning_rate(self) -> float:
        """The learning rate, a non-negative number."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._learning_rate = check_non_negative("learning_rate", rate)

    def add_slot(self, name: str, fill: float = 0.0) -> None:
        """Give every parameter an array of its shape and dtype, full of `fill`, that `update` gets as `name`."""
        self._slots[name] = [np.full_like(parameter.value, fill) for parameter in self.parameters]

    def update(self, w: Array, g: Array, *args: Any, **slots: Any) -> None:
        """Change the flat array `w` and the slots in place for the gradient `g`, element by element."""
        raise NotImplementedError(f"{type(self).__name__} must define update")

    def start_epoch(self, epoch: int) -> None:
        """Do what is due when an epoch, counted from 0, starts: nothing in most optimizers."""

    def step(self) -> None:
        """Apply the gradients to the trainable parameters, and clear all gradients.

        Raises
        ------
        RuntimeError
            If a trainable parameter has no gradient, or one of another shape; nothing is changed then.
        TypeError
            If a gradient is not of a real floating dtype; likewise.
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
            over_slices(_flush, pieces)
        for parameter in self.parameters:
            parameter.grad = None

    def _apply(self, pieces: list[Piece]) -> None:
        """Update all pieces in one sweep; an optimizer that needs sums over whole tensors makes several."""
        over_slices(lambda piece: self.update(piece.w, self._decayed(piece), **piece.slots), pieces)

    def _decayed(self, piece: Piece) -> Array:
        """Return the gradient with the weight decay's part added."""
        if self.weight_decay == 0 or not piece.decay:
            return piece.g
        return piece.g + self.weight_decay * piece.w

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold: ``step_count``, and copies of the slots as ``slot/parameter path``.

        The path is the name that the parameter had when the optimizer was made, or its place in the list if it had
        none.
        """
        return {"step_count": self.step_count} | {key: array.copy() for key, array in self._entries().items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned, bit by bit; a state that does not fit raises and changes nothing.

        Raises
        ------
        ValueError
            Names all entries that are missing or unexpected, or the first one of another shape.
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
    """Return `parameters` as a list of distinct Parameters, at least one."""
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
    """Return the names of `parameters`, which must be distinct; the place in the list stands for a missing one."""
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
    """Return the parameter's name, or its place in the list if it has none."""
    return parameter.name or str(index)


def gradient_of(parameter: Parameter, index: int) -> Array:
    """Return the gradient in the dtype of the value; RuntimeError if there is none, or one of another shape."""
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


def over_slices(function: Callable[[Piece], T], pieces: Sequence[Piece]) -> list[list[T]]:
    """Return ``function(slice)`` for the slices of each piece, grouped by piece and in order.

    The cuts depend on the sizes alone, so sums of the results have the same bits for any number of threads.
    """
    cut = [
        [piece] if piece.w.size <= _SLICE_ELEMENTS else [piece[part] for part in slices(piece.w.size, _SLICE_ELEMENTS)]
        for piece in pieces
    ]
    parts = [part for group in cut for part in group]
    if sum(piece.w.size for piece in pieces) < _PARALLEL_ELEMENTS:
        results = iter([function(part) for part in parts])
    else:
        results = iter(run(lambda number: function(parts[number]), len(parts)))
    return [[next(results) for _ in group] for group in cut]


def _flush(piece: Piece) -> None:
    """Set to zero what is about to become denormal and no longer moves a weight."""
    for slot in piece.slots.values():
        slot[np.abs(slot) < 1e8 * np.finfo(slot.dtype).tiny] = 0
