"""The Gaussian error linear unit."""

import numpy as np

from allconv.functional.gelu import gelu
from allconv.layers.base import Layer
from allconv.parallel.pool import elementwise_into
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_bool, check_choice, check_gradient


class GELU(Layer):
    r"""Gaussian error linear unit, element by element.

    Each input is multiplied by the probability that a standard normal variable is smaller.

    .. math:: y = x\, \Phi(x), \qquad \Phi(x) = \tfrac12 \left(1 + \operatorname{erf}(x / \sqrt 2)\right)

    With ``approximate="tanh"``, the probability is

    .. math:: \Phi(x) \approx \tfrac12 \left(1 + \tanh(\sqrt{2 / \pi}\, (x + 0.044715\, x^3))\right)

    Parameters
    ----------
    approximate : {"none", "tanh"}, default "none"
        How to compute the probability. "tanh" changes the output by less than 5e-4.

    Raises
    ------
    TypeError, ValueError
        If `approximate` is another word; from `forward`, if x is not floating or holds no example; from `backward`,
        if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``. In float32 the output is within max(10, x^2) units in the last
    place of y, and the derivative within 4e-7. Hendrycks and Gimpel (2016), Gaussian error linear units, section 2.

    Examples
    --------
    >>> GELU()(np.array([-1.0, 0.0, 2.0])).round(3)
    array([-0.159,  0.   ,  1.954])
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = check_choice("approximate", approximate, ("none", "tanh"))

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:
        """Return y for x of shape ``(N, ...)``; in training the cache holds the slope, else x."""
        x, training = check_batch("x", x), check_bool("training", training)
        y, slope = gelu(x, tanh=self.approximate == "tanh", with_slope=training)
        return y, (x if slope is None else None, slope)

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx = dL/dy (Phi(x) + x Phi'(x)).

        .. math::

            \Phi'(x) = \frac{e^{-x^2 / 2}}{\sqrt{2 \pi}}, \qquad\text{or}\qquad
            \Phi'(x) = \tfrac12 (1 - t^2) \sqrt{2 / \pi}\, (1 + 3 \cdot 0.044715\, x^2), \quad t = 2 \Phi(x) - 1
        """
        x, slope = cache
        if slope is None:
            _, slope = gelu(x, tanh=self.approximate == "tanh", with_slope=True)
        dy = check_gradient(dy, slope)
        return elementwise_into(lambda dy, slope, dx: np.multiply(dy, slope, out=dx), dy, slope)

    def __repr__(self) -> str:
        return "GELU()" if self.approximate == "none" else f"GELU(approximate={self.approximate!r})"
