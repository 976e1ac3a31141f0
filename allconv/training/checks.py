"""Checks of a model, a loss and data against each other, before any work is done."""

import copy

from allconv.data.batches import Batches
from allconv.data.loader import Loader
from allconv.layers.base import Layer
from allconv.layers.batchnorm import BatchNorm
from allconv.layers.intercept import Call
from allconv.layers.observe import observe
from allconv.layers.sigmoid import Sigmoid
from allconv.layers.softmax import LogSoftmax, Softmax
from allconv.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from allconv.losses.elementwise import ElementwiseLoss
from allconv.losses.targets import are_labels
from allconv.typing import Array, Cache, Loss
from allconv.validation import describe
from allconv.validation.arguments import can_take


def check_fit(model: Layer, loss: Loss, loader: Loader | Batches, *, training: bool = False) -> None:
    """Check model, loss and data against each other before any work.

    A Loader gives an input and all of its labels for that. Of batches of the user's own nothing is taken, since they
    may not come a second time.
    """
    *_, last = model.walk()
    softmax_twice = isinstance(loss, SoftmaxCrossEntropy) and isinstance(last, Softmax | LogSoftmax)
    if softmax_twice or (isinstance(loss, BinaryCrossEntropy) and isinstance(last, Sigmoid)):
        raise ValueError(
            f"model must end in logits, since {type(loss).__name__} takes them, got one that ends in {last!r}"
        )
    if isinstance(loader, Loader):
        loader = copy.copy(loader)
        loader.prefetch = False  # A thread would make a second step, which nobody takes.
        inputs, targets, *weights = next(loader.epoch(0))
        if weights:
            _check_takes_weights(loss)
        scores = model(inputs[:1])
        if isinstance(loss, SoftmaxCrossEntropy) and scores.ndim >= 2:
            if are_labels(targets[:1], scores):
                _check_labels(loader.dataset.targets, loss.ignore_index, scores.shape[-1])
        elif isinstance(loss, ElementwiseLoss):
            loss(scores, targets[:1])
        if training:
            _check_last_step(model, loader)


def _check_labels(labels: Array, ignored: int | None, classes: int) -> None:
    """Raise ValueError unless there is a score for each label of a data set that is not ignored."""
    known = labels if ignored is None else labels[labels != ignored]
    if known.size and not 0 <= known.min() <= known.max() < classes:
        rule = f"labels must lie in 0..{classes - 1}, the model's scores"
        hint = "classes count from 0, and each needs a score"
        raise ValueError(f"{rule}, got {known.min()}..{known.max()}; {hint}")


def _check_last_step(model: Layer, loader: Loader) -> None:
    """Raise ValueError if an epoch would end in a step of one example, of which a BatchNorm gets a single value."""
    count, size = len(loader.dataset), loader.batch_size
    norms = [(path, layer) for path, layer in model.named_layers() if isinstance(layer, BatchNorm) and not layer.frozen]
    if not norms or (size if loader.drop_last else count % size or size) > 1:
        return
    inputs, *_ = next(loader.epoch(0, start=len(loader) - 1))
    if len(inputs) > 1:  # The augmentation gives several versions of an example.
        return

    def check(call: Call, x: Array) -> tuple[Array, Cache]:
        if x.size == x.shape[-1]:
            raise ValueError(
                "loader must have more than one example in each step, since BatchNorm can't train on a single one, got "
                f"{count} examples in steps of {size} for {call.path}; change batch_size, or take a Loader with "
                "drop_last=True"
            )
        y, cache = call(x)
        return y, cache

    with observe(norms, forward=check):
        model(inputs)


def _check_takes_weights(loss: Loss) -> None:
    """Raise TypeError if a function has no third argument for the weights of the examples."""
    if not can_take(loss, 3):
        raise TypeError(
            "loss must take the weights of the examples, loss(scores, target, weights), since the data have some, "
            f"got {describe(loss)}"
        )
