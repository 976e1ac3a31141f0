"""The images in the order of the published runs, which can be had without running the published code.

The published code shuffles with ``sklearn.utils.shuffle``, which draws from NumPy's global generator, seeded with 678.
At the start of an epoch it shuffles all images, as the epoch before left them, and in each step the 50 images of that
step. Nothing else in the published code draws from that generator. It takes its image files in the order in which
``os.walk`` lists them; here they are taken in the order of their names.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from allconv.data.loader import Batch, Loader
from allconv.typing import Array
from allconv.validation import check_int

_SEED = 678
# The number of images whose order can be had. An order of so many takes 8 GB.
_MOST_IMAGES = 10**9
# The last epoch whose order can be had. The order of an epoch takes the shuffles of all epochs before it.
_MOST_EPOCHS = 10_000


def published_orders(count: int, step: int) -> Iterator[Array]:
    """Return the published order of the images for each epoch, without an end.

    Parameters
    ----------
    count : int
        How many images there are.
    step : int
        How many images a step takes, their augmented copies not counted.

    Returns
    -------
    iterator of array (count,) of int
        The indices of the images in the order of an epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument is no positive int.

    Examples
    --------
    >>> [order.tolist() for order in islice(published_orders(4, 2), 2)]
    [[3, 0, 2, 1], [0, 2, 3, 1]]
    """
    return _orders(check_int("count", count, maximum=_MOST_IMAGES), check_int("step", step))


def _orders(count: int, step: int) -> Iterator[Array]:
    """Yield the orders of `published_orders`, whose arguments have been checked."""
    random = np.random.RandomState(_SEED)
    order = np.arange(count)
    while True:
        shuffled = np.arange(count)
        random.shuffle(shuffled)
        order = order[shuffled]
        yield order
        for _ in range(count // step):
            random.shuffle(np.arange(2 * step))


class PublishedOrder(Loader):
    """A loader whose images come in the published order, whatever its seed.

    The seed still determines the augmentation.

    Parameters
    ----------
    dataset : Dataset
        The training images.
    batch_size : int
        How many images a step takes, their augmented copies not counted.
    drop_last : bool, default False
        Whether to leave out a last step of fewer images.
    shuffle : bool, default True
        Without effect: the published order is kept.
    augment, normalize : callable, optional
        As for `Loader`.
    seed : int, default 0
        The seed of the augmentation.
    alternate_flip, prefetch : bool, default False
        As for `Loader`.

    Examples
    --------
    >>> from allconv.data.dataset import Dataset
    >>> dataset = Dataset(np.zeros((4, 2, 2, 3), np.uint8), np.arange(4))
    >>> [labels.tolist() for images, labels in PublishedOrder(dataset, 2).epoch(0)]
    [[3, 0], [2, 1]]
    """

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Return an iterator over the steps of an epoch, as `Loader.epoch` does.

        Parameters
        ----------
        epoch : int
            The number of the epoch, from 0 on.
        start : int, default 0
            The first step.

        Returns
        -------
        iterator of (array, array)
            Images and labels of each step, and their weights if the data set has some.

        Raises
        ------
        TypeError, ValueError
            If an argument is no int of its range; an epoch is at most 10,000.
        """
        return super().epoch(check_int("epoch", epoch, minimum=0, maximum=_MOST_EPOCHS), start)

    def _order(self, epoch: int) -> Array:
        """Return the published order of an epoch."""
        return next(islice(published_orders(len(self.dataset), self.batch_size), epoch, None))
