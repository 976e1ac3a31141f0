"""Evaluation and prediction."""

import time
from dataclasses import dataclass

import numpy as np

from allconv.data.loader import Loader
from allconv.layers.base import Layer
from allconv.layers.softmax import LogSoftmax, Softmax
from allconv.losses import SoftmaxCrossEntropy
from allconv.parallel.blas import single_threaded_blas
from allconv.parallel.process_group import shared_over
from allconv.typing import Array, Loss
from allconv.validation import check_batch, check_int


def count_correct(scores: Array, target: Array) -> int | None:
    """Return how many rows of scores (N, K) have their largest entry at the target's class.

    `target` holds integer labels (N,) or rows of probabilities (N, K). None where it is neither: a regression.
    """
    if scores.ndim != 2:
        return None
    if target.ndim == 1 and np.issubdtype(target.dtype, np.integer):
        return int(np.count_nonzero(scores.argmax(axis=1) == target))
    if target.shape == scores.shape:
        return int(np.count_nonzero(scores.argmax(axis=1) == target.argmax(axis=1)))
    return None


@dataclass
class Sums:
    """Running sums over the images of an epoch or a test set."""

    loss: float = 0.0
    correct: int | None = 0
    images: int = 0
    seconds: float = 0.0

    def add(self, loss: Loss, value: float, scores: Array, labels: Array) -> None:
        """Count the scores of a batch and its loss, a mean over the batch or, if the loss says so, a sum."""
        self.loss += value if getattr(loss, "reduction", "mean") == "sum" else value * len(labels)
        correct = count_correct(scores, labels)
        self.correct = None if correct is None or self.correct is None else self.correct + correct
        self.images += len(labels)

    @property
    def accuracy(self) -> float | None:
        """The share of images whose label has the highest score; None for a regression."""
        return None if self.correct is None else self.correct / self.images


@dataclass(frozen=True)
class Evaluation:
    """The means over a data set: loss, and accuracy in 0..1 (None for a regression)."""

    loss: float
    accuracy: float | None
    images: int
    seconds: float


def check_fit(model: Layer, loss: Loss, loader: Loader) -> None:
    """Check model, loss and data against each other, on one image, before any work."""
    *_, last = model.walk()
    if isinstance(loss, SoftmaxCrossEntropy) and isinstance(last, Softmax | LogSoftmax):
        raise ValueError(  # noqa: TRY004 - the type is right, the combination is not
            f"model must end in logits, since SoftmaxCrossEntropy takes them, got one that ends in {last!r}"
        )
    images, _ = next(loader.epoch(0))
    scores = model(images[:1])
    labels = loader.dataset.labels
    if isinstance(loss, SoftmaxCrossEntropy) and scores.ndim == 2:
        known = labels[labels != loss.ignore_index] if loss.ignore_index is not None else labels
        if known.size and not 0 <= known.min() <= known.max() < scores.shape[1]:
            raise ValueError(
                f"labels must lie in 0..{scores.shape[1] - 1}, the model's scores, got {known.min()}..{known.max()}"
            )


def evaluate(model: Layer, loss: Loss, loader: Loader) -> Evaluation:
    """Return the means of loss and accuracy over the loader's images, at inference.

    Raises
    ------
    ValueError
        For a model that ends in Softmax with a SoftmaxCrossEntropy, or labels that the model has no score for.
    """
    check_fit(model, loss, loader)
    sums, started = Sums(), time.perf_counter()
    with single_threaded_blas():
        for images, labels in loader.epoch(0):
            with shared_over(len(images)) as group:
                scores = group.all_gather(model(images[group.shard(len(images))]), len(images))
            sums.add(loss, loss(scores, labels)[0], scores, labels)
    return Evaluation(sums.loss / sums.images, sums.accuracy, sums.images, time.perf_counter() - started)


def predict(model: Layer, images: Array, *, batch_size: int = 256) -> Array:
    """Return the scores (N, K) for images (N, H, W, C), already normalized, `batch_size` at a time."""
    batch_size = check_int("batch_size", batch_size)
    images = check_batch("images", images)
    with single_threaded_blas():
        return np.concatenate([model(images[i : i + batch_size]) for i in range(0, len(images), batch_size)])
