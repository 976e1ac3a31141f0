"""Initial weights: functions ``(rng, shape, dtype) -> array``.

A weight's shape is (..., fan_in axis, fan_out axis): ``(in, out)`` of a Linear, ``(kh, kw, in / groups, out)`` of a
Conv2D. Draws are made in float64 and rounded, so that float32 and float64 models start from the same numbers.
"""

import math
from typing import Any

import numpy as np

from allconv.typing import Array, Initializer
from allconv.validation import check_positive


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how many inputs each output sees, and how many outputs each input reaches."""
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def zeros(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:  # noqa: ARG001
    """Return zeros; draws nothing."""
    return np.zeros(shape, dtype)


def normal(std: float) -> Initializer:
    """Return the initializer N(0, std^2), not truncated; the article's has std 0.05."""
    std = check_positive("std", std)

    def initializer(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        return (std * rng.standard_normal(shape)).astype(dtype)

    return initializer


def he_normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Draw N(0, 2 / fan_in), which keeps the variance of activations under ReLU. He et al. (2015), equation 10."""
    fan_in, _ = _fans(shape)
    return (math.sqrt(2 / fan_in) * rng.standard_normal(shape)).astype(dtype)


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Draw U(-a, a) with a = sqrt(6 / (fan_in + fan_out)). Glorot and Bengio (2010), equation 16."""
    limit = math.sqrt(6 / sum(_fans(shape)))
    return rng.uniform(-limit, limit, shape).astype(dtype)


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Draw a random (semi-)orthogonal matrix, (all inputs, outputs). Saxe et al. (2014), section 3."""
    rows, columns = math.prod(shape[:-1]), shape[-1]
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diag(r))  # without it the distribution is not uniform over the orthogonal matrices
    return (q if rows >= columns else q.T).reshape(shape).astype(dtype)
