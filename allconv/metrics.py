"""What a training run reports beside the loss."""

import numpy as np

from allconv.validation import Array


def count_correct(scores: Array, target: Array) -> int | None:
    """Return how many rows of scores (N, K) have their largest entry at the target's class.

    `target` holds integer labels (N,) or rows of probabilities (N, K). None where it is neither: a regression.
    """
    if scores.ndim != 2:
        return None
    if target.ndim == 1 and np.issubdtype(target.dtype, np.integer):
        return int(np.count_nonzero(scores.argmax(axis=1) == target))
    if target.shape == scores.shape:
        return int(np.count_nonzero(scores.argmax(axis=1) == target.argmax(axis=1)))
    return None
