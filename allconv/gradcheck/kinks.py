"""Where a layer's output has a kink: a place without a derivative, with which no gradient can be compared."""

import numpy as np

from allconv.gradcheck.point import STEPS, Direction, Point, element_sizes
from allconv.layers.base import Layer
from allconv.layers.intercept import Call
from allconv.layers.observe import observe
from allconv.typing import Array, Cache

Trace = list[tuple[str, Layer, Array, Array]]
"""(path, layer, input, output) of every call of a layer in a forward pass, in the order in which the calls ended."""


def trace(point: Point, direction: Direction | None = None, t: float = 0.0) -> Trace:
    """Return what every layer that took part in a forward pass was given and has returned.

    Parameters
    ----------
    point : Point
        The layer and its arrays theta.
    direction : dict, optional
        d, the arrays' direction.
    t : float, default 0.0
        The pass is at theta + t d.

    Returns
    -------
    Trace
        The innermost layers come before those that hold them.
    """
    calls: Trace = []

    def note(call: Call, x: Array) -> tuple[Array, Cache]:
        y, cache = call(x)
        calls.append((call.path, call.layer, x, y))
        return y, cache

    with observe(point.layer, forward=note):
        point.forward(direction, t)
    return calls


def find_kink(point: Point, direction: Direction) -> str | None:
    """Say where F has a kink within the smallest step along a direction.

    The place is in the first layer, in the order of `trace`, with an output whose slopes on the two sides differ by
    more than curvature makes them: by a share of the slope, not by a share of the step.

    Parameters
    ----------
    point : Point
        The point at which F is looked at.
    direction : dict
        The direction, one array for each of the point's arrays that move.

    Returns
    -------
    str or None
        The layer's path and class, and the index of the output; None where F is smooth.
    """
    h = STEPS[-1]
    traces = [trace(point, direction, t) for t in (-h, 0.0, h)]
    for (path, layer, _, low), (*_, middle), (*_, high) in zip(*traces, strict=True):
        with np.errstate(all="ignore"):
            # Beyond what curvature and rounding make of outputs of such slopes and sizes.
            allowed = 1e-4 * element_sizes((high - low) / (2 * h)) + 1e-7 * element_sizes(middle)
            excess = np.abs(high - 2 * middle + low) / h - allowed
        k = int(np.argmax(excess))
        if excess.flat[k] > 0:
            index = ", ".join(map(str, np.unravel_index(k, excess.shape)))
            return f"{path} {type(layer).__name__} output [{index}]".strip()
    return None
