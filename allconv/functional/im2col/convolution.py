"""A convolution and its gradients by im2col, with one output or several at a time."""

from collections.abc import Callable

import numpy as np

from allconv.functional.geometry import Geometry
from allconv.functional.im2col import passes
from allconv.functional.im2col.banded import banded_kernel, banded_kernel_adjoint, widened
from allconv.functional.im2col.mirrored import is_mirrored, mirrored, mirrored_kernel
from allconv.typing import Array


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
    repeated_bias = None if bias is None else np.tile(bias, outputs)
    y = passes.forward(x, kernel, widened(geometry, outputs), repeated_bias, activation)
    return y.reshape(geometry.y_shape)


def grads(x: Array, dy: Array, weight: Array, geometry: Geometry, *, outputs: int = 1) -> tuple[Array, Array]:
    """Return dL/dx and dL/dW.

    Parameters
    ----------
    x : array (N, H, W, C)
    dy : array (N, H_out, W_out, O)
    weight : array (kh, kw, C / groups, O)
    geometry : Geometry
        The sizes of the convolution.
    outputs : int, default 1
        The neighbours that are computed at once: a divisor of W where the convolution `is_mirrored`, else of W_out.

    Returns
    -------
    dx : array (N, H, W, C)
    dw : array (kh, kw, C / groups, O)
    """
    if not is_mirrored(geometry):
        return (
            input_grad(dy, weight, geometry, outputs=outputs),
            weight_grad(x, dy, geometry, outputs=outputs),
        )
    wide = widened(mirrored(geometry), outputs)
    kernel = banded_kernel(mirrored_kernel(weight), outputs, 1)
    dx, d_kernel = passes.output_and_weight_grad(dy, kernel, x.reshape(wide.y_shape), wide)
    return dx.reshape(x.shape), mirrored_kernel(banded_kernel_adjoint(d_kernel, outputs, 1, weight.shape[1]))


def input_grad(dy: Array, weight: Array, geometry: Geometry, *, outputs: int = 1) -> Array:
    """Return dL/dx alone.

    Parameters
    ----------
    dy : array (N, H_out, W_out, O)
    weight : array (kh, kw, C / groups, O)
    geometry : Geometry
        The sizes of the convolution.
    outputs : int, default 1
        As in `grads`.

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
    if is_mirrored(geometry):
        return forward(dy, mirrored_kernel(weight), mirrored(geometry), outputs=outputs)
    wide = widened(geometry, outputs)
    return passes.input_grad(dy.reshape(wide.y_shape), banded_kernel(weight, outputs, geometry.stride[1]), wide)


def weight_grad(x: Array, dy: Array, geometry: Geometry, *, outputs: int = 1) -> Array:
    """Return dL/dW alone.

    Parameters
    ----------
    x : array (N, H, W, C)
    dy : array (N, H_out, W_out, O)
    geometry : Geometry
        The sizes of the convolution.
    outputs : int, default 1
        As in `grads`.

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
    if is_mirrored(geometry):
        wide = widened(mirrored(geometry), outputs)
        d_kernel = passes.weight_grad(dy, x.reshape(wide.y_shape), wide)
        return mirrored_kernel(banded_kernel_adjoint(d_kernel, outputs, 1, geometry.kernel[1]))
    wide = widened(geometry, outputs)
    d_kernel = passes.weight_grad(x, dy.reshape(wide.y_shape), wide)
    return banded_kernel_adjoint(d_kernel, outputs, geometry.stride[1], geometry.kernel[1])
