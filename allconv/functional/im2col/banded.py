r"""The banded kernel, with which one product computes several outputs side by side.

Where C and O are small, the products of im2col are short and thin, and gathering their columns takes longer than the
products. So w neighbouring outputs of a row are written as one output with w O channels. Its window covers
:math:`L = s (w - 1) + k_w` columns of the input, and the next window starts s w columns further. With the *banded*
kernel

.. math:: B_{u,\,\ell,\,c,\,(j, o)} = W_{u,\,\ell - s j,\,c,\,o} \quad (0 \le \ell - s j < k_w),
    \qquad 0 \text{ elsewhere,}

the same outputs are a convolution with a kernel :math:`k_h \times L`, the horizontal stride s w and w O output
channels. For a row of 3 taps a b c, one channel, s = 1 and w = 2::

                        outputs
                        j=0  j=1
    columns   l=0        a
    of the    l=1        b    a
    window    l=2        c    b
              l=3             c

For each output im2col then gathers :math:`k_h L C / w` numbers in place of :math:`k_h k_w C`, in runs of L C. It
multiplies :math:`L / k_w` times as often. The gradient is the adjoint, a sum along the band:

.. math:: dW_{u,v,c,o} = \sum_j dB_{u,\, s j + v,\, c,\, (j, o)}.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from allconv.functional.geometry import Geometry
from allconv.typing import Array


@lru_cache(maxsize=256)
def widened(geometry: Geometry, outputs: int) -> Geometry:
    """Return the convolution that computes `outputs` neighbours at once.

    Parameters
    ----------
    geometry : Geometry
        Of one group and horizontal dilation 1, unless `outputs` is 1.
    outputs : int
        w, which divides W_out.

    Returns
    -------
    Geometry
        Its output (N, H_out, W_out / w, w O) is the memory of (N, H_out, W_out, O).
    """
    if outputs == 1:
        return geometry
    (kh, kw), (sh, sw) = geometry.kernel, geometry.stride
    return replace(
        geometry,
        kernel=(kh, sw * (outputs - 1) + kw),
        stride=(sh, sw * outputs),
        out_channels=outputs * geometry.out_channels,
    )


def banded_kernel(weight: Array, outputs: int, stride: int) -> Array:
    """Return the banded kernel B.

    Parameters
    ----------
    weight : array (kh, kw, C, O)
    outputs : int
        w.
    stride : int
        The horizontal stride.

    Returns
    -------
    array (kh, L, C, w O)
    """
    if outputs == 1:
        return weight
    kh, kw, inputs, channels = weight.shape
    banded = np.zeros((kh, stride * (outputs - 1) + kw, inputs, outputs, channels), weight.dtype)
    for j in range(outputs):
        banded[:, stride * j : stride * j + kw, :, j] = weight
    return banded.reshape(*banded.shape[:3], -1)


def banded_kernel_adjoint(banded: Array, outputs: int, stride: int, width: int) -> Array:
    """Return dW, the sum of dB along the band.

    Parameters
    ----------
    banded : array (kh, L, C, w O)
        dB.
    outputs : int
        w.
    stride : int
        The horizontal stride.
    width : int
        kw.

    Returns
    -------
    array (kh, kw, C, O)
    """
    if outputs == 1:
        return banded
    parts = banded.reshape(*banded.shape[:3], outputs, -1)
    total = parts[:, :width, :, 0].copy()
    for j in range(1, outputs):
        total += parts[:, stride * j : stride * j + width, :, j]
    return total
