"""What `train` and `evaluate` take as their data, and batches that a user makes without a Loader."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from allconv.data.dataset import Dataset, check_inputs, to_floating
from allconv.data.loader import Batch, Loader
from allconv.validation import check_array, check_callable, check_weights, describe

Data = Loader | Dataset | tuple[Any, ...] | Iterable[Sequence[Any]] | Callable[[], Iterator[Sequence[Any]]]
"""A Loader; a Dataset or arrays ``(inputs, targets)``; or batches of one's own, as `Batches` takes them."""

_RULE = (
    "must be a Loader, arrays (inputs, targets), an object whose iter() starts anew with batches, or a function that "
    "returns an iterator"
)
_END: Any = object()  # takes the place of a batch after the last one


class Batches:
    """Batches (inputs, targets) or (inputs, targets, weights) that come from an object of the user's own.

    The batches of an epoch are taken from their beginning, since an object of another library tells neither its order
    nor its position.

    Parameters
    ----------
    source : iterable or callable
        An object whose ``iter()`` starts anew, such as a list or PyTorch's DataLoader, or a function that returns a new
        iterator. Tensors in the batches are converted to arrays, and uint8 images are divided by 255.
    name : str
        The argument's name, for the messages.

    Attributes
    ----------
    ended : bool
        Whether the batch that came last was the last one of its epoch.
    """

    def __init__(self, source: Any, name: str = "loader") -> None:
        self.source, self.name, self.ended = source, name, False

    def __len__(self) -> int:
        return len(self.source)

    def steps(self) -> int | None:
        """Return the number of batches of an epoch, or None if the source does not tell it."""
        try:
            return len(self)
        except TypeError:
            return None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Return an iterator over the batches of an epoch; `start` must be 0."""
        if start:
            raise ValueError(
                f"{self.name} must be a Loader or arrays to go on in the middle of an epoch, here at step {start} of "
                f"epoch {epoch}, got {describe(self.source)}; go on from the end of an epoch"
            )
        self.ended = False
        return self._batches(epoch)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        if _is_function(self.source):
            check_callable(self.name, self.source, takes="")
        source = self.source() if _is_function(self.source) else self.source
        refusal = TypeError(f"{self.name} must give an iterable of batches, got {describe(source)}")
        if isinstance(source, memoryview):  # The iterator of several axes would fail at its first step.
            raise refusal
        try:
            batches = iter(source)
        except TypeError:
            raise refusal from None
        batch = next(batches, _END)
        if batch is _END:
            raise ValueError(
                f"{self.name} must give at least one batch an epoch, got none in epoch {epoch} from "
                f"{describe(self.source)}"
            )
        while batch is not _END:
            checked = _copy(batch, self.name)
            batch = next(batches, _END)
            self.ended = batch is _END
            yield checked


def as_loader(
    name: str, data: Any, *, batch_size: int | None, seed: int | None = None, shuffle: bool, epochs: int = 1
) -> Loader | Batches:
    """Return what gives the batches of the data that a user passed to `train` or `evaluate`.

    Parameters
    ----------
    name : str
        The argument's name, for the messages.
    data : Loader, Dataset, tuple of arrays, iterable or callable
        The data.
    batch_size, seed : int, optional
        For a data set and arrays alone. The defaults are 32 and 0.
    shuffle : bool
        Whether a data set and arrays are shuffled.
    epochs : int
        How many epochs there will be: an iterator is good for one.

    Returns
    -------
    Loader or Batches
        The source of the batches.
    """
    if isinstance(data, tuple) and len(data) in (2, 3) and not any(isinstance(item, tuple) for item in data):
        data = Dataset(*data[:2], weights=data[2] if len(data) == 3 else None)
    if isinstance(data, Dataset):
        return Loader(data, 32 if batch_size is None else batch_size, shuffle=shuffle, seed=0 if seed is None else seed)
    for option, value in (("batch_size", batch_size), ("seed", seed)):
        if value is not None:
            raise ValueError(f"{option} must be left out unless {name} is arrays or a Dataset, got {describe(value)}")
    if isinstance(data, Loader):
        return data
    if isinstance(data, str | bytes | dict | type) or not (isinstance(data, Iterable) or callable(data)):
        raise TypeError(f"{name} {_RULE}, got {describe(data)}")
    if isinstance(data, Iterator) and epochs > 1:
        raise TypeError(
            f"{name} must start anew for each of {epochs} epochs, got {describe(data)}, which ends after the first; "
            "pass a list of its batches, or a function that returns a new iterator"
        )
    return Batches(data, name)


def _is_function(source: object) -> bool:
    return not isinstance(source, Iterable)


def _copy(batch: object, name: str) -> Batch:
    """Return a batch as new arrays: floating inputs, targets of the same length, and perhaps weights.

    The next batch is asked for before this one is used, and a source may write it to the same memory.
    """
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        rule = f"{name} must give batches (inputs, targets) or (inputs, targets, weights)"
        raise TypeError(f"{rule}, got {describe(batch)}; arrays are passed as a tuple (inputs, targets)")
    inputs, targets = (
        np.array(to_floating(check_inputs("inputs", batch[0]))),
        np.array(check_array("targets", batch[1])),
    )
    if targets.shape[:1] != inputs.shape[:1]:
        raise ValueError(f"targets must be one for each of {len(inputs)} inputs, got {describe(targets)}")
    if len(batch) == 2:
        return inputs, targets
    return inputs, targets, check_weights("weights", batch[2], len(inputs))
