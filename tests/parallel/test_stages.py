"""Stages run in order, each part once, in any number of threads; trouble in one thread stops the others."""

import threading
import time

import pytest

import allconv as ac
from allconv.parallel import pool
from allconv.parallel.stages import Stages


@pytest.fixture(params=[1, 2, 3, 8])
def threads(request):
    ac.set_num_threads(request.param)
    return request.param


def noted(*widths, delay=0.0):
    """Return stages with so many parts, and the list in which each part notes its stage and number at its end."""
    done = []

    def part(stage, number):
        def call():
            time.sleep(delay * (number % 2))
            done.append((stage, number))

        return [call]

    return Stages([[part(k, n) for n in range(width)] for k, width in enumerate(widths)]), done


def test_each_stage_begins_after_the_one_before(threads):
    stages, done = noted(2, 2, 1, 5, 1, 2, delay=0.001)
    for _ in range(5):
        done.clear()
        stages.run()
        assert [stage for stage, _ in done] == [0, 0, 1, 1, 2, 3, 3, 3, 3, 3, 4, 5, 5]
        assert len(set(done)) == 13


def test_the_calls_of_a_part_come_in_their_order(threads):
    seen = [], []
    Stages([[[lambda k=k, own=own: own.append(k) for k in range(50)] for own in seen]]).run()
    assert seen == (list(range(50)), list(range(50)))


def test_as_many_threads_work_as_are_set_and_needed(threads):
    needed = min(threads, 3)
    meeting = threading.Barrier(needed, timeout=20)
    names = set()

    def call():
        if needed > 1:
            meeting.wait()
        names.add(threading.current_thread().name)

    Stages([[[call]] * needed, [[lambda: None]] * 3]).run()
    assert len(names) == needed


def test_a_stage_or_a_part_may_be_empty(threads):
    Stages([]).run()
    done = []
    Stages([[[], []], [], [[], [lambda: done.append(1)]]]).run()
    assert done == [1]


@pytest.mark.parametrize("failing", [(1, 0), (1, 1), (2, 0)])
def test_an_error_stops_the_others_and_the_stages_can_run_again(threads, failing):
    trouble, done = [True], []

    def part(stage, number):
        def call():
            time.sleep(0.001)
            if trouble[0] and (stage, number) == failing:
                raise KeyError("trouble")
            done.append(stage)

        return [call]

    stages = Stages([[part(stage, number) for number in range(2)] for stage in range(5)])
    with pytest.raises(KeyError, match="trouble"):
        stages.run()
    assert max(done) <= failing[0]
    trouble[0] = False
    done.clear()
    stages.run()
    assert done == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_an_interrupt_of_the_caller_frees_the_thread_that_waits_for_it():
    ac.set_num_threads(2)
    begun = threading.Event()

    def caller_or_worker():
        if threading.current_thread() is threading.main_thread():
            begun.wait(20)
            time.sleep(0.02)  # the worker now waits at the gate
            raise KeyboardInterrupt
        begun.set()

    def meet():
        caller_or_worker()

    def late():
        raise AssertionError("the second stage must not begin")

    with pytest.raises(KeyboardInterrupt):
        Stages([[[meet], [meet]], [[late], [late]]]).run()
    assert pool.run(lambda index: index, 4) == [0, 1, 2, 3]


def test_a_part_may_run_stages_of_its_own(threads):
    inner, done = noted(1, 2)
    other, also_done = noted(2, 1)
    Stages([[[inner.run], [other.run]], [[lambda: done.append("after")]]]).run()
    assert done == [(0, 0), (1, 0), (1, 1), "after"] or done == [(0, 0), (1, 1), (1, 0), "after"]
    assert sorted(also_done) == [(0, 0), (0, 1), (1, 0)]


def test_without_threads_the_caller_does_all_parts(monkeypatch):
    ac.set_num_threads(3)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    stages, done = noted(2, 1, 2)
    stages.run()
    assert sorted(done) == [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]
