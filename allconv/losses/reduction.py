"""How a loss reduces the losses of the examples, and the dtype that it computes in."""

from typing import Any

import numpy as np

from allconv.typing import Array
from allconv.validation import check_choice

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(name: str, value: object) -> str:
    """Return `value`, which must be the name of a reduction."""
    return check_choice(name, value, REDUCTIONS)


def working_dtype(scores: Array) -> np.dtype[Any]:
    """Return the dtype to compute in: the dtype of the scores, but float32 for float16.

    The largest float16 is 65504, so that already the number of the examples would overflow.
    """
    return np.dtype(np.float32) if scores.dtype == np.float16 else scores.dtype
