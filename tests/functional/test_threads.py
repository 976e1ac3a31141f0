import threading
import time
import traceback

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import allconv as ac
from allconv.functional import threads


@pytest.fixture(params=[1, 2, 3, 8])
def workers(request):
    before = ac.get_num_threads()
    ac.set_num_threads(request.param)
    yield request.param
    ac.set_num_threads(before)


def test_results_come_in_the_order_of_the_tasks(workers):
    def task(index):
        time.sleep(0.002 * (index % 3))
        return index * index

    assert threads.run(task, 20) == [index * index for index in range(20)]


def test_no_task_is_no_result(workers):
    assert threads.run(lambda index: index, 0) == []


def test_as_many_threads_work_as_are_set(workers):
    barrier = threading.Barrier(workers, timeout=20)
    names = threads.run(lambda index: (barrier.wait(), threading.current_thread().name)[1], workers)
    assert len(set(names)) == workers


def test_an_exception_keeps_its_traceback_and_stops_the_rest(workers):
    done = []

    def failing_task(index):
        if index == 3:
            raise KeyError("the third")
        time.sleep(0.001)
        done.append(index)

    with pytest.raises(KeyError, match="the third") as caught:
        threads.run(failing_task, 1000)
    assert "failing_task" in "".join(traceback.format_tb(caught.tb))
    assert len(done) < 900
    assert threads.run(lambda index: index, 3) == [0, 1, 2]  # and the pool is as good as new


def test_an_interrupt_in_the_caller_waits_for_the_others(workers):
    running = []

    def task(index):
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        running.append(index)
        time.sleep(0.05)
        running.remove(index)

    with pytest.raises(KeyboardInterrupt):
        threads.run(task, 50)
    assert running == []


def test_a_call_within_a_task_runs_in_its_worker(workers):
    def outer(index):
        names = threads.run(lambda _: threading.current_thread().name, 4)
        return set(names) == {threading.current_thread().name}

    if workers > 1:
        assert all(threads.run(outer, 6))


def test_blas_has_one_thread_inside_and_its_own_number_after():
    def limits():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = limits()
    assert before, "no BLAS found"
    with threads.single_threaded_blas():
        assert set(limits()) == {1}
        with threads.single_threaded_blas():
            assert set(limits()) == {1}
        assert set(limits()) == {1}
    assert limits() == before


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2", None])
def test_an_impossible_number_of_threads_is_refused(value):
    before = ac.get_num_threads()
    with pytest.raises((TypeError, ValueError), match="n must be a positive int, got"):
        ac.set_num_threads(value)
    assert ac.get_num_threads() == before


@pytest.mark.parametrize("shape", [(3,), (7, 100_000), (300_000, 2), (50, 16, 16, 24)])
def test_elementwise_equals_the_plain_call(workers, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    y = threads.elementwise(lambda a, b: a * b + 1, x, x)
    np.testing.assert_array_equal(y, x * x + 1)
    assert y.dtype == np.float32
    assert y.flags.c_contiguous


def test_elementwise_takes_any_layout():
    x = np.asfortranarray(np.random.default_rng(0).standard_normal((40, 50, 60)))
    np.testing.assert_array_equal(threads.elementwise(np.negative, x), -x)
    np.testing.assert_array_equal(threads.elementwise(np.negative, x[::2, ::3]), -x[::2, ::3])
