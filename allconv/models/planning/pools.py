"""Planned pooling: a few calls for the rows of all windows, and a few for their columns."""

from functools import partial

import numpy as np

from allconv.functional.padding import resolve_padding
from allconv.functional.windows import PoolWindows, Taps, pool_windows
from allconv.layers.global_average_pool import GlobalAveragePool2D
from allconv.layers.max_pool import MaxPool2D
from allconv.layers.mean_pool import MeanPool2D
from allconv.models.planning.builder import NO_MARGINS, Builder, Stored, apply, divided_batch
from allconv.parallel.stages import Part
from allconv.typing import Array

# Bounds the numbers of a pooled batch that two threads share from below, as a number.
_LEAST_SHARED = 1 << 17

# Bounds the positions whose mean is one product, as a number. More of them are added in parts, to keep their digits.
_FEW_POSITIONS = 128


def plan_pool(builder: Builder, layer: MaxPool2D | MeanPool2D, x: Stored, y: Stored) -> None:
    """Add a pool; its output goes to `y`."""
    source, target = x.values, y.values
    size = (source.shape[1], source.shape[2])
    pads = resolve_padding(layer.padding, size, layer.kernel_size, layer.stride, layer.dilation)
    windows = pool_windows(size, layer.kernel_size, layer.stride, pads, layer.dilation, layer.ceil_mode)
    if not _hold_no_padding(windows):
        return builder.add([partial(apply, layer, source, target)])
    count = 2 if source.size >= _LEAST_SHARED else 1
    parts = divided_batch(len(source), windows.out[0], count)
    return builder.add(
        *(
            _calls(builder, layer, source[part[0]], target[part], windows, part[1], str(k))
            for k, part in enumerate(parts)
        )
    )


def _hold_no_padding(windows: PoolWindows) -> bool:
    """Tell whether each window holds an input at each of its positions."""

    def everywhere(taps: Taps, kernel: int, out: int) -> bool:
        return len(taps) == kernel and all(part == slice(0, out) for part, _ in taps)

    return everywhere(windows.rows, windows.kernel[0], windows.out[0]) and everywhere(
        windows.columns, windows.kernel[1], windows.out[1]
    )


def _calls(
    builder: Builder,
    layer: MaxPool2D | MeanPool2D,
    source: Array,
    target: Array,
    windows: PoolWindows,
    rows: slice,
    name: str,
) -> Part:
    """Return the calls for some rows of the output."""
    ufunc = np.maximum if isinstance(layer, MaxPool2D) else np.add
    by_row = [source[:, inputs][:, rows] for _, inputs in windows.rows]
    wide = builder.scratch("half" + name, by_row[0].shape)
    by_column = [wide[:, :, inputs] for _, inputs in windows.columns]
    calls = [*_combined(ufunc, by_row, wide), *_combined(ufunc, by_column, target)]
    if isinstance(layer, MeanPool2D):
        divisor = np.array(windows.kernel[0] * windows.kernel[1], builder.dtype)
        calls.append(partial(np.divide, target, divisor, out=target))
    return calls


def _combined(ufunc: np.ufunc, taps: list[Array], out: Array) -> list[partial[object]]:
    """Return the calls that combine the inputs at each position of the windows."""
    if len(taps) == 1:
        return [partial(np.positive, taps[0], out=out)]
    first, second, *others = taps
    return [partial(ufunc, first, second, out=out), *(partial(ufunc, out, tap, out=out) for tap in others)]


def plan_mean(builder: Builder, layer: GlobalAveragePool2D, x: Stored, y: Stored) -> None:
    """Add a global average pool; its output goes to `y`."""
    images, height, width, channels = x.values.shape
    positions = height * width
    if positions > _FEW_POSITIONS or (x.margins, y.margins) != (NO_MARGINS, NO_MARGINS):
        return builder.add([partial(apply, layer, x.values, y.values)])
    shares = np.full((1, positions), 1 / positions, builder.dtype)
    source, target = x.whole.reshape(images, positions, channels), y.whole.reshape(images, 1, channels)
    return builder.add([partial(np.matmul, shares, source, out=target)])
