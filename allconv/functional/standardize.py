r"""Groups of numbers brought to mean 0 and variance 1, as layer and group normalization do.

.. math:: \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}

with the mean :math:`\mu` and the biased variance :math:`\sigma^2` over some axes. Sums are made in float64, so that
they have all digits of float32 however many numbers a group has.
"""

import numpy as np

from allconv.typing import Array

Axes = int | tuple[int, ...]


def standardize(x: Array, axes: Axes, eps: float) -> tuple[Array, Array]:
    r"""Return :math:`\hat x`, and :math:`1 / \sqrt{\sigma^2 + \varepsilon}`.

    Parameters
    ----------
    x : array
        float32 or float64.
    axes : int or tuple of int
        The axes that mean and variance are taken over.
    eps : float
        The positive number that is added to the variance.

    Returns
    -------
    array, array
        The first has the shape of x; the second has the length 1 along `axes`.

    Examples
    --------
    >>> standardize(np.array([[1.0, 3.0]]), axes=1, eps=0.0)
    (array([[-1.,  1.]]), array([[1.]]))
    """
    x_hat = x - x.mean(axes, dtype=np.float64, keepdims=True).astype(x.dtype)
    with np.errstate(over="ignore"):  # An infinity shows in the variance.
        variance = np.square(x_hat).mean(axes, dtype=np.float64, keepdims=True)
    if not np.isfinite(variance).all():  # The squares may have left the range of float32.
        variance = np.square(x_hat, dtype=np.float64).mean(axes, keepdims=True)
    inv_std = (1 / np.sqrt(variance + eps)).astype(x.dtype)
    x_hat *= inv_std
    return x_hat, inv_std


def standardize_input_grad(dx_hat: Array, x_hat: Array, inv_std: Array, axes: Axes) -> Array:
    r"""Return dL/dx from :math:`dL/d\hat x`.

    .. math:: dx = \frac{1}{\sqrt{\sigma^2 + \varepsilon}}
        \left(d\hat x - \overline{d\hat x} - \hat x\; \overline{\hat x\, d\hat x}\right)

    The bars are means over the axes: the gradient through the mean and through the variance.

    Parameters
    ----------
    dx_hat : array
        The gradient at the standardized numbers.
    x_hat, inv_std : array
        What `standardize` has returned.
    axes : int or tuple of int
        As in the forward pass.

    Returns
    -------
    array
        dL/dx, in the shape of `dx_hat`.

    Examples
    --------
    >>> x_hat, inv_std = standardize(np.array([[1.0, 3.0, 8.0]]), axes=1, eps=0.0)
    >>> standardize_input_grad(np.ones((1, 3)), x_hat, inv_std, axes=1)  # a shift changes nothing
    array([[0., 0., 0.]])
    """
    mean = dx_hat.mean(axes, dtype=np.float64, keepdims=True).astype(x_hat.dtype)
    slope = (dx_hat * x_hat).mean(axes, dtype=np.float64, keepdims=True).astype(x_hat.dtype)
    dx: Array = inv_std * (dx_hat - mean - x_hat * slope)
    return dx
