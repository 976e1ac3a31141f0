"""Evaluation and prediction."""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from allconv.data.loader import Loader
from allconv.layers.base import Layer
from allconv.layers.softmax import LogSoftmax, Softmax
from allconv.losses import MeanSquaredError, SoftmaxCrossEntropy
from allconv.parallel.blas import single_threaded_blas
from allconv.parallel.process_group import shared_over
from allconv.typing import Array, Loss
from allconv.validation import check_array, check_batch, check_floating, check_int, describe


def check_kind(name: str, value: object, kind: type) -> None:
    """Raise TypeError unless `value` is of a kind."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name} must be {article} {kind.__name__}, got {describe(value)}")


def check_loss(loss: object) -> None:
    """Raise TypeError unless `loss` can be called with scores and labels."""
    if isinstance(loss, type):
        raise TypeError(f"loss must be an object, such as {loss.__name__}(), got the class {loss.__name__}")
    if not callable(loss):
        raise TypeError(f"loss must be callable, got {describe(loss)}")


def measured(loss: Loss, scores: Array, labels: Array) -> tuple[float, Array]:
    """Return the loss of a batch and its gradient, which must be what `allconv.typing.Loss` promises."""
    result = loss(scores, labels)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise TypeError(f"loss must return (value, gradient), got {describe(result)}")
    value = check_array("the loss's value", result[0])
    if value.ndim != 0 or value.dtype.kind not in "fiu":
        raise TypeError(
            f"loss must return a number as its value, got {describe(result[0])}; reduction='none' is for calls of "
            "one's own"
        )
    gradient = check_floating("the loss's gradient", result[1])
    if gradient.shape != scores.shape:
        raise ValueError(
            f"loss must return a gradient of the shape of the scores, {scores.shape}, got {describe(gradient)}"
        )
    return float(value), gradient


def divisor_of(loss: Loss, labels: Array) -> float:
    """Return what the mean over a batch divides by: what the loss says, or else the number of the examples."""
    divisor = getattr(loss, "divisor", None)
    return float(divisor(labels) if callable(divisor) else len(labels))


def count_correct(loss: Loss, scores: Array, labels: Array) -> tuple[int, int] | None:
    """Return how many examples have their largest score at the label, and how many there are; None for a regression.

    Scores are (N, K), or (N, H, W, K) where each pixel is an example. Labels are integers (N,) or (N, H, W), and those
    that the loss ignores do not count. For the softmax cross-entropy they may also be rows of probabilities.
    """
    if isinstance(loss, MeanSquaredError) or scores.ndim < 2 or scores.shape[-1] < 2:
        return None
    if labels.dtype.kind in "iu" and labels.shape == scores.shape[:-1]:
        ignored = getattr(loss, "ignore_index", None)
        counted = np.ones(labels.shape, bool) if ignored is None else labels != ignored
    elif isinstance(loss, SoftmaxCrossEntropy) and labels.shape == scores.shape:
        labels = labels.argmax(axis=-1)
        counted = np.ones(labels.shape, bool)
    else:
        return None
    right = (scores.argmax(axis=-1) == labels) & counted
    return int(np.count_nonzero(right)), int(np.count_nonzero(counted))


@dataclass
class Sums:
    """Running sums over the images of an epoch or a test set.

    Attributes
    ----------
    loss : float
        The sum of the losses, before any division.
    weight : float
        The sum of the divisors of the batches' means.
    correct : int or None
        How many examples are right; None for a regression.
    counted : int
        How many examples count in the accuracy.
    images : int
        How many images there were, whether they count or not.
    seconds : float
        The time that they took.
    """

    loss: float = 0.0
    weight: float = 0.0
    correct: int | None = 0
    counted: int = 0
    images: int = 0
    seconds: float = 0.0

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> "Sums":
        """Return the sums of a checkpoint; older ones counted each image once."""
        return cls(**{"weight": state["images"], "counted": state["images"]} | state)

    def add(self, loss: Loss, value: float, scores: Array, labels: Array) -> None:
        """Count the scores of a batch and its loss, a mean over the batch or, if the loss says so, a sum."""
        divisor = divisor_of(loss, labels)
        self.loss += value if getattr(loss, "reduction", "mean") == "sum" else value * divisor
        self.weight += divisor
        found = count_correct(loss, scores, labels)
        if found is None or self.correct is None:
            self.correct = None
        else:
            self.correct += found[0]
            self.counted += found[1]
        self.images += len(labels)

    @property
    def mean_loss(self) -> float:
        """The mean of the losses; NaN if nothing counts."""
        return self.loss / self.weight if self.weight else math.nan

    @property
    def accuracy(self) -> float | None:
        """The share of examples whose label has the highest score; None for a regression, and NaN if none counts."""
        if self.correct is None:
            return None
        return self.correct / self.counted if self.counted else math.nan


@dataclass(frozen=True)
class Evaluation:
    """The means over a data set.

    Attributes
    ----------
    loss : float
        The mean loss over the examples that count, each by its weight; NaN if none counts.
    accuracy : float or None
        The share of right examples among those whose label is not ignored, in 0..1; None for a regression, and NaN if
        none counts.
    images : int
        How many images there were, whether they count or not.
    seconds : float
        The time that all of it took.
    """

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

    The means do not depend on the batch size. Labels that the loss ignores count in neither of them, and a batch
    without any other label adds nothing.

    Parameters
    ----------
    model : Layer
        The model, which takes the loader's images and gives scores.
    loss : callable
        ``loss(scores, labels) -> (value, gradient)``; see `allconv.typing.Loss`.
    loader : Loader
        The images and labels, of which epoch 0 is taken.

    Returns
    -------
    Evaluation
        Loss, accuracy, the number of images and the seconds.

    Raises
    ------
    TypeError
        If an argument is of another kind, or the loss returns something else than a value and a gradient.
    ValueError
        For a model that ends in Softmax with a SoftmaxCrossEntropy, or labels that the model has no score for.

    Examples
    --------
    >>> import allconv as ac
    >>> model = ac.Sequential(ac.Flatten(), ac.Linear(3072, 10, initializer=ac.initializers.zeros))
    >>> loader = ac.data.Loader(ac.data.shapes(20, seed=0), 8)
    >>> round(evaluate(model, ac.SoftmaxCrossEntropy(), loader).loss, 4)  # log 10: all classes are as probable
    2.3026
    """
    check_kind("model", model, Layer)
    check_loss(loss)
    check_kind("loader", loader, Loader)
    check_fit(model, loss, loader)
    sums, started = Sums(), time.perf_counter()
    with single_threaded_blas():
        for images, labels in loader.epoch(0):
            with shared_over(len(images)) as group:
                scores = group.all_gather(model(images[group.shard(len(images))]), len(images))
            # Of a batch in which nothing counts, a mean would be 0 / 0.
            value = measured(loss, scores, labels)[0] if divisor_of(loss, labels) else 0.0
            sums.add(loss, value, scores, labels)
    return Evaluation(sums.mean_loss, sums.accuracy, sums.images, time.perf_counter() - started)


def predict(model: Layer, images: Array, *, batch_size: int = 256) -> Array:
    """Return the scores for images, `batch_size` at a time.

    Parameters
    ----------
    model : Layer
        The model.
    images : array of a floating dtype, shape (N, H, W, C)
        The images, already normalized.
    batch_size : int, default 256
        The number of images in memory at the same time, at least 1.

    Returns
    -------
    array, shape (N, K)
        The model's output for all images.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, or there is no image.

    Examples
    --------
    >>> from allconv.layers.global_average_pool import GlobalAveragePool2D
    >>> predict(GlobalAveragePool2D(), np.ones((3, 4, 4, 2)), batch_size=2)
    array([[1., 1.], [1., 1.], [1., 1.]])
    """
    check_kind("model", model, Layer)
    batch_size = check_int("batch_size", batch_size)
    images = check_batch("images", images)
    with single_threaded_blas():
        return np.concatenate([model(images[i : i + batch_size]) for i in range(0, len(images), batch_size)])
