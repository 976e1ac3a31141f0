"""Losses: ``loss(scores, target)`` returns the value and its gradient with respect to the scores.

`allconv.typing.Loss` says what `train` and `evaluate` ask of a loss, and what a loss of one's own may add.
"""

from allconv.losses.absolute_error import MeanAbsoluteError
from allconv.losses.binary_cross_entropy import BinaryCrossEntropy
from allconv.losses.cross_entropy import SoftmaxCrossEntropy
from allconv.losses.huber import Huber
from allconv.losses.squared_error import MeanSquaredError

__all__ = ["BinaryCrossEntropy", "Huber", "MeanAbsoluteError", "MeanSquaredError", "SoftmaxCrossEntropy"]
