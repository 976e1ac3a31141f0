"""The squared error, for regression."""

from typing import Any

import numpy as np

from allconv.losses.reduction import check_reduction, working_dtype
from allconv.typing import Array
from allconv.validation import Checked, check_array, check_batch, check_floating, describe


class MeanSquaredError:
    r"""Mean of the squared differences between scores and target.

    .. math:: L = \frac{1}{D} \sum_i (s_i - t_i)^2

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

    Examples
    --------
    >>> MeanSquaredError()(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]))
    (2.0, array([[ 0., -2.]]))
    """

    reduction = Checked(check_reduction)

    def __init__(self, *, reduction: str = "mean") -> None:
        self.reduction = reduction

    def __call__(self, scores: Array, target: Array) -> tuple[Any, Array]:
        r"""Return the loss and dL/ds = 2 (s - t) / D."""
        scores = check_batch("scores", scores)
        dtype = working_dtype(scores)
        target = check_floating("target", target, dtype)
        if target.shape != scores.shape:
            raise ValueError(f"target must have shape {scores.shape} as the scores, got {describe(target)}")
        with np.errstate(over="ignore", invalid="ignore"):  # An infinity or a NaN shows in the value.
            difference = scores.astype(dtype, copy=False) - target
            divisor = difference.size if self.reduction == "mean" else 1
            gradient = (difference * dtype.type(2 / divisor)).astype(scores.dtype, copy=False)
            if self.reduction == "none":
                return np.square(difference), gradient
            return float(np.square(difference, dtype=np.float64).sum()) / divisor, gradient

    def divisor(self, target: Array) -> float:
        """Return D of the mean over a batch, the number of elements.

        Parameters
        ----------
        target : array, shape (N, ...)
            The targets of the batch.

        Returns
        -------
        float
            The divisor, whatever `reduction` is.

        Raises
        ------
        TypeError
            If `target` is no array.
        """
        return float(check_array("target", target).size)

    def __repr__(self) -> str:
        return "MeanSquaredError()" if self.reduction == "mean" else f"MeanSquaredError(reduction={self.reduction!r})"
