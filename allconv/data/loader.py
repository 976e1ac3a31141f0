"""The steps of an epoch: shuffled, augmented, normalized, and each of them reproducible alone."""

from collections.abc import Callable, Iterator
from typing import NoReturn

import numpy as np

from allconv.data.dataset import Dataset, to_floating
from allconv.data.prefetch import prefetched
from allconv.typing import Array
from allconv.validation import check_bool, check_callable, check_int, describe

Augment = Callable[[Array, np.random.Generator], Array]  # (N, ...) -> (k N, ...), of the inputs' dtype
Normalize = Callable[[Array], Array]  # (N, ...) of the inputs' dtype -> (N, ...) floating
Batch = tuple[Array, ...]
"""The inputs, their targets and, if the examples have weights, these."""


# Longer than 150 lines because its docstrings hold the contract and the equations; the code is short.
class Loader:
    """The batches of a data set, epoch after epoch.

    A step takes the next `batch_size` inputs in the epoch's order, augments them and normalizes them. The generators of
    order and augmentation depend on the seed, the epoch and the step alone. So any step can be produced alone, and
    training that resumes in the middle of an epoch goes on with the same bits.

    Parameters
    ----------
    dataset : Dataset
        The inputs and targets.
    batch_size : int
        The number of inputs that a step takes from the data set, at least 1. The last step of an epoch takes the rest.
    drop_last : bool, default False
        Whether to leave out a last step with fewer than `batch_size` inputs. BatchNorm can't train on a single image,
        for example. With `shuffle`, each epoch leaves out other inputs.
    shuffle : bool, default True
        Whether each epoch draws a new order. False keeps the order of the data set.
    augment : callable, optional
        The function ``augment(inputs, rng)`` of inputs (N, ...) as the data set has them, uint8 or floating, which it
        may overwrite, and a Generator. It returns N or k N inputs of the same size and dtype: k times a version of each
        input, in the same order. Targets and weights are repeated to match, and for k > 1 the step is shuffled; see
        `KeepOriginals`.
    normalize : callable, optional
        The function ``normalize(inputs)`` from inputs (N, ...) as the data set has them to a floating array of the same
        shape, which is float32 for uint8 images. The default divides uint8 images by 255, and leaves floating inputs
        unchanged.
    seed : int, default 0
        The seed of order and augmentation, at least 0.
    alternate_flip : bool, default False
        Whether each image is mirrored left to right in every second epoch: about half of them, which the seed chooses,
        in the even epochs, and the others in the odd ones. Two epochs then show each image both ways, before `augment`.
    prefetch : bool, default False
        Whether a thread makes each step while the caller works on the step before. It changes no number.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> dataset = Dataset(np.zeros((60, 32, 32, 3), np.uint8), np.arange(60) % 10)
    >>> loader = Loader(dataset, 25)
    >>> [len(labels) for images, labels in loader.epoch(0)]
    [25, 25, 10]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        drop_last: bool = False,
        shuffle: bool = True,
        augment: Augment | None = None,
        normalize: Normalize | None = None,
        seed: int = 0,
        alternate_flip: bool = False,
        prefetch: bool = False,
    ) -> None:
        if not isinstance(dataset, Dataset):
            raise TypeError(f"dataset must be a Dataset, got {describe(dataset)}; make one: Dataset(inputs, targets)")
        for name, function in (("augment", augment), ("normalize", normalize)):
            check_callable(name, function, takes="images, rng" if name == "augment" else "images", optional=True)
        self.dataset = dataset
        self.batch_size = check_int("batch_size", batch_size)
        self.drop_last = check_bool("drop_last", drop_last)
        if self.drop_last and self.batch_size > len(dataset):
            raise ValueError(
                f"batch_size must be at most the number of examples, {len(dataset)}, with drop_last=True, "
                f"got {self.batch_size}"
            )
        self.shuffle = check_bool("shuffle", shuffle)
        self.augment = augment
        self.normalize = normalize
        self.seed = check_int("seed", seed, minimum=0)
        self.alternate_flip = check_bool("alternate_flip", alternate_flip)
        if self.alternate_flip and len(dataset.inputs.shape) != 4:
            raise ValueError(f"alternate_flip must be False unless the inputs are images, got True for {dataset!r}")
        self.prefetch = check_bool("prefetch", prefetch)

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> NoReturn:
        """Raise TypeError, which says how to iterate: the order of the steps depends on the epoch."""
        raise TypeError(
            "a Loader must be iterated one epoch at a time, as in: for inputs, targets in loader.epoch(0), "
            "got the Loader itself"
        )

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Return an iterator over the steps `start`, `start` + 1, ... of an epoch.

        Parameters
        ----------
        epoch : int
            The number of the epoch, counted from 0.
        start : int, default 0
            The first step to produce, at most ``len(loader)``, which leaves no step.

        Returns
        -------
        iterator of (inputs, targets) or (inputs, targets, weights)
            The floating inputs (N, ...), the targets (N, ...) and, if the data set has weights, those (N,), of each
            step.

        Raises
        ------
        TypeError, ValueError
            At the call, if an argument is out of its range; in the iteration, if `augment` or `normalize` returned an
            array of the wrong shape, dtype or length.
        """
        epoch = check_int("epoch", epoch, minimum=0)
        start = check_int("start", start, minimum=0)
        if start > len(self):
            raise ValueError(f"start must be at most the number of steps, {len(self)}, got {start}")
        return prefetched(self._steps(epoch, start)) if self.prefetch else self._steps(epoch, start)

    def _steps(self, epoch: int, start: int) -> Iterator[Batch]:
        data = self.dataset
        order, mirrored = self._order(epoch), self._mirrored(epoch)
        for step in range(start, len(self)):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            inputs, rows = data.inputs[chosen], chosen
            if mirrored is not None:
                inputs[mirrored[chosen]] = inputs[mirrored[chosen], :, ::-1]
            if self.augment is not None:
                inputs, rows = self._augmented(inputs, chosen, self._generator(epoch, step + 1))
            batch = self._normalized(inputs), data.targets[rows]
            yield batch if data.weights is None else (*batch, data.weights[rows])

    def _order(self, epoch: int) -> Array:
        """Return the numbers of the examples in the order of an epoch."""
        count = len(self.dataset)
        return self._generator(epoch, 0).permutation(count) if self.shuffle else np.arange(count)

    def _mirrored(self, epoch: int) -> Array | None:
        """Return which images of the data set an epoch mirrors, as a mask; None without alternating flips."""
        if not self.alternate_flip:
            return None
        # The keys of orders and steps have two numbers, so no other generator has this one.
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(0,)))
        return (rng.random(len(self.dataset)) < 0.5) ^ (epoch % 2 == 1)

    def _generator(self, epoch: int, stream: int) -> np.random.Generator:
        """Return the generator of an epoch's order, for `stream` 0, or of a step, for `stream` step + 1."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch, stream)))

    def _augmented(self, inputs: Array, rows: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the augmented inputs, and for each of them the row of the data set that it comes from."""
        assert self.augment is not None  # noqa: S101 - for the type checker
        (count, *shape), dtype = inputs.shape, inputs.dtype
        result = self.augment(inputs, rng)
        valid = isinstance(result, np.ndarray) and result.dtype == dtype and list(result.shape[1:]) == shape
        if not valid or len(result) == 0 or len(result) % count:
            kind, letters = ("images", "(k N, H, W, C)") if len(shape) == 3 else ("inputs", "(k N, ...)")
            raise ValueError(
                f"augment must return {dtype} {kind} of shape {letters}, here "
                f"({', '.join([f'k {count}', *map(str, shape)])}) with k = 1, 2, ..., got {describe(result)}"
            )
        if len(result) == count:
            return result, rows
        shuffled = rng.permutation(len(result))
        return result[shuffled], np.tile(rows, len(result) // count)[shuffled]

    def _normalized(self, inputs: Array) -> Array:
        if self.normalize is None:
            return to_floating(inputs)
        result, kind = self.normalize(inputs), "float32 images" if inputs.dtype == np.uint8 else "floating inputs"
        valid = isinstance(result, np.ndarray) and result.shape == inputs.shape
        if not valid or not (result.dtype == np.float32 if inputs.dtype == np.uint8 else result.dtype.kind == "f"):
            raise ValueError(f"normalize must return {kind} of shape {inputs.shape}, got {describe(result)}")
        return result

    def __repr__(self) -> str:
        drop = "drop_last=True, " if self.drop_last else ""
        return (
            f"Loader({self.dataset!r}, {self.batch_size}, {drop}shuffle={self.shuffle}, augment={self.augment!r}, "
            f"normalize={self.normalize!r}, seed={self.seed})"
        )
