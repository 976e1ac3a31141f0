"""Early stopping: the examples that are held out for it, the best epoch by their loss, and its weights."""

import math
from typing import Any

from allconv.checkpoint.weights import load_model_state, model_state
from allconv.data import Dataset, split
from allconv.layers.base import Layer


def parts_of(data: Dataset, fraction: float | None, *, seed: int, stratify: bool) -> tuple[Dataset, Dataset | None]:
    """Return the examples to train on, and the `fraction` of all that is held out; None holds nothing out."""
    if fraction is None:
        return data, None
    try:
        kept, held_out = split(data, (1 - fraction, fraction), seed=seed, stratify=stratify)
    except ValueError as error:
        raise ValueError(
            f"validation_fraction must leave both parts an example, got {fraction} of n_samples={len(data)}"
        ) from error
    return kept, held_out


class BestEpoch:
    """The epoch after which the loss on the held-out examples was lowest, with the model's weights then.

    Parameters
    ----------
    model : Layer
        The model that is trained.
    patience : int
        How many epochs in a row may bring no lower loss before training should stop.

    Attributes
    ----------
    epoch : int
        The number of epochs up to the best one, or 0 before the first.
    """

    def __init__(self, model: Layer, patience: int) -> None:
        self._model, self._patience = model, patience
        self._loss, self._seen, self.epoch = math.inf, 0, 0
        self._state: dict[str, Any] = {}

    def note(self, loss: float) -> bool:
        """Take in the loss after another epoch, and tell whether training should stop."""
        self._seen += 1
        if loss < self._loss:
            self._loss, self.epoch, self._state = loss, self._seen, model_state(self._model)
        return self._seen - self.epoch >= self._patience

    def restore(self) -> None:
        """Give the model the weights of the best epoch."""
        load_model_state(self._model, self._state)
