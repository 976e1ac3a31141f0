"""A small training run that has all kinds of state, and is large enough for several threads and for kept buffers."""

import numpy as np
from helpers.states import differing

import allconv as ac


class Parts:
    """What a training run of four steps needs."""

    def __init__(self, seed: int = 0, step: int = 48) -> None:
        rng = np.random.default_rng(seed)
        self.model = ac.Sequential(
            ac.Conv2D(3, 16, 3, rng=rng), ac.BatchNorm(16), ac.ReLU(),
            ac.Skip(ac.Sequential(ac.Conv2D(16, 16, 3, algorithm="im2col", rng=rng), ac.ELU())),
            ac.Conv2D(16, 16, 3, groups=16, rng=rng), ac.MaxPool2D(2), ac.Dropout(0.2, rng=rng),
            ac.Conv2D(16, 24, 3, rng=rng), ac.MeanPool2D(2), ac.Flatten(), ac.Linear(600, 10, rng=rng),
        )  # fmt: skip
        self.loss = ac.SoftmaxCrossEntropy()
        self.optimizer = ac.DilatedAMSGrad(self.model, 0.01)
        images = np.random.default_rng(1).integers(0, 256, (2 * step, 20, 20, 3), np.uint8)
        self.data = ac.data.Dataset(images, np.arange(2 * step) % 10)
        self.loader = ac.data.Loader(self.data, step, augment=ac.data.article_augment(), normalize=ac.data.per_step)

    def train(self, **options):
        parts = self.model, self.loss, self.optimizer, self.loader
        return ac.train(*parts, epochs=2, report_every=1, **options)

    def evaluate(self):
        found = ac.evaluate(self.model, self.loss, ac.data.Loader(self.data, 48, normalize=ac.data.per_step))
        return found.loss, found.accuracy

    def predict(self):
        return ac.predict(self.model, self.data.images.astype(np.float32), batch_size=48)


def trained(parts: Parts | None = None) -> dict:
    """Return the last state of a run that nothing disturbs."""
    run = (parts or Parts()).train()
    for _ in run:
        pass
    return run.state


def check_same(expected: dict, got: dict, what: str) -> None:
    """Raise unless two states have the same bits."""
    if paths := differing(expected, got):
        raise AssertionError(f"{what}: other bits in {', '.join(paths)}")
