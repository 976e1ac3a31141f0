"""A prediction in a signal handler or a `__del__`, which may interrupt the library anywhere, changes nothing."""

import gc
import os
import signal
import sys
import threading

import numpy as np
import pytest

import allconv as ac
from allconv.models import fuse
from allconv.parallel import blas, buffers, pool, stages, workers

LIBRARY = tuple(module.__file__ for module in (pool, blas, buffers, stages, workers, threading))
SHELF = buffers.Shelf(2)


@pytest.fixture(autouse=True)
def _three_threads():
    ac.set_num_threads(3)


class Workspace:
    def __init__(self):
        self.block = buffers.Scratch()


class Prepared:
    """Two stages of two parts, with memory of their own."""

    def __init__(self):
        self.source, self.half, self.target = (buffers.empty((4, 1 << 14), np.dtype(np.float32)) for _ in range(3))
        both = slice(0, 2), slice(2, 4)
        doubling = [[lambda own=own: np.add(self.source[own], self.source[own], out=self.half[own])] for own in both]
        negating = [[lambda own=own: np.multiply(self.half[own], -0.5, out=self.target[own])] for own in both[::-1]]
        self._stages = stages.Stages([doubling, negating])

    def negate(self, x):
        self.source[...] = x[:, : 1 << 14]
        self._stages.run()


def compute(value):
    """Use all that threads and memory offer; raise if somebody else has written to what is in use."""
    with buffers.borrowed(Workspace) as workspace:
        block = workspace.block.array((1 << 15,), np.dtype(np.float32))
        block[...] = value
        x = buffers.empty((4, 1 << 16), np.dtype(np.float32))
        x[...] = value
        y = pool.elementwise_into(np.negative, x)
        lent = SHELF.take("key") or Prepared()
        lent.negate(x)
        assert (lent.target == -value).all()
        SHELF.put_back("key", lent)
        assert (block == value).all()
        assert (x == value).all()
        assert (y == -value).all()


def handlers():
    yield "compute", lambda: compute(2.0)
    yield "free", lambda: (compute(3.0), ac.free_memory())
    yield "threads", lambda: (ac.set_num_threads(3), compute(4.0))


@pytest.mark.parametrize("handler", [pytest.param(function, id=name) for name, function in handlers()])
def test_the_library_may_be_interrupted_between_any_two_instructions(handler):
    instructions = 0

    def trace(frame, event, argument):
        nonlocal instructions
        if frame.f_code.co_filename not in LIBRARY:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            instructions += 1
            if instructions == stop:
                handler()
        return trace

    def traced_instructions():
        nonlocal instructions
        instructions = 0
        sys.settrace(trace)
        try:
            compute(1.0)
        finally:
            sys.settrace(None)
        return instructions

    stop, reached = 0, 0
    traced_instructions()  # Python 3.12 reports no instruction of a function that it had not been asked for before.
    stop = 1
    while traced_instructions() >= stop:
        reached, stop = stop, stop + 2  # the length of a call varies, so the instructions between come too
    assert reached > 500
    compute(1.0)


def test_waiting_for_a_worker_may_be_interrupted_between_any_two_instructions():
    def trace(frame, event, argument):
        nonlocal instructions
        if frame.f_code.co_filename not in LIBRARY:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            instructions += 1
            if instructions == stop:
                raise KeyboardInterrupt
        return trace

    for stop in range(1, 1000):
        instructions = 0
        begun, may_end = threading.Lock(), threading.Lock()
        begun.acquire()
        may_end.acquire()
        job = workers.Job(lambda begun=begun, may_end=may_end: (begun.release(), may_end.acquire(timeout=10)))
        worker = threading.Thread(target=job.begin, daemon=True)
        worker.start()
        begun.acquire()
        threading.Timer(0.005, may_end.release).start()
        sys.settrace(trace)
        try:
            job.cancel_or_wait()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        worker.join(5)
        assert not worker.is_alive(), f"the worker hangs after an interrupt at instruction {stop}"
        job.cancel_or_wait()
        if instructions < stop:
            break
    assert stop > 10


def train(build, seconds=None, *, fused=False):
    """Return the losses of some steps, and how often another model predicted meanwhile, in a handler of SIGVTALRM."""
    other = fuse(build(7)) if fused else build(7)
    x = np.random.default_rng(3).standard_normal((40, 8, 8, 3)).astype(np.float32)
    expected, predictions = other(x).tobytes(), []
    images = np.random.default_rng(1).integers(0, 256, (192, 8, 8, 3), np.uint8)
    model = build(0)
    loader = ac.data.Loader(ac.data.Dataset(images, np.arange(192) % 4), 64)
    optimizer = ac.Adam(model.parameters(), 0.001)

    def handle(number, frame):
        predictions.append(other(x).tobytes() == expected)
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)  # now, since a handler may take longer than that

    before = signal.signal(signal.SIGVTALRM, handle)
    try:
        if seconds is not None:
            signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        losses = [
            record.loss
            for record in ac.train(model, ac.SoftmaxCrossEntropy(), optimizer, loader, epochs=10, report_every=1)
        ]
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert all(predictions)
    return losses, len(predictions)


def dense(seed):
    rng = np.random.default_rng(seed)
    return ac.Sequential(
        ac.Flatten(), ac.Linear(192, 2000, rng=rng), ac.ReLU(), ac.Dropout(0.2, rng=rng), ac.Linear(2000, 4, rng=rng)
    )


def convolutional(seed):
    rng = np.random.default_rng(seed)
    return ac.Sequential(
        ac.Conv2D(3, 32, 3, rng=rng), ac.BatchNorm(32), ac.ReLU(), ac.Conv2D(32, 32, 5, algorithm="im2col", rng=rng),
        ac.Conv2D(32, 32, 3, groups=32, rng=rng), ac.ELU(), ac.Conv2D(32, 4, 3, rng=rng), ac.GlobalAveragePool2D(),
    )  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("build", [dense, convolutional])
@pytest.mark.parametrize("fused", [False, True])
def test_predictions_in_a_signal_handler_do_not_disturb_training(build, fused):
    expected, _ = train(build)
    losses, predictions = train(build, 0.001, fused=fused)
    assert predictions > 3
    assert losses == expected


@pytest.mark.parametrize("fused", [False, True])
def test_predictions_in_a_destructor_do_not_disturb_training(fused):
    other, x, seen = fuse(dense(7)) if fused else dense(7), np.ones((40, 8, 8, 3), np.float32), []
    expected = other(x).tobytes()

    class Garbage:
        def __init__(self):
            self.itself = self  # only the collector frees it: in the middle of whatever makes the next object

        def __del__(self):
            seen.append(other(x).tobytes() == expected)

    without, _ = train(dense)
    thresholds = gc.get_threshold()
    stop = threading.Event()

    def litter():
        while not stop.is_set():
            Garbage()
            stop.wait(0.002)

    littering = threading.Thread(target=litter)
    gc.set_threshold(20)
    littering.start()
    try:
        losses, _ = train(dense)
    finally:
        stop.set()
        littering.join()
        gc.set_threshold(*thresholds)
        gc.collect()
    assert losses == without
    assert len(seen) > 3
    assert all(seen)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_predictions_of_a_copy_in_a_handler_do_not_disturb_its_own(monkeypatch):
    monkeypatch.setattr("allconv.models.planning.builder._LEAST_SHARED_WORK", 1)
    fused, seen = fuse(convolutional(7)), []
    images = np.random.default_rng(3).standard_normal((2, 1, 16, 16, 3)).astype(np.float32)
    expected = [fused(x).tobytes() for x in images]

    def handle(number, frame):
        seen.append(fused(images[1]).tobytes() == expected[1])
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.001)

    before = signal.signal(signal.SIGVTALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.001)
        while len(seen) < 20:
            assert fused(images[0]).tobytes() == expected[0]
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert all(seen)
