"""BLAS has one thread while allconv computes, in every thread."""

import os
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.programs import python
from threadpoolctl import threadpool_limits

import allconv as ac
from allconv.parallel import blas, pool


def test_blas_has_one_thread_inside_and_its_own_number_after():
    def limits():
        return [library["num_threads"] for library in blas._controller().info() if library["user_api"] == "blas"]

    before = limits()
    assert before, "no BLAS found"
    with blas.single_threaded_blas():
        assert set(limits()) == {1}
        with blas.single_threaded_blas():
            assert set(limits()) == {1}
        assert set(limits()) == {1}
    assert limits() == before


def test_accelerate_cannot_be_limited(monkeypatch):
    config = {"Build Dependencies": {"blas": {"name": "accelerate"}}}
    monkeypatch.setattr(np, "show_config", lambda mode: config)
    blas.blas_can_be_limited.cache_clear()
    try:
        assert not blas.blas_can_be_limited()
    finally:
        blas.blas_can_be_limited.cache_clear()


def test_the_blas_is_numpys_whatever_else_is_loaded():
    script = (
        "import sys; [__import__(name) for name in sys.argv[1:]]\n"
        "from allconv.parallel.blas import blas_kernels; print(blas_kernels())"
    )
    alone, with_scipy = python(script), python(script, "scipy.linalg")
    assert alone == with_scipy
    assert alone.strip() != "[]"


def blas_threads():
    return [found.num_threads for found in blas._blas_controllers()]


def in_another_thread(function):
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result(60)


@pytest.fixture
def several_blas_threads():
    """Let BLAS have more than one thread where nobody holds it to one, also on a machine with one core."""
    before = [(library, library._get()) for library in blas._libraries()]
    for library, _ in before:
        library._set(2)
    yield
    for library, number in before:
        library._set(number)


def test_blas_has_one_thread_in_every_thread(several_blas_threads):
    pool.run(lambda index: index, 10)
    assert in_another_thread(lambda: pool.run(lambda index: blas_threads(), 1)) == [[1] * len(blas_threads())]
    assert set(blas_threads()) == {2}


def test_the_first_thread_that_leaves_does_not_lift_the_limit(several_blas_threads):
    with blas.single_threaded_blas():
        in_another_thread(lambda: pool.run(lambda index: index, 10))
        assert set(blas_threads()) == {1}
    assert set(blas_threads()) == {2}


def test_a_second_thread_predicts_the_same_bits(several_blas_threads):
    rng = np.random.default_rng(0)
    model = ac.Sequential(ac.Linear(700, 600, rng=rng), ac.ReLU(), ac.Linear(600, 300, rng=rng))
    convolution = ac.Conv2D(48, 48, 3, rng=rng, algorithm="im2col")
    rows = rng.standard_normal((90, 700)).astype(np.float32)
    images = rng.standard_normal((5, 17, 19, 48)).astype(np.float32)

    def bits():
        return model(rows).tobytes(), convolution(images).tobytes()

    assert bits() == in_another_thread(bits)


def test_orthogonal_weights_have_the_same_bits_for_any_number_of_blas_threads(several_blas_threads):
    def bits():
        return ac.initializers.orthogonal(np.random.default_rng(0), (700, 700), np.dtype(np.float32)).tobytes()

    with blas.single_threaded_blas():
        expected = bits()
    assert bits() == expected


def test_the_limits_of_another_thread_switch_nothing_off(several_blas_threads):
    """Another thread has a limit of its own when the library begins, and sets and lifts others meanwhile."""
    entered, leave, left = threading.Event(), threading.Event(), threading.Event()

    def other():
        with threadpool_limits(2, user_api="blas"):
            entered.set()
            leave.wait(60)
            with threadpool_limits(3, user_api="blas"):
                pass
        left.set()

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait(60)
    seen = []

    def task(index):
        seen.append(set(blas_threads()))
        if index == 3:
            leave.set()
            left.wait(60)

    pool.run(task, 8, shared=False)
    thread.join()
    assert seen == [{1}] * 8
    assert set(blas_threads()) == {2}  # the number that the other thread has left behind


def test_a_number_that_is_set_meanwhile_stays_afterwards(several_blas_threads):
    with blas.single_threaded_blas():
        for library in blas._libraries():
            library._set(3)
        with blas.single_threaded_blas():
            assert set(blas_threads()) == {1}
    assert set(blas_threads()) == {3}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_while_another_thread_predicts_does_not_hang():
    program = """
        import os, sys, threading
        import numpy as np
        import allconv as ac
        model = ac.Sequential(ac.Linear(700, 600), ac.ReLU(), ac.Linear(600, 300))
        x = np.ones((300, 700), np.float32)
        model(x)
        def predict():
            while True:
                model(x)
        threading.Thread(target=predict, daemon=True).start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                model(x)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        print("forked")
        os._exit(0)
    """
    printed = python(textwrap.dedent(program), OPENBLAS_NUM_THREADS="2", PYTHONWARNINGS="ignore")
    assert printed == "forked\n"


class PerThreadLibrary:
    """What threadpoolctl finds of MKL: each thread has a number of threads of its own."""

    internal_api, threading_layer = "mkl", "intel"

    def __init__(self):
        self._local = threading.local()

    def get_num_threads(self):
        return getattr(self._local, "number", 4)

    def set_num_threads(self, number):
        self._local.number = number


def test_a_library_with_a_number_for_each_thread_is_limited_in_each(monkeypatch):
    found = PerThreadLibrary()
    libraries = [blas._Library(found)]
    monkeypatch.setattr(blas, "_libraries", lambda: libraries)
    ac.set_num_threads(3)
    barrier = threading.Barrier(3, timeout=60)
    inside = pool.run(lambda index: (barrier.wait(), found.get_num_threads())[1], 3)
    assert inside == [1, 1, 1]
    assert found.get_num_threads() == 4
    with blas.single_threaded_blas():
        assert in_another_thread(lambda: (pool.run(lambda _: 0, 5), found.get_num_threads())[1]) == 4
        assert found.get_num_threads() == 1
    assert found.get_num_threads() == 4
