"""A random split of a data set, for training, validation and test."""

from collections.abc import Sequence

import numpy as np

from allconv.data.dataset import Dataset
from allconv.typing import Array
from allconv.validation import check_bool, check_int, check_positive, describe, items_of

# The largest distance of the sum of the fractions from 1, which the rounding of fractions such as 0.1 may cause.
_SUM_TOLERANCE = 1e-9
# The offsets k g mod 1 of successive classes k, by the golden ratio g, spread evenly over [0, 1).
_GOLDEN_RATIO = 0.6180339887498949


def split(dataset: Dataset, fractions: Sequence[float], *, seed: int, stratify: bool = False) -> tuple[Dataset, ...]:
    """Return the examples in random order, cut into parts that have no example in common.

    Parameters
    ----------
    dataset : Dataset
        The data set.
    fractions : sequence of float
        The share of each part, above 0; their sum is 1. A part of N examples gets N times its share, rounded.
    seed : int
        The seed of the order. The same seed makes the same parts.
    stratify : bool, default False
        Whether each part shall have the classes in the proportions of the whole. Each class is then cut by itself, so
        that no part is more than one example away from its share of a class. The targets must be labels (N,).

    Returns
    -------
    tuple of Dataset
        The parts, in the order of `fractions`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or a part would have no example.

    Examples
    --------
    >>> dataset = Dataset(np.zeros((8, 2)), np.array([0, 0, 0, 0, 0, 0, 1, 1]))
    >>> train, test = split(dataset, (0.5, 0.5), seed=0, stratify=True)
    >>> np.sort(train.labels), np.sort(test.labels)
    (array([0, 0, 0, 1]), array([0, 0, 0, 1]))
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(f"dataset must be a Dataset, got {describe(dataset)}; make one: Dataset(inputs, targets)")
    ends = np.cumsum(_check_fractions(fractions))[:-1]
    order = np.random.default_rng(check_int("seed", seed, minimum=0)).permutation(len(dataset))
    groups = [order]
    if check_bool("stratify", stratify):
        targets = dataset.targets
        if targets.dtype.kind != "i" or targets.ndim != 1:
            raise ValueError(f"stratify must be False unless the targets are labels (N,), got {describe(targets)}")
        groups = [order[targets[order] == label] for label in np.unique(targets)]
    part = np.empty(len(dataset), int)
    for number, group in enumerate(groups):
        # One offset for all ends of a class moves each part by less than one example. Offsets that differ between the
        # classes let the parts have their share of the whole, too; 1/2 rounds.
        offset = (0.5 + number * _GOLDEN_RATIO) % 1
        part[group] = np.searchsorted(np.floor(len(group) * ends + offset), np.arange(len(group)), side="right")
    parts = [order[part[order] == number] for number in range(len(ends) + 1)]
    if min(map(len, parts)) == 0:
        raise ValueError(f"fractions must leave each part an example, got {fractions} of {len(dataset)} examples")
    return tuple(dataset[chosen] for chosen in parts)


def _check_fractions(value: Sequence[float]) -> Array:
    rule = "fractions must be a sequence of positive numbers whose sum is 1"
    items = items_of(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else None
    if items is None:
        raise TypeError(f"{rule}, such as (0.8, 0.2), got {describe(value)}")
    fractions = np.array([check_positive(f"fractions[{i}]", fraction) for i, fraction in enumerate(items)])
    if abs(fractions.sum() - 1) > _SUM_TOLERANCE:
        raise ValueError(f"{rule}, got {describe(value)}")
    return fractions
