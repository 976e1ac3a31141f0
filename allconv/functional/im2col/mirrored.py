r"""The backward pass of a convolution with stride 1, as a convolution of dy with the mirrored kernel.

With dilation d and padding p,

.. math:: dx_{h} = \sum_{u} dy_{h + p - u d}\, W_u^\top
    = \sum_{u'} dy_{h + u' d - p'}\, W_{k - 1 - u'}^\top, \qquad p' = d (k - 1) - p,

along each axis. So dx is the output of a convolution whose input is dy, whose kernel is W in reverse order with its
channels exchanged, and whose padding is p'. The gradient of <dx, x> for this kernel is the gradient of <dy, y> for W,
in the same order. Both use the columns of dy, which are gathered once::

    columns of dy, (P, kh kw O)  --->  dX = columns W'          (P, C)
                                 --->  dW' = columns^T X        (kh kw O, C)

The other way gathers the columns of x for dW, and adds the columns of dx back, which takes four times as long for each
entry. It is better where dy has more channels or more positions than x. `cost` decides.
"""

from functools import lru_cache

import numpy as np

from allconv.functional.geometry import Geometry
from allconv.typing import Array


def can_mirror(geometry: Geometry) -> bool:
    """Tell whether the gradients can be computed from the columns of dy.

    Parameters
    ----------
    geometry : Geometry
        The sizes of the convolution.

    Returns
    -------
    bool
        False also where the mirrored convolution would need less than no padding.
    """
    unit = geometry.stride == (1, 1) and geometry.groups == 1
    return unit and min(min(pads) for pads in _mirrored_pads(geometry)) >= 0


@lru_cache(maxsize=256)
def mirrored(geometry: Geometry) -> Geometry:
    """Return the convolution that computes dx from dy.

    Parameters
    ----------
    geometry : Geometry
        Of a convolution for which `can_mirror` is true.

    Returns
    -------
    Geometry
    """
    pads = _mirrored_pads(geometry)
    return Geometry(geometry.y_shape, geometry.kernel, geometry.in_channels, (1, 1), pads, geometry.dilation, 1)


def mirrored_kernel(weight: Array) -> Array:
    """Return a kernel (kh, kw, C, O) in reverse order with its channels exchanged, (kh, kw, O, C), and back.

    Parameters
    ----------
    weight : array (kh, kw, C, O)

    Returns
    -------
    array (kh, kw, O, C)
    """
    return np.ascontiguousarray(weight[::-1, ::-1].swapaxes(2, 3))


def _mirrored_pads(geometry: Geometry) -> tuple[tuple[int, int], tuple[int, int]]:
    (vertical, horizontal), (kh, kw), (dh, dw) = geometry.pads, geometry.kernel, geometry.dilation
    return (
        (dh * (kh - 1) - vertical[0], dh * (kh - 1) - vertical[1]),
        (dw * (kw - 1) - horizontal[0], dw * (kw - 1) - horizontal[1]),
    )
