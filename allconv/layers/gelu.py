"""The Gaussian error linear unit."""

import math

import numpy as np

from allconv.layers.base import Layer
from allconv.parallel.pool import elementwise
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_choice, check_gradient

# The two constants of the tanh form: the factor of x^3, and the scale of the polynomial.
_CUBIC = 0.044715
_SCALE = math.sqrt(2 / math.pi)


class GELU(Layer):
    r"""Gaussian error linear unit, element by element.

    Each input is multiplied by the probability that a standard normal variable is smaller.

    .. math:: y = x\, \Phi(x), \qquad \Phi(x) = \tfrac12 \left(1 + \operatorname{erf}(x / \sqrt 2)\right)

    With ``approximate="tanh"``, the probability is

    .. math:: \Phi(x) \approx \tfrac12 \left(1 + \tanh(\sqrt{2 / \pi}\, (x + 0.044715\, x^3))\right)

    Parameters
    ----------
    approximate : {"none", "tanh"}, default "none"
        How to compute the probability. "tanh" is much faster, and changes the output by less than 5e-4.

    Raises
    ------
    TypeError, ValueError
        If `approximate` is another word; from `forward`, if x is not floating or holds no example; from `backward`,
        if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``. Hendrycks and Gimpel (2016), section 2.

    Examples
    --------
    >>> GELU()(np.array([-1.0, 0.0, 2.0])).round(3)
    array([-0.159,  0.   ,  1.954])
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = check_choice("approximate", approximate, ("none", "tanh"))

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, ...)``."""
        x = check_batch("x", x)
        phi = _exact if self.approximate == "none" else _tanh
        return elementwise(lambda x: x * phi(x), x), x

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx = dL/dy (Phi(x) + x Phi'(x)).

        .. math::

            \Phi'(x) = \frac{e^{-x^2 / 2}}{\sqrt{2 \pi}}, \qquad\text{or}\qquad
            \Phi'(x) = \tfrac12 (1 - t^2) \sqrt{2 / \pi}\, (1 + 3 \cdot 0.044715\, x^2), \quad t = 2 \Phi(x) - 1
        """
        x: Array = cache
        dy = check_gradient(dy, x)
        gradient = _exact_gradient if self.approximate == "none" else _tanh_gradient
        return elementwise(lambda dy, x: dy * gradient(x), dy, x)

    def __repr__(self) -> str:
        return "GELU()" if self.approximate == "none" else f"GELU(approximate={self.approximate!r})"


def _exact(x: Array) -> Array:
    from scipy.special import ndtr  # Importing scipy.special takes longer than importing the rest of the library.

    # ndtr returns float32 for float16, and takes no longdouble.
    return np.asarray(ndtr(x if x.dtype.itemsize <= 8 else x.astype(np.float64)), dtype=x.dtype)


def _exact_gradient(x: Array) -> Array:
    z = np.clip(x, -40, 40)  # Outside this range the density rounds to 0, and x^2 could overflow.
    slope: Array = _exact(x) + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return slope


def _tanh(x: Array) -> Array:
    z = np.clip(x, -10, 10)  # Outside this range the tanh rounds to -1 or 1, and x^3 could overflow.
    phi: Array = (1 + np.tanh(_SCALE * z * (1 + _CUBIC * z * z))) / 2
    return phi


def _tanh_gradient(x: Array) -> Array:
    z, phi = np.clip(x, -10, 10), _tanh(x)
    t = 2 * phi - 1
    slope: Array = phi + z * (1 - t * t) / 2 * _SCALE * (1 + 3 * _CUBIC * z * z)
    return slope
