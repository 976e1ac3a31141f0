"""How small the number eps may be that keeps a divisor above zero, and which mean squares vanish beside it."""

import math
from collections.abc import Sequence

import numpy as np

from allconv.parameter import Parameter

# A mean square below this share of eps squared is set to zero. Its root is below 1e-8 of eps, which the sum of both
# does not show in float32.
_NEGLIGIBLE = 1e-16


def check_eps_fits(eps: float, parameters: Sequence[Parameter]) -> None:
    """Raise ValueError if `eps` is too small for the dtype of a parameter.

    The square of a gradient below the root of the smallest normal number, 1.1e-19 in float32, loses its digits or is 0.
    So a smaller `eps` would leave the divisor without a meaning, and could round to 0, which makes NaN of 0 / 0.
    """
    for parameter in parameters:
        smallest = math.sqrt(np.finfo(parameter.value.dtype).tiny)
        if eps < smallest:
            raise ValueError(
                f"eps must be at least {smallest:.3g} for {parameter.value.dtype} parameters, since the squares of "
                f"smaller gradients underflow, got {eps!r}"
            )


def negligible_square(eps: float, limit: float) -> float:
    """Return the size below which a mean square is too small to matter beside `eps`, and at most `limit`."""
    return min(limit, _NEGLIGIBLE * eps * eps)
