"""Checks of a model, a loss and data against each other, before any work is done."""

import copy

from allconv.data.batches import Batches
from allconv.data.loader import Loader
from allconv.layers.base import Layer
from allconv.layers.sigmoid import Sigmoid
from allconv.layers.softmax import LogSoftmax, Softmax
from allconv.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from allconv.typing import Loss
from allconv.validation import describe
from allconv.validation.arguments import can_take


def check_fit(model: Layer, loss: Loss, loader: Loader | Batches) -> None:
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
        first = copy.copy(loader)
        first.prefetch = False  # A thread would make a second step, which nobody takes.
        inputs, _, *weights = next(first.epoch(0))
        if weights:
            _check_takes_weights(loss)
        scores = model(inputs[:1])
        labels = loader.dataset.targets
        if isinstance(loss, SoftmaxCrossEntropy) and scores.ndim == 2 and labels.dtype.kind == "i":
            known = labels[labels != loss.ignore_index] if loss.ignore_index is not None else labels
            if known.size and not 0 <= known.min() <= known.max() < scores.shape[1]:
                rule = f"labels must lie in 0..{scores.shape[1] - 1}, the model's scores"
                hint = "classes count from 0, and each needs a score"
                raise ValueError(f"{rule}, got {known.min()}..{known.max()}; {hint}")


def _check_takes_weights(loss: Loss) -> None:
    """Raise TypeError if a function has no third argument for the weights of the examples."""
    if not can_take(loss, 3):
        raise TypeError(
            "loss must take the weights of the examples, loss(scores, target, weights), since the data have some, "
            f"got {describe(loss)}"
        )
