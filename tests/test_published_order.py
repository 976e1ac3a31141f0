"""The published order of the images is that of the published loop, which is written out here."""

import argparse

import numpy as np
import pytest
from helpers.programs import load

import allconv as ac


def loader(dataset, order):
    return load("cifar10_allcnn").training_loader(dataset, argparse.Namespace(order=order, augment="native", seed=3))


@pytest.fixture
def shuffle():
    """Do as `sklearn.utils.shuffle` without a `random_state`: one order for all, from NumPy's global generator."""
    before = np.random.get_state()  # noqa: NPY002 - the published code's generator

    def shuffle(*arrays):
        indices = np.arange(len(arrays[0]))
        np.random.shuffle(indices)  # noqa: NPY002
        return [array[indices] for array in arrays]

    np.random.seed(678)  # noqa: NPY002
    yield shuffle
    np.random.set_state(before)  # noqa: NPY002


def test_the_order_is_that_of_the_published_loop(shuffle):
    dataset = ac.data.Dataset(np.arange(75 * 3, dtype=np.uint8).reshape(75, 1, 1, 3), np.arange(75))
    ordered = loader(dataset, "published")
    ordered.augment = None
    images, labels = dataset.images, dataset.labels
    for epoch in range(3):
        images, labels = shuffle(images, labels)
        found = list(ordered.epoch(epoch))
        np.testing.assert_array_equal(np.concatenate([part for _, part in found]), labels)
        np.testing.assert_array_equal([part for _, part in ordered.epoch(epoch, 1)], labels.reshape(3, 25)[1:])
        for index, first in enumerate(range(0, 75, 25)):
            step = images[first : first + 25], labels[first : first + 25]
            np.testing.assert_array_equal(found[index][0], ac.data.per_step(step[0]))
            shuffle(*(np.concatenate([part, part]) for part in step))


def test_the_augmentation_is_drawn_as_in_the_other_order(monkeypatch):
    dataset = ac.data.shapes(75, seed=0)
    changed, plain = (loader(dataset, order) for order in ("published", "library"))
    assert type(plain) is ac.data.Loader
    monkeypatch.setitem(type(changed)._order.__globals__, "published_orders", lambda *_: iter([np.arange(75)]))
    plain.shuffle = False
    for step, same in zip(changed.epoch(0), plain.epoch(0), strict=True):
        np.testing.assert_array_equal(step[0], same[0])
        np.testing.assert_array_equal(step[1], same[1])


@pytest.mark.parametrize(("arguments", "name"), [((0, 2), "count"), ((4, -3), "step"), ((4, 2.0), "step")])
def test_wrong_numbers_are_refused_before_the_first_order(arguments, name):
    with pytest.raises((TypeError, ValueError), match=f"{name} must be a positive int"):
        ac.article.published_orders(*arguments)
