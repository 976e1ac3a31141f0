"""Pooling by its definition: a loop over windows and one over the positions in each."""

import math

import numpy as np


def window_starts(size, before, after, kernel, stride, dilation, ceil_mode):
    """Return where each window starts along one axis, relative to the first input."""
    extent = dilation * (kernel - 1) + 1
    end = size + after + (stride - 1 if ceil_mode else 0)
    starts, start = [], -before
    while start + extent <= end and not (ceil_mode and start >= size):
        starts.append(start)
        start += stride
    return starts


def windows(size, kernel, stride, pads, dilation=(1, 1), ceil_mode=False):
    """Yield ((i, j), [the inputs (h, w) in the window, row by row], positions in the padded image) for each window."""
    starts = [window_starts(size[a], *pads[a], kernel[a], stride[a], dilation[a], ceil_mode=ceil_mode) for a in (0, 1)]
    for i, top in enumerate(starts[0]):
        for j, left in enumerate(starts[1]):
            positions = [(top + u * dilation[0], left + v * dilation[1]) for u, v in np.ndindex(*kernel)]
            inside = [(h, w) for h, w in positions if 0 <= h < size[0] and 0 <= w < size[1]]
            padded = [(h, w) for h, w in positions if h < size[0] + pads[0][1] and w < size[1] + pads[1][1]]
            yield (i, j), inside, len(padded)


def output_shape(x, kernel, stride, pads, dilation=(1, 1), ceil_mode=False):
    """Return (N, H_out, W_out, C)."""
    rows, columns = (
        len(window_starts(x.shape[a + 1], *pads[a], kernel[a], stride[a], dilation[a], ceil_mode)) for a in (0, 1)
    )
    return (x.shape[0], rows, columns, x.shape[3])


def mean_pool_reference(x, dy, kernel, stride, pads, count_padding=False, ceil_mode=False):
    """Return y and dx; dy may be a function that makes one from y's shape."""
    y = np.zeros(output_shape(x, kernel, stride, pads, ceil_mode=ceil_mode))
    dy = dy(y.shape)
    dx = np.zeros(x.shape)
    for (i, j), inside, padded in windows(x.shape[1:3], kernel, stride, pads, ceil_mode=ceil_mode):
        divisor = padded if count_padding else len(inside)
        y[:, i, j] = sum(x[:, h, w] for h, w in inside) / divisor
        for h, w in inside:
            dx[:, h, w] += dy[:, i, j] / divisor
    return y, dy, dx


def max_pool_reference(x, dy, kernel, stride, pads, dilation=(1, 1), ceil_mode=False):
    """Return y, dy and dx; each dy goes to the first input that is the window's maximum, or a NaN."""
    y = np.zeros(output_shape(x, kernel, stride, pads, dilation, ceil_mode))
    dy = dy(y.shape)
    dx = np.zeros(x.shape)
    for (i, j), inside, _ in windows(x.shape[1:3], kernel, stride, pads, dilation, ceil_mode):
        for n, c in np.ndindex(x.shape[0], x.shape[3]):
            best = inside[0]
            for place in inside[1:]:
                value, maximum = x[n, *place, c], x[n, *best, c]
                if value > maximum or (math.isnan(value) and not math.isnan(maximum)):
                    best = place
            y[n, i, j, c] = x[n, *best, c]
            dx[n, *best, c] += dy[n, i, j, c]
    return y, dy, dx
