"""The pool in processes of their own: interrupts, exits and forks."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from helpers.child import blas_threads, use_pool

import allconv as ac
from allconv.parallel import blas, pool


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
    child = context.Process(target=use_pool, args=(queue,))
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
