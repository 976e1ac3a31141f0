"""The cross-entropy of a softmax, for classification."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from allconv.functional.softmax import log_softmax
from allconv.losses.reduction import check_reduction, total, working_dtype
from allconv.losses.targets import (
    are_labels,
    check_labels,
    check_probabilities,
    rows_of_labels,
    rows_of_probabilities,
)
from allconv.typing import Array
from allconv.validation import (
    Checked,
    check_array,
    check_batch,
    check_floating,
    check_real,
    check_weights,
    describe,
    is_int,
)


def _check_label_smoothing(name: str, value: object) -> float:
    return check_real(name, value, minimum=0.0, maximum=1.0)


def _check_class_weight(name: str, value: object) -> Array | None:
    """Return the class weights as an array (K,) of float64."""
    if value is None:
        return None
    array = check_array(name, value)
    rule = f"{name} must be a sequence of non-negative finite numbers, one a class"
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{rule}, got {describe(value)}")
    if array.ndim != 1 or array.size == 0 or not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError(f"{rule}, got {describe(array.tolist())}")
    return array.astype(np.float64)


def _check_ignore_index(name: str, value: Any) -> int | None:
    if value is not None and not is_int(value):
        raise TypeError(f"{name} must be an int or None, got {describe(value)}")
    return None if value is None else int(value)


# Longer than 150 lines because its docstrings hold the contract and the equations; the code is short.
class SoftmaxCrossEntropy:
    r"""Cross-entropy between target probabilities and the softmax of the scores.

    For scores s and target probabilities t, both (N, K), with label smoothing :math:`\varepsilon` and class weights w,

    .. math::

        p_{nk} = \frac{e^{s_{nk}}}{\sum_j e^{s_{nj}}}, \qquad
        q_{nk} = w_k \left((1 - \varepsilon)\, t_{nk} + \frac{\varepsilon}{K}\right), \qquad
        L = -\frac{1}{D} \sum_{n,k} q_{nk} \log p_{nk}

    An integer label stands for the row t that is 1 at the label and 0 elsewhere. D is 1 for ``reduction="sum"``.
    For "mean", D is N with rows of probabilities. With integer labels :math:`k_n` it is the sum of their class weights,
    :math:`\sum_n w_{k_n}`. Ignored labels enter neither L nor D. All values are those of
    `torch.nn.functional.cross_entropy`.

    Parameters
    ----------
    label_smoothing : float, default 0.0
        The share of the target, in [0, 1], that is spread evenly over the classes.
    class_weight : sequence of float, optional
        The K weights of the classes, each at least 0. The default is 1 for every class.
    ignore_index : int, optional
        The label whose examples have neither loss nor gradient. By default every label must be a class.
    reduction : {"mean", "sum", "none"}, default "mean"
        The kind of sum over the examples: "mean" divides it by D, and "none" leaves the examples apart.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from a call, as `__call__` says.

    Notes
    -----
    ``loss(scores, target)`` takes scores (N, K) of any real floating dtype. The target is either integer labels (N,)
    from 0 to K - 1, or rows of probabilities (N, K). The call returns L as a float, and dL/ds, (N, K), in the scores'
    dtype. Scores (N, H, W, K) with labels (N, H, W), as a network gives them that labels pixels, count as N H W
    examples; so do any axes between the first and the last one.

    With ``reduction="none"`` the value is an array of the examples' losses, (N,) or (N, H, W), and the gradient that of
    their sum. float16 scores are computed in float32; elements of the gradient below 6e-8 then round to 0.

    The mean over a batch whose labels are all ignored, or all of weight 0, would be 0 / 0. PyTorch returns NaN then,
    and this loss raises ValueError. `evaluate` leaves such a batch out.

    Goodfellow et al. (2016), section 6.2.2.3; label smoothing: Szegedy et al. (2016), section 7.

    Examples
    --------
    >>> value, gradient = SoftmaxCrossEntropy()(np.zeros((1, 4)), np.array([2]))
    >>> round(value, 3), gradient
    (1.386, array([[ 0.25,  0.25, -0.75,  0.25]]))
    """

    label_smoothing = Checked(_check_label_smoothing)
    class_weight = Checked(_check_class_weight)
    ignore_index = Checked(_check_ignore_index)
    reduction = Checked(check_reduction)

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weight: Sequence[float] | Array | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.ignore_index = ignore_index
        self.reduction = reduction

    def __call__(self, scores: Array, target: Array, weights: Array | None = None) -> tuple[Any, Array]:
        r"""Return the loss and dL/ds = (p sum_k q_k - q) / D.

        The weights (N,) of the examples multiply the rows q, and count in D; they are 1 where there are none.

        Raises
        ------
        TypeError
            If the scores are not floating, or the target is neither integer labels nor rows of probabilities.
        ValueError
            If the scores are not (N, K) or (N, ..., K), or there are not K class weights; if a label is out of range,
            or the target has another number of rows; if a row of probabilities has a NaN, a negative number or a sum
            other than 1, or `ignore_index` is set; if the weights are not N non-negative numbers, or do not fit
            into the dtype; if a mean has no example that counts.
        """
        scores = check_batch("scores", scores)
        if scores.ndim < 2:
            raise ValueError(
                f"scores must have shape (N, K), got {describe(scores)}; other axes may stand between N and K"
            )
        target = check_array("target", target)
        counted = self._check_target(target, scores)
        each = None if weights is None else _weights_of_rows(weights, len(scores), scores.size // scores.shape[-1])
        divisor = self._divisor(target, counted, each) if self.reduction == "mean" else 1.0
        if divisor == 0:
            raise ValueError(
                "target must hold a label that is not ignored and whose class weight is not 0, to take the mean, "
                f"got {target.size} labels without one" + ("" if weights is None else " whose own weight is not 0")
            )
        q = self._target_rows(target, counted, scores.shape[-1], working_dtype(scores, divisor))
        if each is not None:
            q *= check_floating("weights", each, q.dtype)[:, None]
        with np.errstate(over="ignore", invalid="ignore"):  # An infinity or a NaN shows in the value.
            # Sums along a contiguous axis are pairwise in NumPy, and so keep their digits for any number of classes.
            log_p = log_softmax(np.ascontiguousarray(scores.reshape(q.shape), dtype=q.dtype))
            # Where q is 0 nothing is added, also where log p is -inf: a class may be ruled out by a score of -inf.
            terms = np.multiply(q, log_p, out=np.zeros_like(q), where=q != 0)
            gradient = (np.exp(log_p) * q.sum(axis=1, keepdims=True) - q) / q.dtype.type(divisor)
            gradient = gradient.astype(scores.dtype, copy=False).reshape(scores.shape)
            if self.reduction == "none":
                return -terms.sum(axis=1).reshape(scores.shape[:-1]), gradient
            return -float(terms.sum(dtype=np.float64)) / divisor, gradient

    def divisor(self, target: Array, weights: Array | None = None) -> float:
        """Return D of the mean over a batch.

        Parameters
        ----------
        target : array, shape (N,), (N, K) or with axes in between
            The labels or the rows of probabilities of the batch.
        weights : array, shape (N,), optional
            The weights of the examples, 1 by default.

        Returns
        -------
        float
            The divisor, whatever `reduction` is: 0 if every label is ignored.

        Raises
        ------
        TypeError, ValueError
            If `target` is no array, if a label is out of the range of the class weights, or if the weights are not N
            non-negative numbers, or their sum is near an end of float64.
        """
        target = check_array("target", target)
        if target.dtype.kind == "f" and (target.size == 0 or target.ndim < 2):
            raise ValueError(f"target must be labels (N,) or rows of probabilities (N, K), got {describe(target)}")
        if weights is not None and (target.ndim == 0 or target.size == 0):
            raise ValueError(f"target must hold at least one example, (N, ...), got {describe(target)}")
        rows = target.size // target.shape[-1] if target.dtype.kind == "f" else target.size
        each = None if weights is None else _weights_of_rows(weights, len(target), rows)
        counted = None if target.dtype.kind == "f" else self._counted(target)
        if target.dtype.kind != "f" and self.class_weight is not None:
            check_labels(target, counted, len(self.class_weight))
        return self._divisor(target, counted, each)

    def _divisor(self, target: Array, counted: Array | None, each: Array | None) -> float:
        """Return D for probabilities, or for checked labels, of which those in the mask `counted` count.

        All labels count where there is no mask. `each` has the weights of all rows, or None where each of them is 1.
        """
        if target.dtype.kind == "f":
            return float(target.size // target.shape[-1]) if each is None else total(each)
        which = slice(None) if counted is None else counted.ravel()
        labels, own = target.ravel()[which], None if each is None else each[which]
        if self.class_weight is None:
            return float(labels.size) if own is None else total(own)
        share = self.class_weight[labels.astype(np.intp)]
        return total(share if own is None else share * own)

    def _counted(self, labels: Array) -> Array | None:
        """Return where the labels are not to be ignored, or None where all count."""
        return None if self.ignore_index is None else labels != self.ignore_index

    def _check_target(self, target: Array, scores: Array) -> Array | None:
        """Check the target and the class weights against the scores; return which labels count, or None for all."""
        classes = scores.shape[-1]
        if self.class_weight is not None:
            if len(self.class_weight) != classes:
                raise ValueError(
                    f"scores must have {len(self.class_weight)} columns, as class_weight, got {describe(scores)}"
                )
            check_floating("class_weight", self.class_weight, working_dtype(scores))
        if are_labels(target, scores):
            counted = self._counted(target)
            check_labels(target, counted, classes)
            return counted
        if self.ignore_index is not None:
            raise ValueError(f"target must be integer labels where ignore_index is set, got {describe(target)}")
        check_probabilities(target)
        return None

    def _target_rows(self, target: Array, counted: Array | None, classes: int, dtype: np.dtype[Any]) -> Array:
        """Return q, one row an example, for a checked target of which the labels in the mask `counted` count."""
        weight = np.ones(classes, dtype) if self.class_weight is None else self.class_weight.astype(dtype)
        if target.dtype.kind == "f":
            return rows_of_probabilities(target, weight, self.label_smoothing)
        return rows_of_labels(target, counted, weight, self.label_smoothing)

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


def _weights_of_rows(weights: object, count: int, rows: int) -> Array:
    """Return the weights of `count` examples, each repeated for all of its rows, (rows,)."""
    return np.repeat(check_weights("weights", weights, count), rows // count)
