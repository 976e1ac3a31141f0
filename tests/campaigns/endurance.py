"""Long work: what the process holds stays where it is."""

import gc
from collections.abc import Iterator

import numpy as np

import allconv as ac
from allconv.parallel import buffers
from campaigns import Case
from campaigns.crowds import network
from campaigns.memory import held
from campaigns.parts import Parts

MB = 1 << 20
WARM = 100  # cases after which everything is there that will ever be kept


class Level:
    """The resident memory of the process, which may not rise once the first cases are over."""

    def __init__(self, slack: int) -> None:
        self.slack, self.base, self.objects, self.count = slack, 0, 0, 0

    def check(self) -> None:
        assert buffers.kept_bytes() <= ac.get_memory_limit(), f"{buffers.kept_bytes()} bytes are kept"
        self.count += 1
        if self.count <= WARM:
            self.base = max(self.base, held(1))
        elif held(1) > self.base + self.slack:
            raise AssertionError(f"{held(1) // MB} MB after {self.count} cases, {self.base // MB} MB after {WARM}")
        if self.count == WARM:
            gc.collect()
            self.objects = len(gc.get_objects())
        elif self.count % 500 == 0:
            gc.collect()
            grown = len(gc.get_objects()) - self.objects
            assert grown < 20_000, f"{grown} more objects after {self.count} cases"


def steps() -> Iterator[Case]:
    """Training steps, one after the other."""
    level = Level(16 * MB)
    parts = Parts(step=16)
    run = parts.train()

    def case(rng: np.random.Generator) -> str:
        nonlocal run
        if next(run, None) is None:
            run = parts.train()
            next(run)
        level.check()
        return "done"

    yield case


def sizes() -> Iterator[Case]:
    """Predictions and gradients, for images of another size each time: 200 sizes, again and again."""
    before = ac.get_memory_limit()
    ac.set_memory_limit(64 * MB)
    level, model = Level(64 * MB), network()
    every = [(h, w) for h in range(12, 52, 4) for w in range(12, 52, 2)]
    count = 0

    def case(rng: np.random.Generator) -> str:
        nonlocal count
        h, w = every[count * 37 % len(every)]  # 37 and 200 have no common factor, so that all of them come
        count += 1
        x = rng.standard_normal((8, h, w, 3), np.float32)
        y, cache = model.forward(x, training=True)
        model.backward(np.ones_like(y), cache)
        model(x)
        level.check()
        return "done"

    try:
        yield case
    finally:
        ac.set_memory_limit(before)


CAMPAIGNS = {
    "steps": ("training steps in one process", steps),
    "sizes": ("predictions and gradients, of 200 image sizes in turn", sizes),
}
