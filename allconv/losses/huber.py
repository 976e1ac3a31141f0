"""Huber's loss, for regression with outliers: the squared error near the target, the absolute error far from it."""

import numpy as np

from allconv.losses.elementwise import ElementwiseLoss
from allconv.typing import Array
from allconv.validation import Checked, check_positive


class Huber(ElementwiseLoss):
    r"""Half the squared difference up to `delta`, and from there on a straight line of the same slope.

    With :math:`d = s - t`,

    .. math::

        \ell(d) = \begin{cases} d^2 / 2 & |d| \le \delta \\ \delta\,(|d| - \delta / 2) & |d| > \delta \end{cases},
        \qquad L = \frac{1}{D} \sum_i \ell(d_i), \qquad
        \frac{\partial L}{\partial s_i} = \frac{1}{D} \min(\max(d_i, -\delta), \delta)

    Parameters
    ----------
    delta : float, default 1.0
        The difference, above 0, from which on the loss is linear.
    reduction : {"mean", "sum", "none"}, default "mean"
        The kind of sum. For "mean", D is the number of elements, which is examples times outputs; for "sum", D is 1.
        "none" leaves the losses apart.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from a call, as for `MeanSquaredError`.

    Notes
    -----
    Arguments and results of a call are those of `MeanSquaredError`. All values are those of
    `torch.nn.functional.huber_loss`. Huber (1964), Robust estimation of a location parameter.

    Examples
    --------
    >>> Huber()(np.array([[1.5, 4.0]]), np.array([[1.0, 1.0]]))
    (1.3125, array([[0.25, 0.5 ]]))
    """

    delta = Checked(check_positive)

    def __init__(self, *, delta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def _terms(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """Return the losses of the elements, and the differences cut off at delta."""
        difference = scores - target
        slope = np.clip(difference, -self.delta, self.delta)
        # For |d| <= delta this is d (d - d / 2), and beyond it is delta (|d| - delta / 2).
        return slope * (difference - slope / 2), slope

    def __repr__(self) -> str:
        reduction = "" if self.reduction == "mean" else f", reduction={self.reduction!r}"
        return f"Huber(delta={self.delta:g}{reduction})"
