import contextvars
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import allconv as ac
from allconv.parallel import blas, pool


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


def in_process(code, *arguments):
    """Start Python on `code`, with a `work` that keeps several threads busy for a second."""
    preamble = """
        import os, signal, sys, threading, time
        import numpy as np
        import allconv as ac
        from allconv.parallel import blas, pool
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell started with &
        ac.set_num_threads(4)
        def blas_threads():
            return [found.num_threads for found in blas._blas_controllers()]
        before = blas_threads()
        def work(seconds=1.0):
            pool.run(lambda index: time.sleep(seconds / 50), 200)
        def alive():  # what an interrupt left hanging within threading.Thread.start is listed, but not alive
            return sum(thread.name.startswith("allconv") and thread.is_alive() for thread in threading.enumerate())
        def workers(expected=3):
            deadline = time.monotonic() + 10
            while alive() != expected and time.monotonic() < deadline:  # those of an interrupted call may be ending
                time.sleep(0.001)
            return alive()
    """
    source = textwrap.dedent(preamble) + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", source, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_control_c_ends_the_program():
    process = in_process("print('ready', flush=True); work(60)")
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_interrupts_at_any_moment_leave_everything_in_order():
    process = in_process("""
        def handler(number, frame):
            raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, handler)
        a = np.ones((300, 300), np.float32)
        def task(index):
            return float((a @ a)[0, 0])
        interrupted = 0
        for k in range(150):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + 1e-5 * (7 * k % 100))
                while True:
                    assert pool.run(task, 6) == [300.0] * 6
            except KeyboardInterrupt:
                interrupted += 1
        assert pool.run(task, 6) == [300.0] * 6
        assert not blas._holders and blas_threads() == before
        print(interrupted, workers())
    """)
    output, errors = process.communicate(timeout=120)
    assert output.split() == ["150", "3"], errors


def test_an_interrupt_while_the_workers_start_loses_none():
    process = in_process("""
        calls_left = 0
        def interrupt_after_a_call(frame, event, argument):
            global calls_left
            if event in ("call", "c_return"):  # where the interpreter looks for signals
                while frame is not None and frame.f_code.co_name != "_share":
                    frame = frame.f_back
                calls_left -= frame is not None
                if calls_left == 0:
                    raise KeyboardInterrupt
        def interrupted(calls):
            global calls_left
            calls_left = calls
            try:
                sys.setprofile(interrupt_after_a_call)
                work(0)
            except KeyboardInterrupt:
                return True
            finally:
                sys.setprofile(None)
        calls = 1
        while interrupted(calls):
            work(0.1)
            if workers() != 3:
                print("after call", calls, workers())
            ac.set_num_threads(4)  # and with it, new workers
            calls += 1
        print(calls > 10)
    """)
    output, errors = process.communicate(timeout=120)
    assert (output, errors) == ("True\n", "")


EXITS = {
    "after work": "work()",
    "in the middle of a daemon thread's work": """
        threading.Thread(target=work, args=(200,), daemon=True).start()
        time.sleep(0.1)
    """,
    "with work in an exit handler": "import atexit; atexit.register(lambda: (work(), print('worked'))); work()",
    "after an error": """
        try:
            pool.run(lambda index: 1 / index, 8)
        except ZeroDivisionError:
            pass
    """,
}


@pytest.mark.parametrize("code", EXITS.values(), ids=EXITS)
def test_the_interpreter_exits_cleanly(code):
    process = in_process(code)
    output, errors = process.communicate(timeout=60)  # the daemon thread would need longer
    assert (process.returncode, errors) == (0, "")
    assert output == ("worked\n" if "worked" in code else "")


def blas_threads():
    return [found.num_threads for found in blas._blas_controllers()]


def _in_child(queue):
    total = sum(pool.run(lambda index: index, 10))
    with blas.single_threaded_blas():
        inside = blas_threads()
    x = np.ones((4, 32, 32, 16), np.float32)
    y = ac.Conv2D(16, 16, 3, rng=np.random.default_rng(0))(x)
    queue.put((total, inside, y.tobytes(), blas._holders, blas_threads()))


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12 warns of forking with threads
def test_a_child_process_has_a_pool_of_its_own(method, held):
    x = np.ones((4, 32, 32, 16), np.float32)
    expected = ac.Conv2D(16, 16, 3, rng=np.random.default_rng(0))(x).tobytes()
    before = blas_threads()
    pool.run(lambda index: index, 10)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    hold = threading.Event()

    def hold_blas():
        with blas.single_threaded_blas():
            hold.wait(60)

    holder = threading.Thread(target=hold_blas)
    if held:  # by another thread, while the process forks
        holder.start()
    try:
        child.start()
        total, inside, y, holders, after = queue.get(timeout=60)
        child.join(timeout=60)
    finally:
        hold.set()
        if held:
            holder.join()
    assert child.exitcode == 0
    assert total == 45
    assert set(inside) == {1}
    assert y == expected
    # A started child may have loaded fewer BLAS libraries than this process, where a test may have imported SciPy's.
    assert (holders, set(after)) == (set(), set(before))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_within_the_limit_keeps_it_to_its_end():
    process = in_process("""
        with blas.single_threaded_blas():
            work(0.1)
            child = os.fork()
            if child == 0:
                work(0.1)
                assert set(blas_threads()) == {1}
        if child == 0:
            assert blas_threads() == before and not blas._holders
            print("child")
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0
    """)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "child\n"), errors


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
