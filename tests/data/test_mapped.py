"""A data set in a memory map is read a batch at a time."""

import tracemalloc

import numpy as np
import pytest

import allconv as ac
from allconv.data import Dataset, Loader, split

SHAPE = (4000, 1000)


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "inputs.npy", np.arange(4_000_000, dtype=np.float32).reshape(SHAPE))
    return np.load(tmp_path / "inputs.npy", mmap_mode="r")


def test_training_on_a_part_of_a_memory_map_never_copies_it_whole(mapped):
    tracemalloc.start()
    whole = Dataset(mapped, np.arange(len(mapped)) % 3)
    train_set, rest = split(whole, (0.75, 0.25), seed=0, stratify=True)
    loader = Loader(train_set[::2][np.arange(1499)], 50)
    model = ac.Linear(1000, 3, rng=np.random.default_rng(0))
    training = ac.train(model, ac.SoftmaxCrossEntropy(), ac.SGD(model.parameters(), 1e-9), loader, epochs=1)
    record = next(training)
    state = record.state
    evaluated = ac.evaluate(model, ac.SoftmaxCrossEntropy(), rest)
    scores = ac.predict(model, mapped, batch_size=100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < mapped.nbytes / 4
    assert (len(loader), evaluated.images, len(scores)) == (30, 1000, 4000)
    same = ac.data.Dataset(np.array(loader.dataset.inputs), loader.dataset.targets)
    again = ac.train(model, ac.SoftmaxCrossEntropy(), ac.SGD(model.parameters(), 1e-9), Loader(same, 50), epochs=1)
    assert again.state["run"]["data"] == state["run"]["data"]


def test_chosen_rows_are_those_of_the_array(mapped):
    plain, chosen = Dataset(np.array(mapped), np.arange(4000)), Dataset(mapped, np.arange(4000))
    index = np.random.default_rng(0).permutation(4000)[:100]
    part, expected = chosen[index][10:][np.arange(90) % 2 == 1], plain[index][10:][np.arange(90) % 2 == 1]
    np.testing.assert_array_equal(np.asarray(part.inputs), expected.inputs)
    assert (part.inputs.shape, part.inputs.dtype, len(part)) == ((45, 1000), np.float32, 45)
    for (x, y), (u, v) in zip(Loader(part, 7).epoch(3), Loader(expected, 7).epoch(3), strict=True):
        np.testing.assert_array_equal(x, u)
        np.testing.assert_array_equal(y, v)
    deviations = [ac.data.Standardize.fit(data.inputs).std for data in (part, expected)]
    np.testing.assert_array_equal(*deviations)
    with pytest.raises(ValueError, match="inputs must hold at least one example"):
        chosen[np.zeros(4000, bool)]
