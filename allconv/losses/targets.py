"""The two kinds of target of a classification: integer labels, and rows of probabilities."""

import numpy as np

from allconv.typing import Array
from allconv.validation import describe

# The largest distance of the sum of a row of probabilities from 1. The rounding of float16 rows stays within it.
_SUM_TOLERANCE = 1e-3


def are_labels(target: Array, scores: Array) -> bool:
    """Tell whether `target` holds labels (N, ...) or probabilities (N, ..., K) for scores (N, ..., K).

    Raises
    ------
    TypeError, ValueError
        If `target` is neither, or has another shape than the scores.
    """
    *axes, classes = scores.shape
    if target.dtype.kind in "iu" and target.ndim == len(axes):
        if target.shape != tuple(axes):
            rows = scores.size // classes
            raise ValueError(f"target must have shape {tuple(axes)} as scores have {rows} rows, got {describe(target)}")
        return True
    if target.dtype.kind == "f" and target.ndim == scores.ndim:
        if target.shape != scores.shape:
            raise ValueError(f"target must have shape {scores.shape} as the scores, got {describe(target)}")
        return False
    kinds = "labels (N,) or rows of floating probabilities (N, K)"
    if len(axes) > 1:
        kinds = f"labels of shape {tuple(axes)} or rows of floating probabilities of shape {scores.shape}"
    wrong_kind = TypeError if target.ndim in (scores.ndim - 1, scores.ndim) else ValueError
    hint = ""
    if target.dtype.kind == "f" and target.shape == tuple(axes):
        hint = "; labels are integers, target.astype(np.int64); for a regression take MeanSquaredError"
    raise wrong_kind(f"target must be integer {kinds}, got {describe(target)}{hint}")


def check_labels(labels: Array, counted: Array | None, classes: int) -> None:
    """Raise ValueError unless the labels that count, by the mask `counted`, are from 0 to `classes` - 1.

    All count where there is no mask.
    """
    if labels.size == 0 or (labels.min() >= 0 and labels.max() < classes):
        return
    wrong = (labels < 0) | (labels >= classes)
    if counted is not None:
        wrong &= counted
    if wrong.any():
        place = _first(wrong)
        raise ValueError(f"target must be labels in 0 to {classes - 1}, got {labels[place]} at index {_shown(place)}")


def check_probabilities(rows: Array) -> None:
    """Raise ValueError unless each row, along the last axis, holds probabilities whose sum is 1."""
    with np.errstate(invalid="ignore"):  # The sum of two infinities may be NaN, which is not near 1.
        sums = rows.sum(axis=-1, dtype=np.float64)
    right = (rows >= 0).all(axis=-1) & (np.abs(sums - 1) <= _SUM_TOLERANCE)  # False for NaN
    if not right.all():
        place = _first(~right)
        rule = "target must be rows of non-negative probabilities whose sum is 1"
        raise ValueError(f"{rule}, got {describe(rows[place].tolist())} at index {_shown(place)}")


def rows_of_labels(labels: Array, counted: Array | None, weight: Array, smoothing: float) -> Array:
    """Return the rows q of labels, (N, K), of smoothed probabilities times the class weights `weight`, (K,).

    A label that does not count, by the mask `counted`, has a row of zeros.
    """
    flat = (labels if counted is None else np.where(counted, labels, 0)).astype(np.intp, copy=False).ravel()
    q = np.full((flat.size, len(weight)), smoothing / len(weight), weight.dtype)
    q[np.arange(flat.size), flat] += 1 - smoothing
    q *= weight
    if counted is not None:
        q *= counted.reshape(-1, 1)
    return q


def rows_of_probabilities(rows: Array, weight: Array, smoothing: float) -> Array:
    """Return the rows q of probabilities, (N, K), smoothed and times the class weights `weight`, (K,)."""
    rows = np.ascontiguousarray(rows.reshape(-1, len(weight)), weight.dtype)
    return ((1 - smoothing) * rows + smoothing / len(weight)) * weight


def _first(mask: Array) -> tuple[int, ...]:
    """Return the index of the first true element."""
    return tuple(int(i) for i in np.unravel_index(int(mask.argmax()), mask.shape))


def _shown(place: tuple[int, ...]) -> str:
    return str(place[0]) if len(place) == 1 else str(place)
