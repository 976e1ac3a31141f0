"""The published order of the images is that of the published loop written out, and a run keeps to it."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

import allconv as ac

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def experiment(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import cifar10_allcnn

    return cifar10_allcnn


def loader(experiment, dataset, order, augment="native"):
    return experiment.training_loader(dataset, argparse.Namespace(order=order, augment=augment, seed=3))


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


def test_the_order_is_that_of_the_published_loop(experiment, shuffle):
    dataset = ac.data.Dataset(np.arange(75 * 3, dtype=np.uint8).reshape(75, 1, 1, 3), np.arange(75))
    ordered = loader(experiment, dataset, "published")
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


def test_the_augmentation_is_drawn_as_in_the_other_order(experiment, monkeypatch):
    dataset = ac.data.shapes(75, seed=0)
    changed, plain = (loader(experiment, dataset, order) for order in ("published", "library"))
    assert type(plain) is ac.data.Loader
    monkeypatch.setitem(type(changed).epoch.__globals__, "published_orders", lambda *_: iter([np.arange(75)]))
    plain.shuffle = False
    for step, same in zip(changed.epoch(0), plain.epoch(0), strict=True):
        np.testing.assert_array_equal(step[0], same[0])
        np.testing.assert_array_equal(step[1], same[1])


def test_a_run_keeps_its_order_and_one_from_before_there_were_two_goes_on(experiment, tmp_path, capsys):
    small = ["--case", "h", "--quick", "--limit", "50", "--data", "shapes", "--augment", "none"]
    for order in ("published", "library"):
        out = ["--out", str(tmp_path / order)]
        assert experiment.main([*small, "--order", order, "--epochs", "1", *out]) == 0
        config = json.loads((tmp_path / order / "config.json").read_text())
        assert config["order"] == order
    assert experiment.main([*small, "--resume", "--out", str(tmp_path / "published")]) == 1
    assert "order was 'published', is 'library'" in capsys.readouterr().err

    checkpoints = tmp_path / "library" / "checkpoints"
    saved = ac.checkpoint.load(checkpoints)
    del saved["config"]["order"]
    with ac.checkpoint.lock(checkpoints):
        ac.checkpoint.save(checkpoints, saved)
    assert experiment.main([*small, "--resume", "--out", str(tmp_path / "library")]) == 0
