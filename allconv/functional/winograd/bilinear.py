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
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import DTypeLike

from allconv.functional.rounding import ceil_div
from allconv.typing import Array
from allconv.validation import check_int

Rational = list[list[Fraction]]

# The points, in the order in which they are taken. Powers of large or tiny points spread the magnitudes, and with them
# the rounding errors. Among small sets of points, {0, 1, -1, 2, -1/2} has the smallest error measured for F(4, 3): less
# than half the error of the customary {0, 1, -1, 2, -2}.
_POINTS = tuple(Fraction(*p) for p in ((0, 1), (1, 1), (-1, 1), (2, 1), (-1, 2), (-2, 1), (1, 2), (3, 1), (-1, 3)))

# The place of the point 1 along an axis. All powers of 1 are 1, so a bias that is added there reaches each output once.
POINT_ONE = _POINTS.index(Fraction(1))


@dataclass(frozen=True, eq=False)
class Bilinear:
    """One axis of a convolution, tile by tile: out = A^T (G g * B^T d) for a window d of the input.

    Attributes
    ----------
    input_matrix : array (a, window)
        B^T.
    kernel_matrix : array (a, r)
        G.
    output_matrix : array (outputs, a)
        A^T.
    start, step : int
        The window of tile t begins at sample start + step t, and its outputs begin at output t outputs.
    """

    input_matrix: Array
    kernel_matrix: Array
    output_matrix: Array
    start: int
    step: int

    @property
    def points(self) -> int:
        """The number a of products of a tile."""
        return len(self.input_matrix)

    @property
    def window(self) -> int:
        """The number of samples of a tile."""
        return int(self.input_matrix.shape[1])

    @property
    def outputs(self) -> int:
        """The number of outputs of a tile."""
        return len(self.output_matrix)


@functools.cache
def convolution(m: int, r: int, stride: int, before: int, dtype: DTypeLike) -> Bilinear:
    r"""Return the algorithm for :math:`y_i = \sum_k x_{s i + k - before}\, g_k`.

    Parameters
    ----------
    m : int
        The number of outputs of a tile.
    r : int
        The number of taps.
    stride : int
        s.
    before : int
        The padding before the input.
    dtype : dtype
        Of the matrices.

    Returns
    -------
    Bilinear
        Proved in exact rationals, then rounded to the dtype.

    Raises
    ------
    ValueError
        Where a tile would need more points than this module has.

    Notes
    -----
    With a stride s, the taps k = q mod s meet the samples l = q mod s only, for each phase q < s. So y is a sum of s
    filters with stride 1. For r = 3 and s = 2 these have 2 taps and 1 tap. They take 2 m + 1 products in all, where
    the definition takes 3 m.

    Examples
    --------
    >>> f = convolution(2, 3, 1, 0, np.float32)
    >>> products = (f.kernel_matrix @ [1, 2, 3]) * (f.input_matrix @ [1, 1, 0, 2])
    >>> f.output_matrix @ products  # 1*1 + 2*1 + 3*0, 1*1 + 2*0 + 3*2
    array([3., 7.])
    """
    pieces = [
        _Piece(m, range(q, r, stride), range(q, q + stride * (m + len(range(q, r, stride)) - 1), stride), range(m))
        for q in range(min(stride, r))
    ]
    exact = _assemble(pieces, (stride * (m - 1) + r, r, m))
    _prove(*exact, lambda i, k, x: x == stride * i + k)
    input_matrix, kernel_matrix, output_matrix = (np.array(matrix, dtype) for matrix in exact)
    return Bilinear(input_matrix, kernel_matrix, output_matrix, start=-before, step=stride * m)


@functools.cache
def gradient(m: int, r: int, stride: int, before: int, dtype: DTypeLike) -> Bilinear:
    r"""Return the algorithm for :math:`dx_l = \sum_{s i + k - before = l} dy_i\, g_k`.

    Parameters
    ----------
    m : int
        A tile has s m outputs.
    r : int
        The number of taps.
    stride : int
        s.
    before : int
        The padding before x.
    dtype : dtype
        Of the matrices.

    Returns
    -------
    Bilinear
        Proved in exact rationals, then rounded to the dtype.

    Raises
    ------
    ValueError
        Where a tile would need more points than this module has.

    Notes
    -----
    The outputs with l + before = q mod s are a filter of dy with stride 1 and the taps k = q mod s, in reverse order.

    Examples
    --------
    >>> f = gradient(2, 3, 1, 0, np.float32)
    >>> f.start  # dx_0 and dx_1 depend on dy from -2 on
    -2
    >>> products = (f.kernel_matrix @ [1, 2, 3]) * (f.input_matrix @ [1, 1, 0, 2])
    >>> f.output_matrix @ products  # 3*1 + 2*1 + 1*0, 3*1 + 2*0 + 1*2
    array([5., 5.])
    """
    # For each phase q, the first i whose tap q meets an output: s i + q >= before.
    first = [ceil_div(before - q, stride) for q in range(stride)]
    lengths = [len(range(q, r, stride)) for q in range(stride)]
    phases = [q for q in range(stride) if lengths[q]]
    start = min(first[q] - lengths[q] + 1 for q in phases)
    stop = max(first[q] + m for q in phases)
    pieces = []
    for q in phases:
        samples = range(first[q] - lengths[q] + 1 - start, first[q] + m - start)
        outputs = range(stride * first[q] + q - before, stride * m, stride)
        pieces.append(_Piece(m, range(q, r, stride)[::-1], samples, outputs))
    exact = _assemble(pieces, (stop - start, r, stride * m))
    _prove(*exact, lambda i, k, x: i + before == stride * (start + x) + k)
    input_matrix, kernel_matrix, output_matrix = (np.array(matrix, dtype) for matrix in exact)
    return Bilinear(input_matrix, kernel_matrix, output_matrix, start=start, step=m)


@dataclass(frozen=True)
class _Piece:
    """One filter F(m, len(taps)) of a sum of filters, with the taps, samples and outputs of the whole that it uses."""

    m: int
    taps: range
    samples: range
    outputs: range


def _assemble(pieces: list[_Piece], shape: tuple[int, int, int]) -> tuple[Rational, Rational, Rational]:
    """Return B^T, G and A^T of the sum of the pieces; `shape` counts the samples, taps and outputs of the whole."""
    rows: tuple[Rational, Rational, Rational] = ([], [], [])  # B^T, G and A have one row for each product
    for piece in pieces:
        b_t, g, a_t = matrices(piece.m, len(piece.taps))
        for target, matrix, places, size in zip(
            rows, (b_t, g, _transpose(a_t)), (piece.samples, piece.taps, piece.outputs), shape, strict=True
        ):
            for values in matrix:
                row = [Fraction(0)] * size
                for place, value in zip(places, values, strict=True):
                    row[place] = value
                target.append(row)
    return rows[0], rows[1], _transpose(rows[2])


def matrices(m: int, r: int, points: tuple[Fraction, ...] = _POINTS) -> tuple[Rational, Rational, Rational]:
    """Return B^T, G and A^T of F(m, r), exact and proved.

    Parameters
    ----------
    m : int
        The number of outputs.
    r : int
        The number of taps.
    points : tuple of Fraction, optional
        Distinct points, of which the first m + r - 2 are taken, beside infinity. The default are the library's.

    Returns
    -------
    input_matrix, kernel_matrix, output_matrix : list of lists of Fraction
        B^T (a, a), G (a, r) and A^T (m, a), with a = m + r - 1.

    Raises
    ------
    TypeError, ValueError
        Where an argument is not a positive int, and where m + r - 2 points are more than there are.

    Notes
    -----
    The rows of B^T are scaled to integers without a common factor, and the rows of G by the inverse. B^T meets all of
    the data, in float32, and integers need no rounding.

    Examples
    --------
    >>> input_matrix, kernel_matrix, output_matrix = matrices(2, 3)
    >>> [[int(value) for value in row] for row in input_matrix]
    [[-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]
    """
    m, r = check_int("m", m), check_int("r", r)
    a = m + r - 1
    if r == 1:  # With one tap each output is one product, and nothing is transformed.
        identity = [[Fraction(i == j) for j in range(m)] for i in range(m)]
        return identity, [[Fraction(1)]] * m, identity
    if a - 1 > len(points):
        raise ValueError(f"m + r must be at most {len(points) + 2}, got m={m}, r={r}")
    points = points[: a - 1]
    b_t = _transpose(_inverse(_evaluation(points, a)))
    g = _evaluation(points, r)
    a_t = _transpose(_evaluation(points, m))
    for p, row in enumerate(b_t):
        scale = Fraction(math.lcm(*(v.denominator for v in row)), math.gcd(*(v.numerator for v in row)))
        scale = scale if scale * next(v for v in reversed(row) if v) > 0 else -scale
        b_t[p] = [scale * value for value in row]
        g[p] = [value / scale for value in g[p]]
    _prove(b_t, g, a_t, lambda i, k, x: x == i + k)
    return b_t, g, a_t


def _prove(b_t: Rational, g: Rational, a_t: Rational, meet: Callable[[int, int, int], bool]) -> None:
    r"""Check :math:`\sum_p A^T_{ip}\,G_{pk}\,B^T_{pl} = [\text{tap k meets sample l in output i}]`, exactly.

    Both sides of out = A^T (G g * B^T d) are bilinear in g and d, so they are equal for all if and only if these
    coefficients are.
    """
    for i, outputs in enumerate(a_t):
        for k in range(len(g[0])):
            for x in range(len(b_t[0])):
                total = sum(outputs[p] * g[p][k] * b_t[p][x] for p in range(len(b_t)))
                if total != meet(i, k, x):
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
