r"""2-D convolution and its gradients, by the algorithm that `choice` names.

All three are linear in each argument, and adjoint to one another:
<conv2d(x, w), g> = <x, conv2d_input_grad(g, w)> = <w, conv2d_weight_grad(x, g)>.

Strided arrays are copied first. Some versions of NumPy multiply them without BLAS, in another order of sums. So the
bits of a result depend on the numbers alone, whatever the layout of the arrays.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from allconv.functional import depthwise, im2col, winograd
from allconv.functional.choice import choose
from allconv.functional.cost import best_outputs, best_plan
from allconv.functional.geometry import Geometry
from allconv.parallel.pool import in_slices
from allconv.parallel.reductions import column_sum
from allconv.typing import Array

# Overwrites a finished block (n, rows, columns, O) of the output.
Activation = Callable[[Array], object]
# Overwrites a block of dx; the slices are its place in dx.
ActivationGradient = Callable[[Array, tuple[slice, ...]], object]


class ConvGradients(NamedTuple):
    """The gradients of a convolution.

    Attributes
    ----------
    x : array (N, H, W, C)
        dL/dx.
    weight : array (kh, kw, C / groups, O)
        dL/dW.
    bias : array (O,) or None
        dL/db, where it was wanted.
    """

    x: Array
    weight: Array
    bias: Array | None


def conv2d(
    x: Array,
    weight: Array,
    geometry: Geometry,
    bias: Array | None = None,
    *,
    algorithm: str = "auto",
    transformed: Array | None = None,
    activation: Activation | None = None,
) -> Array:
    r"""Return the cross-correlation of x with the weight, plus the bias.

    .. math:: y_{n,i,j,o} = b_o + \sum_{u,v,c} x_{n,\, i s + u d - p,\, j s + v d - p,\, c}\; w_{u,v,c,o}

    Parameters
    ----------
    x : array (N, H, W, C)
        float32 or float64.
    weight : array (kh, kw, C / groups, O)
        In the dtype of x.
    geometry : Geometry
        The sizes of the convolution.
    bias : array (O,), optional
    algorithm : {"auto", "im2col", "banded", "winograd"}, default "auto"
        See `choose`.
    transformed : array, optional
        ``winograd.transform_weight(weight, stride)``, where one weight serves many calls.
    activation : callable, optional
        Called with each finished block (n, rows, columns, O) of y, to overwrite it while it is in the cache.

    Returns
    -------
    array (N, H_out, W_out, O)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> x, weight = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1))
    >>> sizes = geometry_of(x.shape, weight.shape, (1, 1), "valid", (1, 1), 1)
    >>> conv2d(x, weight, sizes, bias=np.array([100.0]))[0, :, :, 0]
    array([[108., 112.],
           [120., 124.]])
    """
    x, weight = np.ascontiguousarray(x), np.ascontiguousarray(weight)
    chosen = choose(geometry, algorithm, transformed=transformed is not None)
    if chosen == "winograd":
        return winograd.forward(x, weight, geometry, bias, transformed=transformed, activation=activation)
    if chosen == "depthwise":
        return depthwise.forward(x, weight, geometry, bias, activation)
    outputs = best_outputs(geometry) if chosen == "banded" else 1
    return im2col.forward(x, weight, geometry, bias, activation, outputs=outputs)


def conv2d_input_grad(
    dy: Array,
    weight: Array,
    geometry: Geometry,
    *,
    algorithm: str = "auto",
    activation_gradient: ActivationGradient | None = None,
) -> Array:
    r"""Return dL/dx.

    .. math:: dx_{n,h,w,c} = \sum_{i s + u d - p = h,\; j s + v d - p = w,\; o} dy_{n,i,j,o}\; w_{u,v,c,o}

    Parameters
    ----------
    dy : array (N, H_out, W_out, O)
        dL/dy.
    weight : array (kh, kw, C / groups, O)
    geometry : Geometry
        The sizes of the convolution.
    algorithm : {"auto", "im2col", "banded", "winograd"}, default "auto"
        See `choose`.
    activation_gradient : callable, optional
        Called with each block of dL/dx and with its place, as slices, to overwrite it.

    Returns
    -------
    array (N, H, W, C)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> dy, weight = np.ones((1, 2, 2, 1)), np.ones((2, 2, 1, 1))
    >>> sizes = geometry_of((1, 3, 3, 1), weight.shape, (1, 1), "valid", (1, 1), 1)
    >>> conv2d_input_grad(dy, weight, sizes)[0, :, :, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    dy, weight = np.ascontiguousarray(dy), np.ascontiguousarray(weight)
    chosen = choose(geometry, algorithm, backward=True)
    if chosen == "winograd":
        dx = winograd.input_grad(dy, weight, geometry)
    elif chosen == "depthwise":
        dx = depthwise.input_grad(dy, weight, geometry)
    else:
        dx = im2col.input_grad(dy, weight, geometry, _plan(algorithm, geometry))
    if activation_gradient is not None:
        _overwrite(dx, activation_gradient)
    return dx


def conv2d_weight_grad(x: Array, dy: Array, geometry: Geometry, *, algorithm: str = "auto") -> Array:
    r"""Return dL/dw.

    .. math:: dw_{u,v,c,o} = \sum_{n,i,j} x_{n,\, i s + u d - p,\, j s + v d - p,\, c}\; dy_{n,i,j,o}

    Parameters
    ----------
    x : array (N, H, W, C)
    dy : array (N, H_out, W_out, O)
        dL/dy.
    geometry : Geometry
        The sizes of the convolution.
    algorithm : {"auto", "im2col", "banded", "winograd"}, default "auto"
        See `choose`.

    Returns
    -------
    array (kh, kw, C / groups, O)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> x, dy = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((1, 2, 2, 1))
    >>> sizes = geometry_of(x.shape, (2, 2, 1, 1), (1, 1), "valid", (1, 1), 1)
    >>> conv2d_weight_grad(x, dy, sizes)[:, :, 0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    x, dy = np.ascontiguousarray(x), np.ascontiguousarray(dy)
    chosen = choose(geometry, algorithm)
    if chosen == "winograd":
        return winograd.weight_grad(x, dy, geometry)
    if chosen == "depthwise":
        return depthwise.weight_grad(x, dy, geometry)
    return _im2col_weight_grad(x, dy, geometry, chosen)


def conv2d_bias_grad(dy: Array) -> Array:
    r"""Return dL/db, :math:`db_o = \sum_{n,i,j} dy_{n,i,j,o}`.

    Parameters
    ----------
    dy : array (N, H_out, W_out, O)
        dL/dy.

    Returns
    -------
    array (O,)

    Examples
    --------
    >>> conv2d_bias_grad(np.ones((2, 3, 3, 4)))
    array([18., 18., 18., 18.])
    """
    dy = np.ascontiguousarray(dy)
    return column_sum(dy.reshape(-1, dy.shape[3]))


def conv2d_grads(
    x: Array,
    dy: Array,
    weight: Array,
    geometry: Geometry,
    *,
    algorithm: str = "auto",
    with_bias: bool = True,
    activation_gradient: ActivationGradient | None = None,
) -> ConvGradients:
    """Return dL/dx, dL/dw and dL/db, which share the work that they have in common.

    Parameters
    ----------
    x : array (N, H, W, C)
    dy : array (N, H_out, W_out, O)
        dL/dy.
    weight : array (kh, kw, C / groups, O)
    geometry : Geometry
        The sizes of the convolution.
    algorithm : {"auto", "im2col", "banded", "winograd"}, default "auto"
        See `choose`.
    with_bias : bool, default True
        Whether to compute dL/db.
    activation_gradient : callable, optional
        Called with each finished block of dL/dx and with its place, as slices, to overwrite it.

    Returns
    -------
    ConvGradients

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> x, dy, weight = np.ones((1, 3, 3, 1)), np.ones((1, 2, 2, 1)), np.ones((2, 2, 1, 1))
    >>> gradients = conv2d_grads(x, dy, weight, geometry_of(x.shape, weight.shape, (1, 1), "valid", (1, 1), 1))
    >>> gradients.weight.ravel(), gradients.bias
    (array([4., 4., 4., 4.]), array([4.]))
    """
    x, dy, weight = (np.ascontiguousarray(array) for array in (x, dy, weight))
    chosen = choose(geometry, algorithm, backward=True)
    if chosen == "winograd":
        return ConvGradients(
            *winograd.grads(x, dy, weight, geometry, with_bias=with_bias, activation_gradient=activation_gradient)
        )
    if chosen == "depthwise":
        dx, dw = depthwise.input_grad(dy, weight, geometry), depthwise.weight_grad(x, dy, geometry)
    else:
        dx, dw = _im2col_grads(x, dy, weight, geometry, algorithm)
    if activation_gradient is not None:
        _overwrite(dx, activation_gradient)
    return ConvGradients(dx, dw, conv2d_bias_grad(dy) if with_bias else None)


def _overwrite(dx: Array, activation_gradient: ActivationGradient) -> None:
    """Overwrite all of dx slice by slice, where an algorithm has added to it until its end."""
    in_slices(lambda part: activation_gradient(dx[part], (part,)), dx)


def _im2col_grads(x: Array, dy: Array, weight: Array, geometry: Geometry, algorithm: str) -> tuple[Array, Array]:
    """Return dL/dx and dL/dw by im2col; without common columns, each by the outputs at once that suit it."""
    plan = _plan(algorithm, geometry)
    if plan.from_dy:
        return im2col.grads(x, dy, weight, geometry, plan)
    return im2col.input_grad(dy, weight, geometry, plan), _im2col_weight_grad(x, dy, geometry, algorithm)


def _im2col_weight_grad(x: Array, dy: Array, geometry: Geometry, algorithm: str) -> Array:
    """Return dL/dw by im2col, from the columns of x."""
    outputs = 1 if algorithm == "im2col" else best_outputs(geometry)
    return im2col.weight_grad(x, dy, geometry, im2col.GradientPlan(outputs=outputs))


def _plan(algorithm: str, geometry: Geometry) -> im2col.GradientPlan:
    """Return how im2col computes dx, or dx and dW."""
    return best_plan(geometry, banded=algorithm != "im2col")
