"""2-D convolution and its two gradients: chooses the algorithm.

All three are linear in each argument, and adjoint to one another:
<conv2d(x, w), g> = <x, conv2d_input_grad(g, w)> = <w, conv2d_weight_grad(x, g)>.
"""

from typing import Protocol

from allconv.functional import depthwise, im2col, winograd
from allconv.functional.geometry import Geometry
from allconv.validation import Array

_WINOGRAD_CHANNELS = 16  # below this, transforms cost more than the products they save


class Algorithm(Protocol):
    """What a module that computes convolutions has to offer."""

    def forward(self, x: Array, weight: Array, geometry: Geometry) -> Array:
        """Return y (N, H_out, W_out, O)."""

    def input_grad(self, dy: Array, weight: Array, geometry: Geometry) -> Array:
        """Return dx (N, H, W, C)."""

    def weight_grad(self, x: Array, dy: Array, geometry: Geometry) -> Array:
        """Return dw (kh, kw, C / groups, O)."""


def _direct(geometry: Geometry) -> Algorithm:
    return depthwise if depthwise.applies(geometry) else im2col


def uses_winograd(geometry: Geometry) -> bool:
    """Tell whether the bilinear algorithm is there for these sizes, and pays: chosen from the shapes alone."""
    applies = geometry.kernel == (3, 3) and geometry.stride == geometry.dilation == (1, 1) and geometry.groups == 1
    return applies and min(geometry.x_shape[3], geometry.out_channels) >= _WINOGRAD_CHANNELS


def conv2d(x: Array, weight: Array, geometry: Geometry) -> Array:
    r"""Return the cross-correlation of x (N, H, W, C) with weight (kh, kw, C / groups, O).

    .. math:: y_{n,i,j,o} = \sum_{u,v,c} x_{n,\, i s + u d - p,\, j s + v d - p,\, c}\; w_{u,v,c,o}
    """
    if uses_winograd(geometry):
        return winograd.forward(x, weight, geometry.pads)
    return _direct(geometry).forward(x, weight, geometry)


def conv2d_input_grad(dy: Array, weight: Array, geometry: Geometry) -> Array:
    r"""Return dx (N, H, W, C) for dy (N, H_out, W_out, O).

    .. math:: dx_{n,h,w,c} = \sum_{i s + u d - p = h,\; j s + v d - p = w,\; o} dy_{n,i,j,o}\; w_{u,v,c,o}
    """
    if uses_winograd(geometry):
        return winograd.input_grad(dy, weight, geometry.pads)
    return _direct(geometry).input_grad(dy, weight, geometry)


def conv2d_weight_grad(x: Array, dy: Array, geometry: Geometry) -> Array:
    r"""Return dw (kh, kw, C / groups, O).

    .. math:: dw_{u,v,c,o} = \sum_{n,i,j} x_{n,\, i s + u d - p,\, j s + v d - p,\, c}\; dy_{n,i,j,o}
    """
    if uses_winograd(geometry):
        return winograd.weight_grad(x, dy, geometry.pads)
    return _direct(geometry).weight_grad(x, dy, geometry)


def conv2d_grads(x: Array, dy: Array, weight: Array, geometry: Geometry) -> tuple[Array, Array]:
    """Return (dx, dw), which share what they can."""
    if uses_winograd(geometry):
        return winograd.grads(x, dy, weight, geometry.pads)[:2]
    direct = _direct(geometry)
    return direct.input_grad(dy, weight, geometry), direct.weight_grad(x, dy, geometry)
