"""The gradient check of a loss."""

import numbers
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from allconv.gradcheck.checking import check, check_point
from allconv.gradcheck.report import CheckRow, Report
from allconv.layers.base import Layer
from allconv.typing import Array, Cache
from allconv.validation import check_array, check_callable, describe, value_and_gradient


def check_loss(
    loss: Callable[[Array, Any], tuple[float, Array]], scores: Array, target: Any, *, seed: int = 0
) -> Report:
    """Check the gradient of a loss against central differences, as `check` does that of a layer.

    Parameters
    ----------
    loss : callable
        ``loss(scores, target) -> (value, gradient)``.
    scores : array of float64, shape (N, ...)
        The point at which the gradient is checked.
    target : object
        The second argument of `loss`, such as an array or a tuple of arrays.
    seed : int, default 0
        The seed of the directions.

    Returns
    -------
    Report
        Prints as a table.

    Raises
    ------
    TypeError, ValueError
        If `scores` are not float64, are empty, or are not finite; or if `loss` does not return a number and a gradient.

    Examples
    --------
    >>> from allconv import SoftmaxCrossEntropy
    >>> check_loss(SoftmaxCrossEntropy(), np.array([[1.0, 2.0, -1.0]]), np.array([0])).passed
    True
    """
    check_callable("loss", loss, takes="scores, target")
    scores, before = check_point("scores", scores), _copy(target)
    rows = check(_LossLayer(loss, target), scores, seed=seed).rows
    name = type(loss).__name__
    fault = "" if _same(before, target) else "it writes to target"
    row = CheckRow("", name, "loss", "leaves its target alone", None, None, "FAILED" if fault else "ok", fault)
    rows = (row, *(replace(row, layer=name, what="scores" if row.what == "x" else row.what) for row in rows))
    return Report(f"gradient check of {name} at scores {scores.shape}, seed {seed}", rows)


class _LossLayer(Layer):
    """A loss as a layer: the scores in, an array of one value out."""

    def __init__(self, loss: Callable[[Array, Any], tuple[float, Array]], target: Any) -> None:
        self.loss, self.target = loss, target

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        returned, gradient = value_and_gradient(self.loss(x, self.target))
        value = check_array("the loss's value", returned)
        if value.ndim != 0 or value.dtype.kind not in "fiu":
            raise TypeError(
                f"loss must return a number as its value, got {describe(returned)}; a loss with reduction='none' "
                "has a value for each example, so check it with 'sum'"
            )
        return np.array([value], np.float64), gradient

    def backward(self, dy: Array, cache: Cache) -> Array:
        dx: Array = dy[0] * cache
        return dx


def _copy(target: Any) -> Any:
    """Return a copy of a target for `_same`, with the arrays in its tuples, lists and dicts."""
    if isinstance(target, np.ndarray):
        return check_array("target", target).copy()
    if isinstance(target, dict):
        return {key: _copy(value) for key, value in target.items()}
    return [_copy(value) for value in target] if isinstance(target, list | tuple) else target


def _same(before: Any, after: Any) -> bool:
    """Return whether a target is still what its copy is, whatever tuples, lists and dicts its arrays lie in."""
    if isinstance(before, np.ndarray):
        return np.array_equal(before, after, equal_nan=before.dtype.kind in "fc")
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(_same(value, after[key]) for key, value in before.items())
    if isinstance(before, list):
        return len(before) == len(after) and all(map(_same, before, after))
    # An object of another kind may have no comparison. What is not a number counts as left alone.
    return before is after or not isinstance(before, numbers.Number) or before == after
