"""Losses: ``loss(scores, target)`` returns the value and its gradient with respect to the scores."""

from collections.abc import Sequence

import numpy as np

from allconv.functional.softmax import log_softmax
from allconv.typing import Array
from allconv.validation import check_array, check_batch, check_choice, check_floating, check_real, describe, is_int

_REDUCTIONS = ("mean", "sum")
# The largest distance of the sum of a row of probabilities from 1. The rounding of float16 rows stays within it.
_SUM_TOLERANCE = 1e-3


class SoftmaxCrossEntropy:
    r"""Cross-entropy between target probabilities and the softmax of the scores.

    For scores s and target probabilities t, both (N, K), with label smoothing :math:`\varepsilon` and class weights w,

    .. math::

        p_{nk} = \frac{e^{s_{nk}}}{\sum_j e^{s_{nj}}}, \qquad
        q_{nk} = w_k \left((1 - \varepsilon)\, t_{nk} + \frac{\varepsilon}{K}\right), \qquad
        L = -\frac{1}{D} \sum_{n,k} q_{nk} \log p_{nk}

    An integer label stands for the row t that is 1 at the label and 0 elsewhere. D is 1 for ``reduction="sum"``.
    For "mean", D is N with rows of probabilities, and the sum of the labels' class weights, :math:`\sum_n w_{y_n}`,
    with integer labels. Ignored labels enter neither L nor D. All values are those of
    `torch.nn.functional.cross_entropy`.

    Parameters
    ----------
    label_smoothing : float, default 0.0
        The share of the target, in [0, 1], that is spread evenly over the classes.
    class_weight : sequence of float, optional
        The K weights of the classes, each at least 0. The default is 1 for every class.
    ignore_index : int, optional
        The label whose examples have neither loss nor gradient. By default every label must be a class.
    reduction : {"mean", "sum"}, default "mean"
        The kind of sum over the examples: "mean" divides it by D.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from a call, as `__call__` says.

    Notes
    -----
    ``loss(scores, target)`` takes scores (N, K) of any real floating dtype. The target is either integer labels (N,)
    from 0 to K - 1, or rows of probabilities (N, K). The call returns L as a float, and dL/ds, (N, K), in the scores'
    dtype.
    Goodfellow et al. (2016), section 6.2.2.3; label smoothing: Szegedy et al. (2016), section 7.

    Examples
    --------
    >>> value, gradient = SoftmaxCrossEntropy()(np.zeros((1, 4)), np.array([2]))
    >>> round(value, 3), gradient
    (1.386, array([[ 0.25,  0.25, -0.75,  0.25]]))
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weight: Sequence[float] | Array | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        self.label_smoothing = check_real("label_smoothing", label_smoothing, minimum=0.0, maximum=1.0)
        self.class_weight = _check_class_weight(class_weight)
        if ignore_index is not None and not is_int(ignore_index):
            raise TypeError(f"ignore_index must be an int or None, got {describe(ignore_index)}")
        self.ignore_index = None if ignore_index is None else int(ignore_index)
        self.reduction = check_choice("reduction", reduction, _REDUCTIONS)

    def __call__(self, scores: Array, target: Array) -> tuple[float, Array]:
        r"""Return the loss and dL/ds = (p sum_k q_k - q) / D.

        Raises
        ------
        TypeError
            If the scores are not floating, or the target is neither integer labels nor rows of probabilities.
        ValueError
            If the scores are not (N, K), or there are not K class weights; if a label is out of range, or the target
            has another number of rows; if a row of probabilities has a NaN, a negative number or a sum other than 1,
            or `ignore_index` is set; if a mean has no example that counts.
        """
        scores = check_batch("scores", scores)
        if scores.ndim != 2:
            raise ValueError(f"scores must have shape (N, K), got {describe(scores)}")
        weight = self._weight(scores)
        target = check_array("target", target)
        if target.dtype.kind in "iu" and target.ndim == 1:
            q, divisor = self._from_labels(target, weight, scores)
        elif target.dtype.kind == "f" and target.ndim == 2:
            q, divisor = self._from_probabilities(target, weight, scores)
        else:
            rule = "target must be integer labels (N,) or rows of floating probabilities (N, K)"
            raise (TypeError if target.ndim in (1, 2) else ValueError)(f"{rule}, got {describe(target)}")
        log_p = log_softmax(scores)
        # Where q is 0 nothing is added, also where log p is -inf: a class may be ruled out by a score of -inf.
        terms = np.multiply(q, log_p, out=np.zeros_like(q), where=q != 0)
        value = -float(terms.sum(dtype=np.float64)) / divisor
        return value, (np.exp(log_p) * q.sum(axis=1, keepdims=True) - q) / scores.dtype.type(divisor)

    def _weight(self, scores: Array) -> Array:
        classes = scores.shape[1]
        if self.class_weight is None:
            return np.ones(classes, scores.dtype)
        if len(self.class_weight) != classes:
            raise ValueError(
                f"scores must have {len(self.class_weight)} columns, as class_weight, got {describe(scores)}"
            )
        return self.class_weight.astype(scores.dtype)

    def _from_labels(self, labels: Array, weight: Array, scores: Array) -> tuple[Array, float]:
        """Return q (N, K) and D for integer labels (N,)."""
        n, classes = scores.shape
        if labels.shape != (n,):
            raise ValueError(f"target must have shape ({n},) as scores have {n} rows, got {describe(labels)}")
        kept = np.ones(n, bool) if self.ignore_index is None else labels != self.ignore_index
        wrong = kept & ((labels < 0) | (labels >= classes))
        if wrong.any():
            first = int(wrong.argmax())
            raise ValueError(f"target must be labels in 0 to {classes - 1}, got {labels[first]} at index {first}")
        labels = np.where(kept, labels, 0)
        q = np.full((n, classes), self.label_smoothing / classes, scores.dtype)
        q[np.arange(n), labels] += 1 - self.label_smoothing
        q *= weight * kept[:, None]
        if self.reduction == "sum":
            return q, 1.0
        divisor = float((weight[labels] * kept).sum(dtype=np.float64))
        if divisor == 0:
            raise ValueError(
                "target must hold a label that is not ignored and whose class weight is not 0, to take the mean, "
                f"got {n} labels without one"
            )
        return q, divisor

    def _from_probabilities(self, rows: Array, weight: Array, scores: Array) -> tuple[Array, float]:
        """Return q (N, K) and D for rows of probabilities (N, K)."""
        if self.ignore_index is not None:
            raise ValueError(f"target must be integer labels where ignore_index is set, got {describe(rows)}")
        if rows.shape != scores.shape:
            raise ValueError(f"target must have shape {scores.shape} as the scores, got {describe(rows)}")
        sums = rows.sum(axis=1, dtype=np.float64)
        right = (rows >= 0).all(axis=1) & (np.abs(sums - 1) <= _SUM_TOLERANCE)  # False for NaN
        if not right.all():
            first = int(right.argmin())
            rule = "target must be rows of non-negative probabilities whose sum is 1"
            raise ValueError(f"{rule}, got {describe(rows[first].tolist())} at index {first}")
        q = (1 - self.label_smoothing) * rows.astype(scores.dtype) + self.label_smoothing / scores.shape[1]
        return q * weight, 1.0 if self.reduction == "sum" else float(len(rows))

    def __repr__(self) -> str:
        arguments = []
        if self.label_smoothing:
            arguments.append(f"label_smoothing={self.label_smoothing!r}")
        if self.class_weight is not None:
            arguments.append(f"class_weight={self.class_weight.tolist()}")
        if self.ignore_index is not None:
            arguments.append(f"ignore_index={self.ignore_index}")
        if self.reduction != "mean":
            arguments.append(f"reduction={self.reduction!r}")
        return f"SoftmaxCrossEntropy({', '.join(arguments)})"


def _check_class_weight(value: Sequence[float] | Array | None) -> Array | None:
    """Return the class weights as an array (K,) of float64."""
    if value is None:
        return None
    array = check_array("class_weight", value)
    rule = "class_weight must be a sequence of non-negative finite numbers, one a class"
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{rule}, got {describe(value)}")
    if array.ndim != 1 or array.size == 0 or not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError(f"{rule}, got {describe(array.tolist())}")
    return array.astype(np.float64)


class MeanSquaredError:
    r"""Mean of the squared differences between scores and target.

    .. math:: L = \frac{1}{D} \sum_i (s_i - t_i)^2

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        The kind of sum. For "mean", D is the number of elements, which is examples times outputs; for "sum", D is 1.

    Raises
    ------
    TypeError, ValueError
        If `reduction` is another word; from a call, if the scores hold no example, or the scores or the target are
        not floating, or their shapes differ.

    Notes
    -----
    ``loss(scores, target)`` takes two floating arrays of one shape, ``(N, ...)``. The call returns L as a float, and
    dL/ds, ``(N, ...)``, in the scores' dtype. All values are those of `torch.nn.functional.mse_loss`.

    Examples
    --------
    >>> MeanSquaredError()(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]))
    (2.0, array([[ 0., -2.]]))
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        self.reduction = check_choice("reduction", reduction, _REDUCTIONS)

    def __call__(self, scores: Array, target: Array) -> tuple[float, Array]:
        r"""Return the loss and dL/ds = 2 (s - t) / D."""
        scores = check_batch("scores", scores)
        target = check_floating("target", target, scores.dtype)
        if target.shape != scores.shape:
            raise ValueError(f"target must have shape {scores.shape} as the scores, got {describe(target)}")
        difference = scores - target
        divisor = difference.size if self.reduction == "mean" else 1
        value = float(np.square(difference, dtype=np.float64).sum()) / divisor
        return value, difference * scores.dtype.type(2 / divisor)

    def __repr__(self) -> str:
        return "MeanSquaredError()" if self.reduction == "mean" else f"MeanSquaredError(reduction={self.reduction!r})"
