r"""Gradient accumulation and a moving average of the weights, each a few lines in a loop of one's own.

    python examples/accumulate_and_average.py
    python examples/accumulate_and_average.py --quick

Accumulation: a batch that does not fit the memory is taken in parts. `backward` adds to the gradients that are there,
so after the last part they are those of the whole batch, if the gradient of each part's mean loss is weighed by its
share of the images:

    L = 1/N sum over n of l_n = sum over parts of N_part / N L_part

A network with BatchNorm is another one in parts, since each part has its own mean and variance.

Averaging: training ends wherever the last noisy steps went. A second network follows the weights w_t of the first as

    a_t = d_t a_(t-1) + (1 - d_t) w_t,   d_t = min(0.99, (1 + t) / (10 + t))

which is about the mean of the last 100 steps, and of fewer at the start (Polyak and Juditsky, 1992; d_t is that of
TensorFlow's ExponentialMovingAverage). It never trains: it is what gets tested and saved.
"""

import argparse
import copy

import numpy as np

import allconv as ac
from allconv.typing import Array, Loss


def network(rng: np.random.Generator) -> ac.Sequential:
    """Return a small network without BatchNorm."""
    return ac.Sequential(
        ac.Conv2D(3, 16, 3, stride=2, rng=rng),
        ac.ReLU(),
        ac.Conv2D(16, 32, 3, stride=2, rng=rng),
        ac.ReLU(),
        ac.Conv2D(32, 64, 3, stride=2, rng=rng),
        ac.ReLU(),
        ac.Conv2D(64, 10, 1, rng=rng),
        ac.GlobalAveragePool2D(),
    )


def accumulate(model: ac.Layer, loss: Loss, images: Array, labels: Array, parts: int) -> float:
    """Add the gradient of the mean loss over the batch, taken in so many parts, and return that loss."""
    total = 0.0
    for x, target in zip(np.array_split(images, parts), np.array_split(labels, parts), strict=True):
        scores, cache = model.forward(x, training=True)
        value, dscores = loss(scores, target)
        share = len(x) / len(images)
        model.backward(share * dscores, cache)
        total += share * value
    return total


def follow(average: ac.Layer, model: ac.Layer, step: int) -> None:
    """Move the averaged weights towards the model's."""
    decay = min(0.99, (1 + step) / (10 + step))
    for a, w in zip(average.parameters(), model.parameters(), strict=True):
        a.value += (1 - decay) * (w.value - a.value)


def compare(model: ac.Layer, loss: Loss, images: Array, labels: Array) -> None:
    """Print how far the gradient in 4 parts is from that of the whole batch."""
    gradients = []
    for parts in (1, 4):
        accumulate(model, loss, images, labels, parts)
        gradients.append(np.concatenate([p.grad.ravel() for p in model.parameters() if p.grad is not None]))
        for parameter in model.parameters():
            parameter.grad = None
    whole, in_parts = gradients
    error = np.linalg.norm(in_parts - whole) / np.linalg.norm(whole)
    print(f"gradient of {len(images)} images in 4 parts: differs from the whole's by {error:.0e} of its norm")


def run(images: int, epochs: int) -> None:
    """Compare the gradients, then train in parts beside an averaged copy, and test both."""
    train_set, test_set = ac.data.shapes(images, seed=0), ac.data.shapes(1000, seed=1)
    normalize = ac.data.Standardize.fit(train_set.images)
    loader = ac.data.Loader(train_set, 60, normalize=normalize)
    test_loader = ac.data.Loader(test_set, 100, shuffle=False, normalize=normalize)
    model, loss = network(np.random.default_rng(0)), ac.SoftmaxCrossEntropy()
    compare(model, loss, *next(loader.epoch(0)))

    optimizer = ac.Adam(model.parameters(), learning_rate=1e-2)
    average, step = copy.deepcopy(model), 0
    for epoch in range(epochs):
        for batch, labels in loader.epoch(epoch):
            accumulate(model, loss, batch, labels, parts=4)
            optimizer.step()
            step += 1
            follow(average, model, step)
        last, averaged = (ac.evaluate(tested, loss, test_loader).accuracy for tested in (model, average))
        print(f"epoch {epoch}  test accuracy: last weights {last:.3f}, averaged {averaged:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short epochs instead of ten")
    run(*(300, 2) if parser.parse_args().quick else (2000, 10))
