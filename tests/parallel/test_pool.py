import contextvars
import gc
import threading
import time
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import allconv as ac
from allconv.parallel import pool


@pytest.fixture(params=[1, 2, 3, 8])
def workers(request):
    ac.set_num_threads(request.param)
    return request.param


def test_results_come_in_the_order_of_the_tasks(workers):
    def task(index):
        time.sleep(0.002 * (index % 3))
        return index * index

    assert pool.run(task, 20) == [index * index for index in range(20)]


def test_no_task_is_no_result(workers):
    assert pool.run(lambda index: index, 0) == []


def test_as_many_threads_work_as_are_set(workers):
    barrier = threading.Barrier(workers, timeout=20)
    names = pool.run(lambda index: (barrier.wait(), threading.current_thread().name)[1], workers)
    assert len(set(names)) == workers


def test_an_exception_keeps_its_traceback_and_stops_the_rest(workers):
    done = []

    def failing_task(index):
        if index == 3:
            raise KeyError("the third")
        time.sleep(0.001)
        done.append(index)

    with pytest.raises(KeyError, match="the third") as caught:
        pool.run(failing_task, 1000)
    assert "failing_task" in "".join(traceback.format_tb(caught.tb))
    assert len(done) < 900
    assert pool.run(lambda index: index, 3) == [0, 1, 2]  # and the pool is as good as new


def test_an_interrupt_in_the_caller_waits_for_the_others(workers):
    running = []

    def task(index):
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        running.append(index)
        time.sleep(0.05)
        running.remove(index)

    with pytest.raises(KeyboardInterrupt):
        pool.run(task, 50)
    assert running == []


def test_a_call_within_a_task_runs_in_its_worker(workers):
    def outer(index):
        names = pool.run(lambda _: threading.current_thread().name, 4)
        return set(names) == {threading.current_thread().name}

    if workers > 1:
        assert all(pool.run(outer, 6))


def test_of_several_errors_one_is_raised_and_none_is_kept(workers):
    class Big:
        pass

    kept = []

    def task(index):
        big = Big()
        kept.append(weakref.ref(big))
        raise ValueError(f"task {index}")

    with pytest.raises(ValueError, match="task"):
        pool.run(task, 50)
    gc.collect()
    assert kept
    assert all(reference() is None for reference in kept)


def test_several_threads_may_call_at_once(workers):
    def task(index):
        return float((np.full((60, 60), index, np.float32) @ np.ones((60, 60), np.float32)).sum())

    expected = [index * 60.0**3 for index in range(40)]
    with ThreadPoolExecutor(6) as callers:
        results = callers.map(lambda _: [pool.run(task, 40) for _ in range(10)], range(6))
        for _ in range(20):  # a change of the number in the middle of it all loses nothing
            ac.set_num_threads(workers)
            time.sleep(0.001)
        assert list(results) == [[expected] * 10] * 6


def test_a_caller_does_not_wait_for_another_ones_work():
    ac.set_num_threads(2)
    go_on, busy = threading.Event(), threading.Barrier(3, timeout=20)

    def long_task(index):
        busy.wait()
        go_on.wait(20)

    other = threading.Thread(target=pool.run, args=(long_task, 2))
    try:
        other.start()
        busy.wait()  # the pool's only worker is in the other one's task
        started = time.perf_counter()
        assert pool.run(lambda index: index, 10) == list(range(10))
        assert time.perf_counter() - started < 10
    finally:
        go_on.set()
        other.join()


def test_the_number_may_be_set_within_a_task(workers):
    def task(index):
        ac.set_num_threads(workers)
        return index

    assert pool.run(task, 10) == list(range(10))


def test_the_threads_of_an_old_number_end():
    ac.set_num_threads(5)
    pool.run(lambda index: time.sleep(0.001), 20)
    old = [thread for thread in threading.enumerate() if thread.name.startswith("allconv")]
    ac.set_num_threads(2)
    assert len(old) >= 4
    for thread in old:
        thread.join(timeout=20)
        assert not thread.is_alive()


def test_without_more_threads_the_caller_works_alone(monkeypatch):
    ac.set_num_threads(3)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert pool.run(lambda index: index, 10) == list(range(10))


def test_where_blas_cannot_be_limited_there_is_one_worker(monkeypatch, workers):
    monkeypatch.setattr(pool, "blas_can_be_limited", lambda: False)
    assert ac.get_num_threads() == 1
    names = pool.run(lambda index: threading.current_thread().name, 20)
    assert set(names) == {threading.current_thread().name}


@pytest.mark.parametrize("shape", [(3,), (7, 100_000), (300_000, 2), (50, 16, 16, 24)])
def test_elementwise_equals_the_plain_call(workers, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x.flags.writeable = False
    y = pool.elementwise(lambda a, b: a * b + 1, x, x)
    np.testing.assert_array_equal(y, x * x + 1)
    assert y.flags.c_contiguous
    into = pool.elementwise_into(lambda a, b, out: np.subtract(a, b, out=out), x, np.ones_like(x))
    np.testing.assert_array_equal(into, x - 1)
    assert y.dtype == into.dtype == np.float32


def test_elementwise_takes_any_layout():
    x = np.asfortranarray(np.random.default_rng(0).standard_normal((40, 50, 60)))
    np.testing.assert_array_equal(pool.elementwise(np.negative, x), -x)
    np.testing.assert_array_equal(pool.elementwise(np.negative, x[::2, ::3]), -x[::2, ::3])


def test_what_is_not_shared_is_the_callers_alone(workers):
    names = pool.run(lambda index: threading.current_thread().name, 50, shared=False)
    assert set(names) == {threading.current_thread().name}


def test_the_callers_context_reaches_the_workers(workers):
    barrier = threading.Barrier(workers, timeout=20)
    variable = contextvars.ContextVar("variable", default="unset")
    token = variable.set("set")
    try:
        with np.errstate(over="raise"):
            seen = pool.run(lambda index: (barrier.wait(), np.geterr()["over"], variable.get())[1:], workers)
    finally:
        variable.reset(token)
    assert seen == [("raise", "set")] * workers


def test_a_task_does_not_change_the_callers_context(workers):
    if workers == 1:
        pytest.skip("the caller's own tasks run in its context")
    barrier = threading.Barrier(workers, timeout=20)

    def task(index):
        barrier.wait()
        if threading.current_thread() is not threading.main_thread():
            np.seterr(over="raise")
        return np.geterr()["over"]

    before = np.geterr()
    assert pool.run(task, workers).count("raise") == workers - 1
    assert np.geterr() == before


def test_what_the_caller_ignores_warns_in_no_thread(workers):
    layer, x = ac.GELU(), np.full((40, 30_000), 3e38, np.float32)
    x[::2] = np.inf
    with np.errstate(all="ignore"):
        for _ in range(5):
            pool.elementwise(lambda a: (a * a) - a, x)
            layer(x)


def test_a_layer_warns_of_no_overflow_and_keeps_to_what_its_caller_asks_for(workers):
    layer, x = ac.Linear(4, 4, rng=np.random.default_rng(0)), np.full((2000, 4), 3e38, np.float32)
    assert not np.isfinite(layer(x)).all()  # a warning would be an error
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        layer(x)
