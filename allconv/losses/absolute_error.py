"""The absolute error, for regression: an outlier counts less than in the squared error."""

import numpy as np

from allconv.losses.elementwise import ElementwiseLoss
from allconv.typing import Array


class MeanAbsoluteError(ElementwiseLoss):
    r"""Mean of the absolute differences between scores and target.

    .. math:: L = \frac{1}{D} \sum_i |s_i - t_i|, \qquad
        \frac{\partial L}{\partial s_i} = \frac{1}{D} \operatorname{sign}(s_i - t_i)

    Where score and target are equal, the loss has no derivative, and the gradient is 0.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default "mean"
        The kind of sum. For "mean", D is the number of elements, which is examples times outputs; for "sum", D is 1.
        "none" leaves the differences apart.

    Raises
    ------
    TypeError, ValueError
        If `reduction` is another word; from a call, as for `MeanSquaredError`.

    Notes
    -----
    Arguments and results of a call are those of `MeanSquaredError`. All values are those of
    `torch.nn.functional.l1_loss`.

    Examples
    --------
    >>> MeanAbsoluteError()(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]))
    (1.0, array([[ 0. , -0.5]]))
    """

    def _terms(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """Return the absolute differences and their signs."""
        difference = scores - target
        return np.abs(difference), np.sign(difference)
