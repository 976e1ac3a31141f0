"""The images in the order of the published runs, which can be had without running the published code.

The published code shuffles with `sklearn.utils.shuffle`, which draws from NumPy's global generator, seeded with 678: in
an epoch once all images, as the epoch before left them, and in every step its 50. Nothing else in that code draws from
that generator. Its files of images it takes as `os.walk` lists them; here, in the order of their names.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np

import allconv as ac
from allconv.typing import Array


def published_orders(count: int, step: int) -> Iterator[Array]:
    """Yield the indices (count,) of the images in the order of each epoch, of `step` images and their copies a step."""
    random = np.random.RandomState(678)
    order = np.arange(count)
    while True:
        again = np.arange(count)
        random.shuffle(again)
        order = order[again]
        yield order
        for _ in range(count // step):
            random.shuffle(np.arange(2 * step))


class PublishedOrder(ac.data.Loader):
    """A loader whose images come in the published order, whatever its seed, which draws the augmentation as ever."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Array, Array]]:
        """Return an iterator over the steps `start`, `start` + 1, ... of an epoch, as `Loader.epoch` does."""
        order = next(islice(published_orders(len(self.dataset), self.batch_size), epoch, None))
        ordered = ac.data.Dataset(self.dataset.images[order], self.dataset.labels[order])
        loader = ac.data.Loader(
            ordered, self.batch_size, shuffle=False, augment=self.augment, normalize=self.normalize, seed=self.seed
        )
        return loader.epoch(epoch, start)
