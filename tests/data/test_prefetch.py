"""Steps that a thread makes ahead: the same items, the same errors, and really ahead."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import allconv as ac
from allconv.data.prefetch import prefetched
from allconv.parallel.workers import this_thread


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


def test_a_caller_that_leaves_early_leaves_no_thread_at_work():
    used_by = []

    def items():
        while True:
            used_by.append(threading.current_thread())
            time.sleep(0.02)
            used_by.remove(threading.current_thread())
            yield

    def left_by_break():
        for _ in prefetched(items()):
            break

    def left_by_an_error():
        for _ in prefetched(items()):
            raise KeyboardInterrupt

    def left_unused():
        next(prefetched(items()))

    left_by_break()
    assert used_by == []
    with pytest.raises(KeyboardInterrupt):
        left_by_an_error()
    assert used_by == []
    left_unused()
    assert used_by == []


def test_an_iterator_that_its_own_thread_collects_does_not_wait_for_itself():
    given, collected = threading.Event(), threading.Event()

    def items():
        yield
        given.wait()
        ahead.close()  # The garbage collector does so, in any thread.
        collected.set()

    ahead = prefetched(items())
    next(ahead)
    given.set()
    assert collected.wait(timeout=10)


def test_an_iterator_in_the_middle_does_not_keep_the_program_from_its_end():
    items = "items = prefetched(map(time.sleep, (0, 1))); next(items)"
    program = f"import time; from allconv.data.prefetch import prefetched; {items}"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True)


class Stateful:
    """An augmenter whose numbers depend on how often it was called, and that only one thread at a time may use."""

    def __init__(self):
        self.calls, self.in_use = 0, threading.Lock()

    def __call__(self, images, rng):
        assert self.in_use.acquire(blocking=False), "two threads use the augmenter"
        self.calls += 1
        time.sleep(0.01)
        self.in_use.release()
        return images // self.calls


@pytest.mark.parametrize("early", [False, True])
def test_prefetch_changes_no_number_of_a_stateful_augmenter(early):
    def losses(*, prefetch):
        model = ac.Sequential(ac.Flatten(), ac.Linear(3072, 10, rng=np.random.default_rng(0)))
        loader = ac.data.Loader(ac.data.shapes(20, seed=0), 5, augment=(augment := Stateful()), prefetch=prefetch)
        training = ac.train(
            model, ac.SoftmaxCrossEntropy(), ac.SGD(model.parameters(), 0.01), loader, epochs=1, report_every=1
        )
        assert augment.calls == 1
        if early:  # an epoch beside the training, left after its first step
            next(loader.epoch(0))
            augment.calls = 0
        return [record.loss for record in training]

    assert losses(prefetch=True) == losses(prefetch=False)


def test_the_thread_works_in_the_callers_context():
    def divided_by_0(images, rng):
        return images / 0

    data = ac.data.Dataset(np.ones((4, 2), np.float32), np.zeros(4, int))
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        next(ac.data.Loader(data, 2, augment=divided_by_0, prefetch=True).epoch(0))


def test_without_more_threads_the_caller_makes_the_items(monkeypatch):
    def no_more_threads(thread):
        raise RuntimeError("can't start new thread")

    def items():
        yield threading.current_thread()
        yield threading.current_thread()
        raise KeyError("the third")

    monkeypatch.setattr(threading.Thread, "start", no_more_threads)
    ahead = prefetched(items())
    assert next(ahead) is threading.current_thread()
    assert next(ahead) is threading.current_thread()
    with pytest.raises(KeyError, match="the third"):
        next(ahead)
    left = prefetched(items())
    next(left)
    left.close()
    assert not getattr(this_thread, "busy", False)
