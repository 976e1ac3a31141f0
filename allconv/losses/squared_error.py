"""The squared error, for regression."""

import numpy as np

from allconv.losses.elementwise import ElementwiseLoss
from allconv.typing import Array


class MeanSquaredError(ElementwiseLoss):
    r"""Mean of the squared differences between scores and target.

    .. math::

        L = \frac{1}{D} \sum_i (s_i - t_i)^2, \qquad \frac{\partial L}{\partial s_i} = \frac{2}{D} (s_i - t_i)

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default "mean"
        The kind of sum. For "mean", D is the number of elements, which is examples times outputs; for "sum", D is 1.
        "none" leaves the squares apart.

    Raises
    ------
    TypeError, ValueError
        If `reduction` is another word; from a call, if the scores hold no example, or the scores or the target are
        not floating, or their shapes differ, or the target does not fit into the scores' dtype.

    Notes
    -----
    ``loss(scores, target)`` takes two floating arrays of one shape, ``(N, ...)``. The call returns L as a float, and
    dL/ds, ``(N, ...)``, in the scores' dtype. With "none" the value is the array of the squares, ``(N, ...)``, and the
    gradient that of their sum. float16 scores are computed in float32. All values are those of
    `torch.nn.functional.mse_loss`.

    ``loss(scores, target, weights)`` counts each example by its weight, (N,), also in D.

    Examples
    --------
    >>> MeanSquaredError()(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]))
    (2.0, array([[ 0., -2.]]))
    """

    def _terms(self, scores: Array, target: Array) -> tuple[Array, Array]:
        r"""Return :math:`(s - t)^2`, in float64, and 2 (s - t)."""
        difference = scores - target
        return np.square(difference, dtype=np.float64), 2 * difference
