"""Slow, obvious references: what the definitions say, one number at a time."""

import numpy as np


def conv2d_reference(x, w, stride, pads, dilation, groups):
    """The definition of convolution, with loops over every index of the output and the kernel."""
    n, height, width, channels = x.shape
    kh, kw, _, out_channels = w.shape
    (top, bottom), (left, right) = pads
    padded = np.zeros((n, height + top + bottom, width + left + right, channels), x.dtype)
    padded[:, top : top + height, left : left + width] = x
    out_h = (padded.shape[1] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    out_w = (padded.shape[2] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, out_h, out_w, out_channels), x.dtype)
    in_group, out_group = channels // groups, out_channels // groups
    for i, j, u, v in np.ndindex(out_h, out_w, kh, kw):
        pixel = padded[:, i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]]
        for g in range(groups):
            outputs = slice(g * out_group, (g + 1) * out_group)
            y[:, i, j, outputs] += pixel[:, g * in_group : (g + 1) * in_group] @ w[u, v, :, outputs]
    return y
