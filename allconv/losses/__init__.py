"""Losses: ``loss(scores, target)`` returns the value and its gradient with respect to the scores.

`allconv.typing.Loss` says what `train` and `evaluate` ask of a loss, and what a loss of one's own may add.
"""

from allconv.losses.cross_entropy import SoftmaxCrossEntropy
from allconv.losses.squared_error import MeanSquaredError

__all__ = ["MeanSquaredError", "SoftmaxCrossEntropy"]
