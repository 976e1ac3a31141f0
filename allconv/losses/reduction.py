"""How a loss reduces the losses of the examples, and the dtype that it computes in."""

from typing import Any

import numpy as np

from allconv.typing import Array
from allconv.validation import check_choice, quiet

REDUCTIONS = ("mean", "sum", "none")

# The sums of weights that leave float64 room for the weights of single examples, and for products with their losses.
_SMALLEST, _LARGEST = 1e-300, 1e300
# The same for float32.
_SMALLEST_IN_FLOAT32, _LARGEST_IN_FLOAT32 = 1e-20, 1e20


def check_reduction(name: str, value: object) -> str:
    """Return `value`, which must be the name of a reduction."""
    return check_choice(name, value, REDUCTIONS)


def working_dtype(scores: Array, divisor: float = 1.0) -> np.dtype[Any]:
    """Return the dtype to compute in: the dtype of the scores, but float32 for float16.

    The largest float16 is 65504, so that already the number of the examples would overflow. A mean does not depend on
    the scale of its weights. So it is computed in float64 where `divisor`, their sum, is near an end of float32.
    """
    if not _SMALLEST_IN_FLOAT32 <= divisor <= _LARGEST_IN_FLOAT32:
        return np.dtype(np.float64)
    return np.dtype(np.float32) if scores.dtype == np.float16 else scores.dtype


def total(weights: Array, times: int = 1) -> float:
    """Return the sum of the weights of examples, (n,), times a number; ValueError if it is near an end of float64."""
    with quiet():  # An overflow is refused.
        result = float(np.sum(weights)) * times
    if result != 0 and not _SMALLEST <= result <= _LARGEST:
        raise ValueError(f"weights must be 0 or have a sum from {_SMALLEST:g} to {_LARGEST:g}, got {result:g}")
    return result
