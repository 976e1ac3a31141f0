"""Steps that a thread makes ahead: the same items, the same errors, and really ahead."""

import threading

import numpy as np
import pytest

import allconv as ac
from allconv.data.prefetch import prefetched


def test_the_next_item_is_made_while_the_caller_works_on_the_last():
    made = [threading.Event() for _ in range(3)]

    def items():
        for index, event in enumerate(made):
            event.set()
            yield index, threading.current_thread()

    ahead = prefetched(items())
    number, thread = next(ahead)
    assert number == 0
    assert thread is not threading.current_thread()
    assert made[1].wait(timeout=60)  # though nobody has asked for it
    assert not made[2].is_set()
    assert [number for number, _ in ahead] == [1, 2]


def test_an_error_is_raised_where_its_item_is_asked_for():
    def items():
        yield 1
        raise KeyError("the second")

    ahead = prefetched(items())
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="the second"):
        next(ahead)


def test_a_loader_gives_the_same_steps_and_training_the_same_bits():
    def train(*, prefetch):
        model = ac.Sequential(ac.Flatten(), ac.Linear(3072, 10, rng=np.random.default_rng(0)))
        loader = ac.data.Loader(
            ac.data.shapes(60, seed=0), 7, augment=ac.data.RandomShift(), normalize=ac.data.per_step, prefetch=prefetch
        )
        optimizer = ac.SGD(model.parameters(), 0.01)
        list(ac.train(model, ac.SoftmaxCrossEntropy(), optimizer, loader, epochs=2))
        return [p.value for p in model.parameters()], list(loader.epoch(3, start=5))

    (plain, steps), (ahead, others) = train(prefetch=False), train(prefetch=True)
    assert len(steps) == len(others) == 4
    for a, b in zip([*plain, *sum(steps, ())], [*ahead, *sum(others, ())], strict=True):
        np.testing.assert_array_equal(a, b)
