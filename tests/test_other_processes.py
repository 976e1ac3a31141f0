"""Models and optimizers that go to another process, which may get their arrays read-only."""

import io
import pickle

import numpy as np
import pytest

import allconv as ac
from allconv.models.fusion import fuse


class MappingPickler(pickle.Pickler):
    """Save arrays in files, and let the other side map them into memory read-only, as joblib does with large ones."""

    def __init__(self, file, folder):
        super().__init__(file, protocol=5)
        self._folder = folder

    def reducer_override(self, item):
        if isinstance(item, np.ndarray) and item.dtype.kind == "f":
            path = self._folder / f"{len(list(self._folder.iterdir()))}.npy"
            np.save(path, item)
            return np.load, (path, "r")
        return NotImplemented


@pytest.fixture
def sent(tmp_path):
    def send(item):
        file = io.BytesIO()
        MappingPickler(file, tmp_path).dump(item)
        assert any(tmp_path.iterdir())
        return pickle.loads(file.getvalue())

    return send


OPTIMIZERS = {
    "sgd": lambda model: ac.SGD(model.parameters(), 0.1, momentum=0.9),
    "adam": lambda model: ac.Adam(model.parameters(), 0.01),
    "adagrad": lambda model: ac.AdaGrad(model.parameters(), 0.01),
    "rmsprop": lambda model: ac.RMSprop(model.parameters(), 0.01),
    "amsgrad": lambda model: ac.AMSGrad(model.parameters(), 0.01),
    "dilated": lambda model: ac.DilatedAMSGrad(model, 0.01),
}


def build():
    rng = np.random.default_rng(0)
    return ac.Sequential(
        ac.Conv2D(3, 4, 3, rng=rng), ac.BatchNorm(4), ac.ReLU(), ac.Skip(ac.Conv2D(4, 4, 3, rng=rng)),
        ac.GlobalAveragePool2D(), ac.Linear(4, 3, rng=rng),
    )  # fmt: skip


def train(model, optimizer):
    images = np.random.default_rng(1).integers(0, 256, (16, 6, 6, 3), np.uint8)
    loader = ac.data.Loader(ac.data.Dataset(images, np.arange(16) % 3), 8)
    run = ac.train(model, ac.SoftmaxCrossEntropy(), optimizer, loader, epochs=2, report_every=1)
    return [record.loss for record in run]


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_goes_on_with_arrays_that_came_read_only(make, sent):
    model = build()
    optimizer = make(model)
    train(model, optimizer)
    other_model, other_optimizer = sent((model, optimizer))
    assert train(other_model, other_optimizer) == train(model, optimizer)


def test_a_gradient_that_came_read_only_may_be_added_to(sent):
    parameter = ac.Parameter(np.zeros(3))
    parameter.add_grad(np.ones(3))
    other = sent(parameter)
    other.grad += 1
    other.value += 1
    np.testing.assert_array_equal(other.grad, [2, 2, 2])
    np.testing.assert_array_equal(parameter.value, 0)


def test_a_fused_model_predicts_from_arrays_that_came_read_only(sent):
    fused, x = fuse(build()), np.random.default_rng(2).standard_normal((2, 6, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(sent(fused)(x), fused(x))
