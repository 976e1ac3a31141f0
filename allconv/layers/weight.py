"""The first value of a layer's weight, by the initializer that its user chose."""

from typing import Any

import numpy as np

from allconv.typing import Array, Initializer
from allconv.validation import check_callable, describe


def initial_weight(
    initializer: Initializer, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array:
    """Return the weight that an initializer draws, which must have the shape and the dtype of the layer's."""
    check_callable("initializer", initializer, takes="rng, shape, dtype")
    weight = initializer(rng, shape, dtype)
    if not isinstance(weight, np.ndarray) or weight.shape != shape or weight.dtype != dtype:
        raise TypeError(f"initializer must return an array of shape {shape} and dtype {dtype}, got {describe(weight)}")
    return weight
