r"""Bilinear algorithms for short filters, from polynomial products, in exact rationals.

A filter of r taps with m outputs, :math:`y_i = \sum_k d_{i+k}\,g_k`, takes m r products by its definition. It is the
transpose of a product of two polynomials: with respect to h, of degree m - 1, the coefficients of g h depend on h by
the very matrix whose transpose takes d to y. A polynomial of degree m + r - 2 is known from its values at
a = m + r - 1 points, and the value of g h at a point is one product, g(p) h(p). Hence g h = C (E_r g * E_m h), where
E_k evaluates k coefficients at the points and C = E_a^{-1} interpolates; transposed with respect to h,

.. math:: y = A^\top ( G g \odot B^\top d ), \qquad A^\top = E_m^\top, \quad G = E_r, \quad B^\top = E_a^{-\top}.

One of the points is infinity: the value there is the leading coefficient. Toom (1963); Winograd (1980), "Arithmetic
Complexity of Computations", chapter V; Lavin and Gray (2016), section 4.
"""

import functools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import DTypeLike

from allconv.validation import Array, check_int

Rational = list[list[Fraction]]

# In the order in which they are taken. Powers of large or tiny points spread the magnitudes, and with them the rounding
# errors; of the small sets {0, 1, -1, 2, -1/2} has the smallest error measured for F(4, 3), a third of that of the
# customary {0, 1, -1, 2, -2}. The second point must be 1: see the bias in `winograd`.
_POINTS = tuple(Fraction(*p) for p in ((0, 1), (1, 1), (-1, 1), (2, 1), (-1, 2), (-2, 1), (1, 2), (3, 1), (-1, 3)))


@dataclass(frozen=True, eq=False)
class Bilinear:
    """F(m, r): y = A^T (G g * B^T d), m outputs of an r-tap filter by a = m + r - 1 products.

    Attributes
    ----------
    m, r : int
    input : array (a, a)
        B^T, for the a samples that the m outputs depend on.
    kernel : array (a, r)
        G.
    output : array (m, a)
        A^T.
    """

    m: int
    r: int
    input: Array
    kernel: Array
    output: Array


@functools.cache
def bilinear(m: int, r: int, dtype: DTypeLike) -> Bilinear:
    """Return F(m, r) with its matrices rounded to `dtype`.

    Examples
    --------
    >>> f = bilinear(2, 3, np.float32)
    >>> f.output @ ((f.kernel @ [1, 2, 3]) * (f.input @ [1, 1, 0, 2]))  # 1*1 + 2*1 + 3*0, 1*1 + 2*0 + 3*2
    array([3., 7.])
    """
    b_t, g, a_t = matrices(m, r)
    return Bilinear(m, r, *(np.array(matrix, dtype) for matrix in (b_t, g, a_t)))


def matrices(m: int, r: int) -> tuple[Rational, Rational, Rational]:
    """Return B^T, G and A^T of F(m, r), exact and proved.

    The rows of B^T are scaled to integers without a common factor, and those of G by the inverse: B^T meets all of
    the data, in float32, and integers need no rounding.

    Raises
    ------
    ValueError
        Where m + r - 2 points are more than there are here.
    """
    m, r = check_int("m", m), check_int("r", r)
    a = m + r - 1
    if a - 1 > len(_POINTS):
        raise ValueError(f"m + r must be at most {len(_POINTS) + 2}, got m={m}, r={r}")
    points = _POINTS[: a - 1]
    b_t = _transpose(_inverse(_evaluation(points, a)))
    g = _evaluation(points, r)
    a_t = _transpose(_evaluation(points, m))
    for p, row in enumerate(b_t):
        scale = Fraction(math.lcm(*(v.denominator for v in row)), math.gcd(*(v.numerator for v in row)))
        scale = scale if scale * next(v for v in reversed(row) if v) > 0 else -scale
        b_t[p] = [scale * value for value in row]
        g[p] = [value / scale for value in g[p]]
    _prove(b_t, g, a_t)
    return b_t, g, a_t


def _prove(b_t: Rational, g: Rational, a_t: Rational) -> None:
    r"""Check :math:`\sum_p A^T_{ip}\,G_{pk}\,B^T_{pl} = [l = i + k]`: then y_i = sum_k d_{i+k} g_k for all d and g."""
    for i, outputs in enumerate(a_t):
        for k in range(len(g[0])):
            for x in range(len(b_t)):
                total = sum(outputs[p] * g[p][k] * b_t[p][x] for p in range(len(b_t)))
                if total != (x == i + k):
                    raise ArithmeticError(f"the bilinear identity fails at output {i}, tap {k}, sample {x}: {total}")


def _evaluation(points: tuple[Fraction, ...], size: int) -> Rational:
    """Return the matrix that evaluates a polynomial with `size` coefficients at the points and at infinity."""
    finite = [[p**k for k in range(size)] for p in points]
    return [*finite, [Fraction(k == size - 1) for k in range(size)]]


def _transpose(matrix: Rational) -> Rational:
    return [list(column) for column in zip(*matrix, strict=True)]


def _inverse(matrix: Rational) -> Rational:
    """Return the inverse by Gauss and Jordan's elimination."""
    size = len(matrix)
    rows = [[*row, *(Fraction(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for k in range(size):
        pivot = next(i for i in range(k, size) if rows[i][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [value / rows[k][k] for value in rows[k]]
        for i in set(range(size)) - {k}:
            rows[i] = [x - rows[i][k] * y for x, y in zip(rows[i], rows[k], strict=True)]
    return [row[size:] for row in rows]
