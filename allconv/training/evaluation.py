"""Evaluation and prediction."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from allconv.data.batches import Batches, Data, as_loader
from allconv.data.dataset import check_inputs, to_floating
from allconv.data.loader import Loader
from allconv.data.views import View, check_views
from allconv.layers.base import Layer
from allconv.losses import SoftmaxCrossEntropy
from allconv.losses.elementwise import ElementwiseLoss
from allconv.parallel.blas import single_threaded_blas
from allconv.parallel.process_group import shared_over
from allconv.training.checks import check_fit
from allconv.typing import Array, Loss
from allconv.validation import (
    check_array,
    check_callable,
    check_floating,
    check_instance,
    check_int,
    check_real,
    describe,
    value_and_gradient,
)


def measured(loss: Loss, scores: Array, *target: Array) -> tuple[float, Array]:
    """Return the loss of a batch and its gradient, which must be what `allconv.typing.Loss` promises.

    `target` is the batch without its inputs: the targets and, if there are any, the weights of the examples.
    """
    returned, slope = value_and_gradient(loss(scores, *target))
    value = check_array("the loss's value", returned)
    if value.ndim != 0 or value.dtype.kind not in "fiu":
        raise TypeError(
            f"loss must return a number as its value, got {describe(returned)}; reduction='none' is for calls of "
            "one's own"
        )
    gradient = check_floating("the loss's gradient", slope)
    if gradient.shape != scores.shape:
        raise ValueError(
            f"loss must return a gradient of the shape of the scores, {scores.shape}, got {describe(gradient)}"
        )
    return float(value), gradient


def divisor_of(loss: Loss, *target: Array) -> float:
    """Return what the mean over a batch divides by: what the loss says, or else the weight of the examples."""
    divisor = getattr(loss, "divisor", None)
    if callable(divisor):
        return float(divisor(*target))
    return float(len(target[0]) if len(target) == 1 else target[1].sum())


def count_correct(
    loss: Loss, scores: Array, labels: Array, weights: Array | None = None
) -> tuple[int, int] | tuple[float, float] | None:
    """Return how many examples have their largest score at the label, and how many there are; None for a regression.

    Scores are (N, K), or (N, H, W, K) where each pixel is an example. Labels are integers (N,) or (N, H, W), and those
    that the loss ignores do not count. For the softmax cross-entropy they may also be rows of probabilities. With
    weights, (N,), the numbers are sums of weights.
    """
    if isinstance(loss, ElementwiseLoss) or scores.ndim < 2 or scores.shape[-1] < 2:
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
    if weights is None:
        return int(np.count_nonzero(right)), int(np.count_nonzero(counted))
    rows = right.reshape(len(weights), -1), counted.reshape(len(weights), -1)
    sums = [float(weights @ np.count_nonzero(row, axis=1)) for row in rows]
    return sums[0], sums[1]


@dataclass
class Sums:
    """Running sums over the examples of an epoch or a test set.

    Attributes
    ----------
    loss : float
        The sum of the losses, before any division.
    weight : float
        The sum of the divisors of the batches' means.
    correct : int, float or None
        How many examples are right, or the sum of their weights; None for a regression.
    counted : int or float
        How many examples count in the accuracy, or the sum of their weights.
    images : int
        How many images or other inputs there were, whether they count or not.
    seconds : float
        The time that they took.
    """

    loss: float = 0.0
    weight: float = 0.0
    correct: float | None = 0
    counted: float = 0
    images: int = 0
    seconds: float = 0.0

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> "Sums":
        """Return the sums of a checkpoint; older ones counted each image once."""
        check_instance("resume['sums']", state, dict)
        images = state.get("images")
        filled: dict[str, Any] = {"weight": images, "counted": images} | state
        names = {field.name for field in fields(cls)}
        if filled.keys() != names:
            raise ValueError(f"resume must have the sums {sorted(names)}, got {sorted(filled)}")
        for name, value in filled.items():
            if not (value is None and name == "correct"):
                check_real(f"resume['sums'][{name!r}]", value)
        return cls(**filled)

    def add(self, loss: Loss, value: float, scores: Array, *target: Array) -> None:
        """Count the scores of a batch and its loss, a mean over the batch or, if the loss says so, a sum."""
        divisor = divisor_of(loss, *target)
        self.loss += value if getattr(loss, "reduction", "mean") == "sum" else value * divisor
        self.weight += divisor
        found = count_correct(loss, scores, *target)
        if found is None or self.correct is None:
            self.correct = None
        else:
            self.correct += found[0]
            self.counted += found[1]
        self.images += len(scores)

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
        The share of right examples among those whose label is not ignored, each by its weight, in 0..1; None for a
        regression, and NaN if none counts.
    images : int
        How many images or other inputs there were, whether they count or not.
    seconds : float
        The time that all of it took.
    """

    loss: float
    accuracy: float | None
    images: int
    seconds: float


def evaluate(
    model: Layer, loss: Loss, loader: Data, *, batch_size: int | None = None, views: Sequence[View] | None = None
) -> Evaluation:
    """Return the means of loss and accuracy over all examples, at inference.

    The means do not depend on the batch size. Labels that the loss ignores count in neither of them, and a batch
    without any other label adds nothing. Where the examples have weights, both means are weighted.

    Parameters
    ----------
    model : Layer
        The model, which takes the inputs and gives scores.
    loss : callable
        ``loss(scores, target) -> (value, gradient)``; see `allconv.typing.Loss`.
    loader : Loader, Dataset, tuple of arrays, or batches
        The data: a Loader, of which epoch 0 is taken, or what else `train` takes. Arrays keep their order.
    batch_size : int, optional
        The number of examples in memory at the same time, for a Dataset or arrays; 32 by default.
    views : sequence of (float, callable), optional
        Views of the images, such as ``ac.data.mirror_views()``: the scores are the sum over the views, each times its
        weight.

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
    >>> x, y = np.ones((20, 32, 32, 3), np.float32), np.arange(20) % 10
    >>> evaluate(model, ac.SoftmaxCrossEntropy(), (x, y)).accuracy
    0.1
    """
    check_instance("model", model, Layer)
    check_callable("loss", loss, takes="scores, target[, weights]")
    views = None if views is None else check_views(views)
    source = as_loader("loader", loader, batch_size=batch_size, shuffle=False)
    check_fit(model, loss, source)
    return evaluated(model, loss, source, views)


def evaluated(model: Layer, loss: Loss, loader: Loader | Batches, views: Sequence[View] | None = None) -> Evaluation:
    """Return what `evaluate` returns, for arguments that were checked."""
    sums, started = Sums(), time.perf_counter()
    with single_threaded_blas():
        for inputs, *target in loader.epoch(0):
            with shared_over(len(inputs)) as group:
                scores = group.all_gather(_scores(model, inputs[group.shard(len(inputs))], views), len(inputs))
            # Of a batch in which nothing counts, a mean would be 0 / 0.
            value = measured(loss, scores, *target)[0] if divisor_of(loss, *target) else 0.0
            sums.add(loss, value, scores, *target)
    return Evaluation(sums.mean_loss, sums.accuracy, sums.images, time.perf_counter() - started)


def _scores(model: Layer, inputs: Array, views: Sequence[View] | None) -> Array:
    """Return the scores of inputs: those of the views, each times its weight and added."""
    if views is None:
        return model(inputs)
    scores: Array = sum(weight * model(view(inputs)) for weight, view in views)  # type: ignore[assignment]
    return scores


def predict(model: Layer, inputs: Array, *, batch_size: int = 256, views: Sequence[View] | None = None) -> Array:
    """Return the scores for inputs, `batch_size` at a time.

    Parameters
    ----------
    model : Layer
        The model.
    inputs : array, shape (N, ...)
        The inputs, of a floating dtype and normalized as in training; or uint8 images (N, H, W, C), which are divided
        by 255, as a Loader without `normalize` does.
    batch_size : int, default 256
        The number of inputs in memory at the same time, at least 1.
    views : sequence of (float, callable), optional
        Views of the images, as in `evaluate`.

    Returns
    -------
    array, shape (N, K)
        The model's output for all inputs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, or there is no input.

    Examples
    --------
    >>> from allconv.layers.global_average_pool import GlobalAveragePool2D
    >>> predict(GlobalAveragePool2D(), np.ones((3, 4, 4, 2)), batch_size=2)
    array([[1., 1.], [1., 1.], [1., 1.]])
    """
    check_instance("model", model, Layer)
    batch_size = check_int("batch_size", batch_size)
    inputs = check_inputs("inputs", inputs)
    views = None if views is None else check_views(views)
    batches = (inputs[i : i + batch_size] for i in range(0, len(inputs), batch_size))
    with single_threaded_blas():
        return np.concatenate([_scores(model, to_floating(batch), views) for batch in batches])
