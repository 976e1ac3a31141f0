"""The matrix with orthonormal rows or columns that is nearest to a given one, exactly or by an iteration."""

import numpy as np

from allconv.typing import Array

Coefficients = tuple[float, float, float]

# The coefficients that Jordan et al. (2024) chose: steep at 0, and within 0.7 to 1.2 from there to 1.
QUINTIC: Coefficients = (3.4445, -4.7750, 2.0315)
_SMALLEST_NORM = 1e-7  # added to the norm of a matrix, so that zeros stay zeros


def polar_factor(matrix: Array) -> Array:
    r"""Return :math:`U V^T` for the singular value decomposition :math:`U \Sigma V^T`; zeros stay zeros.

    Of all matrices with orthonormal rows or columns, this one is nearest to `matrix`, shape (rows, columns). A matrix
    that is not finite has none, and gives NaN.
    """
    if not matrix.any():
        return np.zeros_like(matrix)
    if not np.isfinite(matrix).all():
        return np.full_like(matrix, np.nan)
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    result: Array = left @ right
    return result


def newton_schulz(matrix: Array, iterations: int, coefficients: Coefficients) -> Array:
    r"""Return about what `polar_factor` returns, by products of matrices alone.

    .. math:: X_0 = \frac{M}{\lVert M \rVert_F + 10^{-7}}, \qquad A = X_k X_k^T, \qquad
        X_{k+1} = a X_k + (b A + c A^2) X_k

    The iteration keeps the singular vectors, and maps each singular value s to :math:`a s + b s^3 + c s^5`.
    """
    a, b, c = coefficients
    wide = len(matrix) <= matrix.shape[1]
    x: Array = matrix if wide else matrix.T  # The products are smallest with the shorter axis first.
    norm = np.sqrt(np.square(x).sum())
    if np.isinf(norm):
        x = x / np.abs(x).max()  # The squares of the quotients do not overflow.
        norm = np.sqrt(np.square(x).sum())
    x = x / (norm + _SMALLEST_NORM)
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * (square @ square)) @ x
    return x if wide else x.T
