"""The cross-entropy of a sigmoid: for two classes by one score, or for several labels that may hold together."""

from typing import Any

import numpy as np

from allconv.functional.sigmoid import sigmoid
from allconv.losses.elementwise import ElementwiseLoss
from allconv.typing import Array


class BinaryCrossEntropy(ElementwiseLoss):
    r"""Cross-entropy between target probabilities and the sigmoid of the scores, for each score by itself.

    With :math:`p = 1 / (1 + e^{-s})`,

    .. math::

        L = -\frac{1}{D} \sum_i \left( t_i \log p_i + (1 - t_i) \log(1 - p_i) \right), \qquad
        \frac{\partial L}{\partial s_i} = \frac{p_i - t_i}{D}

    The scores are logits: the network ends without a Sigmoid. Each of the K columns of scores (N, K) answers one
    question with yes or no, so that an example may have several labels, or none.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default "mean"
        The kind of sum. For "mean", D is the number of elements, which is examples times outputs; for "sum", D is 1.
        "none" leaves the losses apart.

    Raises
    ------
    TypeError, ValueError
        If `reduction` is another word; from a call, as for `MeanSquaredError`, and if the target has a number outside
        [0, 1].

    Notes
    -----
    Arguments and results of a call are those of `MeanSquaredError`; the target is floating, too. All values are those
    of `torch.nn.functional.binary_cross_entropy_with_logits`. They are computed as
    :math:`\max(s, 0) - s t + \log(1 + e^{-|s|})`, which overflows for no score.

    Examples
    --------
    >>> value, gradient = BinaryCrossEntropy()(np.zeros((1, 2)), np.array([[1.0, 0.0]]))
    >>> round(value, 4), gradient
    (0.6931, array([[-0.25, 0.25]]))
    """

    def _terms(self, scores: Array, target: Array) -> tuple[Array, Array]:
        r"""Return the cross-entropies of the elements, and p - t."""
        losses = np.maximum(scores, 0) - scores * target + np.log1p(np.exp(-np.abs(scores)))
        return losses, sigmoid(scores) - target

    def _check_target(self, target: object, scores: Array, dtype: np.dtype[Any]) -> Array:
        """Return the target, as for every loss, whose numbers must lie in [0, 1]."""
        array = super()._check_target(target, scores, dtype)
        wrong = ~((array >= 0) & (array <= 1))  # true for NaN, too
        if wrong.any():
            raise ValueError(f"target must hold numbers in [0, 1], got {float(array[wrong][0]):g}")
        return array
