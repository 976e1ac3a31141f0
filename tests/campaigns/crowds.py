"""Many threads and many processes at once: the same bits, bounded memory, and nothing hangs."""

import os
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import allconv as ac
from allconv.parallel import buffers
from campaigns import Case
from campaigns.parts import Parts, check_same

SIZES = [(n, h, w) for n in (1, 3, 8, 20) for h, w in ((20, 20), (12, 28), (33, 17), (40, 40), (9, 64))]


def network() -> ac.Sequential:
    """Return a network that takes images of any size, with each way to compute a convolution."""
    rng = np.random.default_rng(0)
    return ac.Sequential(
        ac.Conv2D(3, 16, 3, rng=rng), ac.BatchNorm(16), ac.ReLU(), ac.Conv2D(16, 16, 5, algorithm="im2col", rng=rng),
        ac.Conv2D(16, 16, 3, groups=16, rng=rng), ac.ELU(), ac.Conv2D(16, 10, 3, rng=rng), ac.GlobalAveragePool2D(),
    )  # fmt: skip


def _images(size: tuple[int, int, int]) -> np.ndarray:
    n, h, w = size
    return np.random.default_rng(n * h * w).standard_normal((n, h, w, 3)).astype(np.float32)


def threads() -> Iterator[Case]:
    """16 threads predict at once, images of many sizes; what is kept is bounded for the process."""
    before = ac.get_memory_limit()
    ac.set_memory_limit(32 << 20)
    ac.set_num_threads(3)
    model = network()
    images = {size: _images(size) for size in SIZES}
    expected = {size: model(x).tobytes() for size, x in images.items()}

    def case(rng: np.random.Generator) -> str:
        order = rng.integers(0, len(SIZES), (16, 4))
        barrier = threading.Barrier(16, timeout=60)

        def predict(row: np.ndarray) -> bool:
            barrier.wait()
            return all(model(images[SIZES[at]]).tobytes() == expected[SIZES[at]] for at in row)

        with ThreadPoolExecutor(16) as executor:
            assert all(executor.map(predict, order, timeout=120)), "other bits"
        assert buffers.kept_bytes() <= 32 << 20, f"{buffers.kept_bytes()} bytes are kept"
        return "same bits"

    try:
        yield case
    finally:
        ac.set_memory_limit(before)


def forks() -> Iterator[Case]:
    """A fork while three threads predict: the child predicts and trains, with the same bits, and ends."""
    ac.set_num_threads(3)
    model, stop = network(), threading.Event()
    images = [_images(size) for size in SIZES[5:8]]
    expected = [model(x).tobytes() for x in images]
    run = Parts().train()
    next(run)
    wanted = run.state

    def work(x: np.ndarray) -> None:
        while not stop.is_set():
            model(x)

    def child() -> int:
        if [model(x).tobytes() for x in images] != expected:
            return 3
        run = Parts().train()
        next(run)
        check_same(wanted, run.state, "the child")
        return 0

    def case(rng: np.random.Generator) -> str:
        time.sleep(rng.uniform(0, 0.02))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of a fork with threads
            pid = os.fork()
        if pid == 0:
            status = 4
            try:
                status = child()
            finally:
                os._exit(status)
        deadline = time.monotonic() + 60
        while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > deadline:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
                raise AssertionError("the child hangs")
            time.sleep(0.005)
        assert ended[1] == 0, f"the child ended with {os.waitstatus_to_exitcode(ended[1])}"
        return "same bits"

    workers = [threading.Thread(target=work, args=(x,), daemon=True) for x in images]
    for worker in workers:
        worker.start()
    try:
        yield case
    finally:
        stop.set()
        for worker in workers:
            worker.join()


CAMPAIGNS = {
    "threads": ("times that 16 threads predicted at once, 64 predictions each time", threads),
    "forks": ("forks while three threads predicted", forks),
}
