r"""The Gaussian error linear unit, :math:`y = x\,\Phi(x)`, and its slope, with which backward is one product.

With a = |x|, everything follows from one tail of the normal distribution, since :math:`x\,\Phi(x) = \max(x, 0) -
a\,\Phi(-a)`. In float32 the tail is

.. math:: \Phi(-a) = e^{-a^2 / 2}\, p(u), \qquad u = \frac{1}{1 + c\,a},

where p is a polynomial of degree 8. It is the minimax approximation of the scaled tail on 0 <= a <= 10, with a relative
error of 5.4e-8. A polynomial in u follows the scaled tail for large a too, where it falls off as 1/a. The slope is

.. math:: y' = \Phi(x) + x\,\varphi(x) = \tfrac12 \pm \left(\tfrac12 - \Phi(-a) + a\,\varphi(a)\right)

with the sign of x and the density :math:`\varphi(a) = e^{-a^2/2} / \sqrt{2\pi}`. Ufuncs evaluate this several times
as fast as `scipy.special.ndtr`, which computes one number after another. The other dtypes use `ndtr`.

In float32, y is within max(10, x^2) units in the last place: the exponential of a large x^2 loses as many.
The slope has an absolute error below 4e-7.
"""

import math

import numpy as np

from allconv.functional.rectify import positive_part
from allconv.parallel.buffers import empty
from allconv.parallel.pool import elementwise_into
from allconv.typing import Array

# The two constants of the tanh form: the factor of x^3, and the scale of the polynomial.
_CUBIC = 0.044715
_SCALE = math.sqrt(2 / math.pi)

_DENSITY_AT_0 = 1 / math.sqrt(2 * math.pi)
# Bounds a, so that y and y' have their limits at an infinite x. Beyond 40 the density is 0, and a^2 could overflow.
_MOST = 40.0
# Constant of u = 1 / (1 + c a), a short binary fraction, and the coefficients of p(u) / u from u^0 to u^7.
_C = 19 / 64
_TAIL = (0.1183326, 0.12026, 0.09432417, 0.14380195, -0.08233811, 0.23824458, -0.16999757, 0.03737235)
_SIGN = np.uint32(1 << 31)  # the bit of a float32 that holds its sign


def gelu(x: Array, *, tanh: bool = False, with_slope: bool = False) -> tuple[Array, Array | None]:
    """Return GELU of each number, and its slope if that is wanted.

    Parameters
    ----------
    x : array
        Any shape, of a floating dtype.
    tanh : bool, default False
        Whether a tanh approximates the distribution function.
    with_slope : bool, default False
        Whether to compute the derivative, too.

    Returns
    -------
    y : array
        The values, in the shape and dtype of x.
    slope : array or None
        The derivative at x.

    Examples
    --------
    >>> y, slope = gelu(np.array([-1.0, 0.0, 2.0]), with_slope=True)
    >>> y.round(3), slope.round(3)
    (array([-0.159,  0.   ,  1.954]), array([-0.083,  0.5  ,  1.085]))
    """
    exact = _write_float32 if x.dtype == np.float32 else _write_exact
    write = _write_tanh if tanh else exact
    if not with_slope:
        return elementwise_into(lambda x, y: write(x, y, None), x), None
    slope = empty(x.shape, x.dtype)
    return elementwise_into(lambda x, slope, y: write(x, y, slope), x, slope), slope


def _write_float32(x: Array, y: Array, slope: Array | None) -> None:
    """Write y and the slope of float32 numbers."""
    a = np.abs(x)
    a.clip(0, _MOST, out=a)
    exponential = a * a
    exponential *= -0.5
    np.exp(exponential, out=exponential)
    u = a * _C
    u += 1
    np.reciprocal(u, out=u)
    tail = u * _TAIL[-1]
    for coefficient in _TAIL[-2::-1]:
        tail += coefficient
        tail *= u
    tail *= exponential
    np.multiply(tail, a, out=u)
    np.subtract(positive_part(x, out=y), u, out=y)
    if slope is None:
        return
    exponential *= a
    exponential *= _DENSITY_AT_0
    tail -= exponential
    np.subtract(0.5, tail, out=tail)  # It is positive, so its sign becomes that of x by an "or" of the bits.
    signs = np.bitwise_and(x.view(np.uint32), _SIGN, out=exponential.view(np.uint32))
    np.bitwise_or(tail.view(np.uint32), signs, out=signs)
    np.add(exponential, 0.5, out=slope)


def _write_exact(x: Array, y: Array, slope: Array | None) -> None:
    """Write y and the slope by the distribution function of SciPy."""
    from scipy.special import ndtr  # Importing scipy.special takes longer than importing the rest of the library.

    # ndtr returns float32 for float16, and takes no longdouble.
    phi = np.asarray(ndtr(x if x.dtype.itemsize <= 8 else x.astype(np.float64)), dtype=x.dtype)
    np.multiply(x, phi, out=y)
    if slope is not None:
        z = np.clip(x, -_MOST, _MOST)
        np.add(phi, z * np.exp(-z * z / 2) * _DENSITY_AT_0, out=slope)


def _write_tanh(x: Array, y: Array, slope: Array | None) -> None:
    """Write y and the slope of the tanh form."""
    z = np.clip(x, -10, 10)  # Outside this range the tanh rounds to -1 or 1, and x^3 could overflow.
    squares = z * z
    phi = np.tanh(_SCALE * z * (1 + _CUBIC * squares))
    phi += 1
    phi /= 2
    np.multiply(x, phi, out=y)
    if slope is not None:
        np.add(phi, 2 * z * phi * (1 - phi) * _SCALE * (1 + 3 * _CUBIC * squares), out=slope)
