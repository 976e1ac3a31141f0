r"""2-D convolution and its gradients, by whichever algorithm `choice` names.

All three are linear in each argument, and adjoint to one another:
<conv2d(x, w), g> = <x, conv2d_input_grad(g, w)> = <w, conv2d_weight_grad(x, g)>.
"""

from collections.abc import Callable
from typing import Protocol

from allconv.functional import depthwise, im2col, winograd
from allconv.functional.choice import choose
from allconv.functional.geometry import Geometry
from allconv.functional.winograd.passes import Gradients
from allconv.parallel.reductions import total
from allconv.typing import Array

Activation = Callable[[Array], object]  # overwrites a finished block (n, rows, W_out, O) of the output


class Direct(Protocol):
    """What a module that computes any convolution has to offer."""

    def forward(
        self, x: Array, weight: Array, geometry: Geometry, bias: Array | None, activation: Activation | None
    ) -> Array:
        """Return y (N, H_out, W_out, O)."""

    def input_grad(self, dy: Array, weight: Array, geometry: Geometry) -> Array:
        """Return dx (N, H, W, C)."""

    def weight_grad(self, x: Array, dy: Array, geometry: Geometry) -> Array:
        """Return dw (kh, kw, C / groups, O)."""


_DIRECT: dict[str, Direct] = {"im2col": im2col, "depthwise": depthwise}


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
    r"""Return the cross-correlation of x (N, H, W, C) with weight (kh, kw, C / groups, O), plus the bias (O,).

    .. math:: y_{n,i,j,o} = b_o + \sum_{u,v,c} x_{n,\, i s + u d - p,\, j s + v d - p,\, c}\; w_{u,v,c,o}

    Parameters
    ----------
    x, weight, bias : array
    geometry : Geometry
        The sizes.
    algorithm : {"auto", "im2col", "winograd"}
    transformed : array, optional
        ``winograd.transform_weight(weight, stride)``, where one weight serves many calls.
    activation : callable, optional
        Called with each finished block (n, rows, W_out, channels) of y, to overwrite it while it is in the cache.
    """
    chosen = choose(geometry, algorithm, transformed=transformed is not None)
    if chosen == "winograd":
        return winograd.forward(x, weight, geometry, bias, transformed=transformed, activation=activation)
    return _DIRECT[chosen].forward(x, weight, geometry, bias, activation)


def conv2d_input_grad(dy: Array, weight: Array, geometry: Geometry, *, algorithm: str = "auto") -> Array:
    r"""Return dx (N, H, W, C) for dy (N, H_out, W_out, O).

    .. math:: dx_{n,h,w,c} = \sum_{i s + u d - p = h,\; j s + v d - p = w,\; o} dy_{n,i,j,o}\; w_{u,v,c,o}
    """
    chosen = choose(geometry, algorithm, backward=True)
    if chosen == "winograd":
        return winograd.input_grad(dy, weight, geometry)
    return _DIRECT[chosen].input_grad(dy, weight, geometry)


def conv2d_weight_grad(x: Array, dy: Array, geometry: Geometry, *, algorithm: str = "auto") -> Array:
    r"""Return dw (kh, kw, C / groups, O).

    .. math:: dw_{u,v,c,o} = \sum_{n,i,j} x_{n,\, i s + u d - p,\, j s + v d - p,\, c}\; dy_{n,i,j,o}
    """
    chosen = choose(geometry, algorithm)
    if chosen == "winograd":
        return winograd.weight_grad(x, dy, geometry)
    return _DIRECT[chosen].weight_grad(x, dy, geometry)


def conv2d_bias_grad(dy: Array) -> Array:
    r"""Return db (O,) for dy (N, H_out, W_out, O): :math:`db_o = \sum_{n,i,j} dy_{n,i,j,o}`."""
    return total(dy.reshape(-1, dy.shape[3]))


def conv2d_grads(x: Array, dy: Array, weight: Array, geometry: Geometry, *, algorithm: str = "auto") -> Gradients:
    """Return dx, dw and db, which share what they can."""
    chosen = choose(geometry, algorithm, backward=True)
    if chosen == "winograd":
        return winograd.grads(x, dy, weight, geometry)
    direct = _DIRECT[chosen]
    dx, dw = direct.input_grad(dy, weight, geometry), direct.weight_grad(x, dy, geometry)
    return Gradients(dx, dw, conv2d_bias_grad(dy))
