"""What the losses share that compare each score with one number: the squared error, the absolute error and others."""

from typing import Any

import numpy as np

from allconv.losses.reduction import check_reduction, total, working_dtype
from allconv.typing import Array
from allconv.validation import Checked, check_array, check_batch, check_floating, check_weights, describe


class ElementwiseLoss:
    r"""A sum over all elements of scores and target, each example counted by its weight.

    .. math:: L = \frac{1}{D} \sum_{n,k} w_n\, \ell(s_{nk}, t_{nk}), \qquad
        D = \sum_{n,k} w_n \quad \text{for a mean, and 1 for a sum}

    A subclass gives :math:`\ell` and its derivative in `_terms`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default "mean"
        The kind of sum.
    """

    reduction = Checked(check_reduction)

    def __init__(self, *, reduction: str = "mean") -> None:
        self.reduction = reduction

    def __call__(self, scores: Array, target: Array, weights: Array | None = None) -> tuple[Any, Array]:
        """Return the loss and dL/ds; the weights (N,) of the examples are 1 where there are none."""
        scores = check_batch("scores", scores)
        target = self._check_target(target, scores, working_dtype(scores))
        divisor = self.divisor(target, weights) if self.reduction == "mean" else 1.0
        if divisor == 0:
            raise ValueError(f"weights must hold a number above 0, to take the mean, got {len(scores)} zeros")
        dtype = working_dtype(scores, divisor)
        with np.errstate(over="ignore", invalid="ignore"):  # An infinity or a NaN shows in the value.
            losses, derivatives = self._terms(scores.astype(dtype, copy=False), target.astype(dtype, copy=False))
            if weights is not None:
                column = check_weights("weights", weights, len(scores)).reshape(-1, *(1,) * (scores.ndim - 1))
                losses, derivatives = losses * column, derivatives * check_floating("weights", column, dtype)
            gradient = (derivatives * dtype.type(1 / divisor)).astype(scores.dtype, copy=False)
            if self.reduction == "none":
                return losses.astype(dtype, copy=False), gradient
            return float(losses.sum(dtype=np.float64)) / divisor, gradient

    def _terms(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """Return the loss of each element, and its derivative with respect to the score.

        Parameters
        ----------
        scores, target : array, shape (N, ...)
            Two arrays of one dtype, float32 or float64.

        Returns
        -------
        losses, derivatives : array, shape (N, ...)
            The derivatives have the dtype of the scores. The losses may have a wider one.
        """
        raise NotImplementedError

    def _check_target(self, target: object, scores: Array, dtype: np.dtype[Any]) -> Array:
        """Return the target in `dtype`, which must be floating and have the shape of the scores.

        Parameters
        ----------
        target : array
            The target.
        scores : array, shape (N, ...)
            The scores.
        dtype : dtype
            The dtype to compute in.

        Returns
        -------
        array, shape (N, ...)
            The target.
        """
        array = check_floating("target", target, dtype)
        if array.shape != scores.shape:
            hint = ""
            if scores.shape == (*array.shape, 1):
                hint = "; give it the axis of the single score: target[..., None]"
            elif array.shape == (*scores.shape, 1):
                hint = "; take away its last axis: target[..., 0]"
            raise ValueError(f"target must have shape {scores.shape} as the scores, got {describe(array)}{hint}")
        return array

    def divisor(self, target: Array, weights: Array | None = None) -> float:
        """Return D of the mean over a batch: the number of elements, each counted by its example's weight.

        Parameters
        ----------
        target : array, shape (N, ...)
            The targets of the batch.
        weights : array, shape (N,), optional
            The weights of the examples, 1 by default.

        Returns
        -------
        float
            The divisor, whatever `reduction` is.

        Raises
        ------
        TypeError, ValueError
            If `target` is no array, or `weights` are not N non-negative numbers, or their sum is near an end of
            float64.
        """
        target = check_array("target", target)
        if weights is None:
            return float(target.size)
        if target.ndim == 0 or target.size == 0:
            raise ValueError(f"target must hold at least one example, (N, ...), got {describe(target)}")
        return total(check_weights("weights", weights, len(target)), target.size // len(target))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.reduction == 'mean' else f'reduction={self.reduction!r}'})"
