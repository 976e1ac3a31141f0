"""Layers with weights that are already there."""

from typing import Any

import numpy as np

from allconv.parameter import Parameter
from allconv.typing import Array


def blank(_rng: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return the start of weights that are replaced at once; zeros take no memory until they are written."""
    return np.zeros(shape, dtype)


def with_weights(layer: Any, weight: Array, bias: Array | None) -> Any:
    """Return `layer` with another weight and bias, or without a bias."""
    layer.weight = Parameter(np.ascontiguousarray(weight, np.float32))
    layer.bias = None if bias is None else Parameter(np.array(bias, np.float32).reshape(-1))
    return layer
