"""A convolution and its gradients by im2col, with one output or several at a time."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from allconv.functional.geometry import Geometry
from allconv.functional.im2col import passes
from allconv.functional.im2col.banded import banded_kernel, banded_kernel_adjoint, widened
from allconv.functional.im2col.mirrored import mirrored, mirrored_kernel
from allconv.typing import Array


class GradientPlan(NamedTuple):
    """How the gradients are computed.

    Attributes
    ----------
    from_dy : bool, default False
        Whether from the columns of dy, as the module `mirrored` describes. This needs `mirrored.can_mirror`.
    outputs : int, default 1
        The neighbours that are computed at once: a divisor of W with `from_dy`, else of W_out.
    """

    from_dy: bool = False
    outputs: int = 1


_PLAIN = GradientPlan()


def forward(
    x: Array,
    weight: Array,
    geometry: Geometry,
    bias: Array | None = None,
    activation: Callable[[Array], object] | None = None,
    *,
    outputs: int = 1,
) -> Array:
    """Return y = x * W + b.

    Parameters
    ----------
    x : array (N, H, W, C)
    weight : array (kh, kw, C / groups, O)
    geometry : Geometry
        The sizes of the convolution.
    bias : array (O,), optional
    activation : callable, optional
        Called with each finished block (n, rows, columns, channels) of the output, to overwrite each of its elements
        while it is in the cache.
    outputs : int, default 1
        The neighbouring outputs that are computed at once; a divisor of W_out.

    Returns
    -------
    array (N, H_out, W_out, O)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> x, weight = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1))
    >>> sizes = geometry_of(x.shape, weight.shape, (1, 1), "valid", (1, 1), 1)
    >>> forward(x, weight, sizes, outputs=2)[0, :, :, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    kernel = banded_kernel(weight, outputs, geometry.stride[1])
    repeated_bias = bias if bias is None or outputs == 1 else np.tile(bias, outputs)
    y = passes.forward(x, kernel, widened(geometry, outputs), repeated_bias, activation)
    return y.reshape(geometry.y_shape)


def grads(x: Array, dy: Array, weight: Array, geometry: Geometry, plan: GradientPlan = _PLAIN) -> tuple[Array, Array]:
    """Return dL/dx and dL/dW.

    Parameters
    ----------
    x : array (N, H, W, C)
    dy : array (N, H_out, W_out, O)
    weight : array (kh, kw, C / groups, O)
    geometry : Geometry
        The sizes of the convolution.
    plan : GradientPlan, optional

    Returns
    -------
    dx : array (N, H, W, C)
    dw : array (kh, kw, C / groups, O)
    """
    if not plan.from_dy:
        return input_grad(dy, weight, geometry, plan), weight_grad(x, dy, geometry, plan)
    wide = widened(mirrored(geometry), plan.outputs)
    kernel = banded_kernel(mirrored_kernel(weight), plan.outputs, 1)
    dx, d_kernel = passes.output_and_weight_grad(dy, kernel, x.reshape(wide.y_shape), wide)
    return dx.reshape(x.shape), mirrored_kernel(banded_kernel_adjoint(d_kernel, plan.outputs, 1, weight.shape[1]))


def input_grad(dy: Array, weight: Array, geometry: Geometry, plan: GradientPlan = _PLAIN) -> Array:
    """Return dL/dx alone.

    Parameters
    ----------
    dy : array (N, H_out, W_out, O)
    weight : array (kh, kw, C / groups, O)
    geometry : Geometry
        The sizes of the convolution.
    plan : GradientPlan, optional

    Returns
    -------
    array (N, H, W, C)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> dy, weight = np.ones((1, 2, 2, 1)), np.ones((2, 2, 1, 1))
    >>> input_grad(dy, weight, geometry_of((1, 3, 3, 1), weight.shape, (1, 1), "valid", (1, 1), 1))[0, :, :, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    if plan.from_dy:
        return forward(dy, mirrored_kernel(weight), mirrored(geometry), outputs=plan.outputs)
    wide = widened(geometry, plan.outputs)
    return passes.input_grad(dy.reshape(wide.y_shape), banded_kernel(weight, plan.outputs, geometry.stride[1]), wide)


def weight_grad(x: Array, dy: Array, geometry: Geometry, plan: GradientPlan = _PLAIN) -> Array:
    """Return dL/dW alone.

    Parameters
    ----------
    x : array (N, H, W, C)
    dy : array (N, H_out, W_out, O)
    geometry : Geometry
        The sizes of the convolution.
    plan : GradientPlan, optional

    Returns
    -------
    array (kh, kw, C / groups, O)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> x, dy = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((1, 2, 2, 1))
    >>> weight_grad(x, dy, geometry_of(x.shape, (2, 2, 1, 1), (1, 1), "valid", (1, 1), 1))[:, :, 0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    if plan.from_dy:
        wide = widened(mirrored(geometry), plan.outputs)
        d_kernel = passes.weight_grad(dy, x.reshape(wide.y_shape), wide)
        return mirrored_kernel(banded_kernel_adjoint(d_kernel, plan.outputs, 1, geometry.kernel[1]))
    wide = widened(geometry, plan.outputs)
    d_kernel = passes.weight_grad(x, dy.reshape(wide.y_shape), wide)
    return banded_kernel_adjoint(d_kernel, plan.outputs, geometry.stride[1], geometry.kernel[1])
