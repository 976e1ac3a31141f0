"""Too little memory: MemoryError and nothing else, after which the library works with the same bits."""

import ctypes
import gc
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import allconv as ac
from allconv.parallel import buffers, pool
from campaigns import Case
from campaigns.parts import Parts, check_same

PAGE = resource.getpagesize()
M_MMAP_THRESHOLD = -3  # of mallopt


def held(kind: int) -> int:
    """Return the bytes of the process: 0 its address space, 1 what is resident."""
    return int(Path("/proc/self/statm").read_text().split()[kind]) * PAGE


def _limited(extra: int, do: Callable[[], object]) -> str:
    """Do something while the address space may grow by `extra` bytes only; tell whether it was too little."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held(0) + extra, limits[1]))
    try:
        do()
    except MemoryError:
        return "MemoryError"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    return "done"


def limits() -> Iterator[Case]:
    """A limit on the memory of the process during training steps, an evaluation or a prediction."""
    # Arrays of 64 KB and more then go back to the system when nobody uses them, and have to be asked for again.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 16)
    ac.set_num_threads(3)
    parts = Parts()
    run = parts.train()
    next(run)
    begun = run.state
    next(run)
    wanted, evaluated, predicted = run.state, parts.evaluate(), parts.predict()
    sizes: list[int] = []

    def work() -> None:
        run.load_state(begun)
        next(run)
        check_same(wanted, run.state, "training")
        assert parts.evaluate() == evaluated, "another evaluation"
        assert np.array_equal(parts.predict(), predicted), "another prediction"

    work()

    def case(rng: np.random.Generator) -> str:
        if rng.random() < 0.7:
            ac.free_memory()
            gc.collect()
        if rng.random() < 0.3:
            ac.set_num_threads(3)
        # The workers start before the limit holds: Python waits for ever for a thread that lacks the memory to begin.
        pool.run(lambda index: index, 8)
        end = _limited(int(rng.integers(0, 24 << 20)), work)
        work()
        assert buffers.kept_bytes() <= ac.get_memory_limit(), f"{buffers.kept_bytes()} bytes are kept"
        ac.free_memory()
        sizes.append(held(1))
        base = max(sizes[:20])
        assert sizes[-1] < base + (48 << 20), f"{sizes[-1] >> 20} MB are held after {base >> 20}"
        return end

    yield case


def allocations() -> Iterator[Case]:
    """Any one of the arrays that the library makes for its results cannot be had."""
    ac.set_num_threads(3)
    parts = Parts()
    run = parts.train()
    next(run)
    begun = run.state
    next(run)
    wanted, predicted = run.state, parts.predict()
    make, left = buffers._new_buffer, [0]

    def failing(nbytes: int) -> np.ndarray:
        left[0] -= 1
        if left[0] == 0:
            raise MemoryError(f"cannot allocate {nbytes} bytes")
        return make(nbytes)

    def work() -> None:
        run.load_state(begun)
        next(run)
        check_same(wanted, run.state, "training")
        assert np.array_equal(parts.predict(), predicted), "another prediction"

    buffers._new_buffer = failing
    ac.free_memory()
    work()
    calls = -left[0]

    def case(rng: np.random.Generator) -> str:
        ac.free_memory()
        left[0], end = int(rng.integers(1, calls + 1)), "done"
        try:
            work()
        except MemoryError:
            end = "MemoryError"
        left[0] = 0
        work()
        return end

    try:
        yield case
    finally:
        buffers._new_buffer = make


CAMPAIGNS = {
    "memory-limits": ("limits on the memory of the process, in a step, an evaluation or a prediction", limits),
    "memory-arrays": ("arrays that could not be had, one at a time", allocations),
}
