"""Matrix products of many rows, cut into products that the BLAS library multiplies faster.

OpenBLAS copies the operands of a large product into an order of its own first. A narrow matrix does not repay that. On
AVX-512 OpenBLAS multiplies up to ``tuning.PRODUCT.small`` multiply-adds without a copy. So a product of many rows and
few columns is computed as a batch of smaller ones, in one call of NumPy. With 32 or 16 columns this takes three
quarters of the time, and two thirds for a sum over the rows.
"""

from functools import lru_cache

import numpy as np

from allconv.functional import tuning
from allconv.functional.rounding import ceil_div
from allconv.typing import Array


def multiply(a: Array, b: Array, out: Array, least_rows: int = tuning.PRODUCT.least_rows) -> None:
    """Write the product of `a` and `b` to `out`.

    Parameters
    ----------
    a : array (P, K) or (n, P, K)
    b : array (K, N) or (n, K, N)
    out : array (P, N) or (n, P, N)
    least_rows : int, optional
        Bounds the rows of a piece from below, in rows.

    Examples
    --------
    >>> a, out = np.ones((4, 3)), np.empty((4, 2))
    >>> multiply(a, np.ones((3, 2)), out)
    >>> out[0]
    array([3., 3.])
    """
    a, out = in_pieces(a, b, out, least_rows)
    np.matmul(a, b, out=out)


def in_pieces(a: Array, b: Array, out: Array, least_rows: int = tuning.PRODUCT.least_rows) -> tuple[Array, Array]:
    """Return views of `a` and `out` with which ``np.matmul(a, b, out=out)`` does what `multiply` does.

    Parameters
    ----------
    a, b, out, least_rows : see `multiply`
        The same arguments.

    Returns
    -------
    a, out : array
        Stacks of pieces, (pieces, P / pieces, K) and (pieces, P / pieces, N), or the arrays themselves.
    """
    count = _pieces_of(a, b.shape[-1], least_rows)
    return (_in_pieces(a, count), _in_pieces(out, count)) if count > 1 else (a, out)


def multiply_transposed(a: Array, b: Array) -> Array:
    """Return the product of the transposed `a` and `b`, a sum over the rows of both.

    Parameters
    ----------
    a : array (n, P, K)
    b : array (n, P, N)

    Returns
    -------
    array (n, K, N)

    Examples
    --------
    >>> multiply_transposed(np.ones((1, 4, 3)), np.ones((1, 4, 2))).shape
    (1, 3, 2)
    """
    rows, (inputs, outputs) = tuning.PRODUCT.summed_rows, (a.shape[-1], b.shape[-1])
    if a.shape[-2] > rows and rows * inputs * outputs <= tuning.PRODUCT.small:
        return _sum_of_short_products(a, b, rows)
    count = _pieces_of(a, outputs, tuning.PRODUCT.least_rows)
    if count == 1:
        whole: Array = np.matmul(a.swapaxes(-1, -2), b)
        return whole
    total: Array = np.add.reduce(np.matmul(_in_pieces(a, count).swapaxes(1, 2), _in_pieces(b, count)), keepdims=True)
    return total


def _sum_of_short_products(a: Array, b: Array, rows: int) -> Array:
    """Return the product of the transposed `a` and `b` as a sum, in float64, of products of so many rows."""
    end = a.shape[-2] // rows * rows
    left, right = (array[:, :end].reshape(len(array), -1, rows, array.shape[-1]) for array in (a, b))
    total: Array = np.add.reduce(np.matmul(left.swapaxes(-1, -2), right), axis=1, dtype=np.float64)
    if end < a.shape[-2]:
        total += np.matmul(a[:, end:].swapaxes(-1, -2), b[:, end:])
    return total.astype(a.dtype)


def _pieces_of(a: Array, columns: int, least_rows: int) -> int:
    """Return into how many pieces of equal size the rows of a product are cut; 1 for several products."""
    if a.ndim == 3 and len(a) > 1:
        return 1
    return _equal_pieces(a.shape[-2], a.shape[-1] * columns, least_rows)


@lru_cache(maxsize=1024)
def _equal_pieces(rows: int, row_work: int, least_rows: int) -> int:
    """Return the smallest divisor of `rows` that makes pieces small; 1 if these would have too few rows."""
    wanted = ceil_div(rows * row_work, tuning.PRODUCT.small)
    return next((count for count in range(wanted, rows // least_rows + 1) if rows % count == 0), 1)


def _in_pieces(a: Array, count: int) -> Array:
    """Return a view of the rows in `count` pieces, (count, P / count, K)."""
    return a.reshape(count, -1, a.shape[-1])
