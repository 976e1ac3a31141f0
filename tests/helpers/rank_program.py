"""Train a small network, as one process or as one rank of several: python rank_program.py FOLDER [WHAT].

WHAT may be ``half``, to stop after seven steps; ``raise`` or ``die``, for rank 1 to fail there; ``apart``, for its
weights to go another way.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

import allconv as ac


class Parts:
    """All that asks for the other ranks: BatchNorm, Dropout, a loss that weighs the images, steps of 1 to 16 images.

    It is also all that a checkpoint must hold: running statistics, a scale, generators, slots, a step count.
    """

    def __init__(self, seed=0, count=41, step=8):
        rng = np.random.default_rng(seed)
        kind = {"dtype": np.float64}
        self.model = ac.Sequential(
            # A bias before BatchNorm would have a gradient of rounding errors alone, which the optimizer blows up.
            ac.Conv2D(3, 4, 3, bias=False, rng=rng, **kind),
            ac.BatchNorm(4, **kind),
            ac.ReLU(),
            ac.Skip(ac.Sequential(ac.Conv2D(4, 4, 3, rng=rng, **kind), ac.ELU())),
            ac.Dropout(0.2, rng=rng),
            ac.GlobalAveragePool2D(),
            ac.Linear(4, 3, rng=rng, **kind),
        )
        self.loss = ac.SoftmaxCrossEntropy(class_weight=[1.0, 2.0, 0.5], label_smoothing=0.1)
        self.optimizer = ac.DilatedAMSGrad(self.model, 0.01)
        images = np.random.default_rng(1).integers(0, 256, (count, 6, 6, 3), np.uint8)
        self.data = ac.data.Dataset(images, np.arange(count) % 3)
        self.loader = ac.data.Loader(self.data, step, augment=ac.data.article_augment(), normalize=ac.data.per_step)

    def train(self, **options):
        return ac.train(self.model, self.loss, self.optimizer, self.loader, epochs=2, report_every=1, **options)

    def evaluate(self):
        return ac.evaluate(self.model, self.loss, ac.data.Loader(self.data, 20, shuffle=False))


def run(folder=None, what=None, rank=0):
    """Train to the end, or from the checkpoint in `folder`; return the losses, the test's result and the weights."""
    parts = Parts()
    training, losses = parts.train(resume=folder), []
    for record in training:
        losses.append([record.epoch, record.step, record.loss, record.accuracy])
        if len(losses) == 7 and what is not None:
            if what == "half":
                break
            if what == "apart" and rank == 1:
                parts.model[0].weight.value[0, 0, 0, 0] += 1e-9
            if what == "raise" and rank == 1:
                raise ValueError("this rank has had enough")
            if what == "die" and rank == 1:
                os.kill(os.getpid(), 9)
    ac.distributed.check_same_model(parts.model)
    if folder is not None and rank == 0:
        ac.checkpoint.save(folder, training.state)
    result = parts.evaluate()
    weights = [parameter.value.tolist() for parameter in parts.model.parameters()]
    return {"losses": losses, "test": [result.loss, result.accuracy], "weights": weights}


if __name__ == "__main__":
    group = ac.distributed.start()
    folder, what = Path(sys.argv[1]), [*sys.argv[2:], None][0]
    outcome = run(folder, what, group.rank)
    (folder / f"rank{group.rank}.json").write_text(json.dumps(outcome | {"threads": ac.get_num_threads()}))
