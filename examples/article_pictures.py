"""Pictures of a network in training: the filters of its first layer, and the statistics of its layers by epoch."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import allconv as ac
from allconv.typing import Array
from allconv.validation import describe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Entry = dict[str, Any]  # The statistics of one epoch, in values that a checkpoint and JSON can hold.
ACTIVATIONS = ("ELU", "ReLU")


def statistics_entry(epoch: int, rows: Sequence[ac.LayerStatistics]) -> Entry:
    """Return an epoch's statistics as plain values; None stands for a number that is not finite."""
    return {"epoch": epoch, "layers": [_plain(asdict(row)) for row in rows]}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_filters(folder: Path, weight: Array) -> None:
    """Draw the filters of the first layer into filters.png, row by row in their order in the weight.

    Each filter is scaled by its own largest absolute value. So 0 is the same grey in all filters, and the sizes of two
    filters cannot be compared. A filter with a NaN or an infinity is black.

    Parameters
    ----------
    folder : Path
        It is made if it is missing; its parent must exist.
    weight : array (K_h, K_w, 3, filters)
        Its channels are red, green and blue.

    Raises
    ------
    ValueError
        For a weight of another shape.
    ImportError
        Without matplotlib; the extra `plot` brings it.
    """
    if weight.ndim != 4 or weight.shape[2] != 3 or weight.size == 0:
        raise ValueError(f"weight must have shape (K_h, K_w, 3, filters), got {describe(weight)}")
    from matplotlib.figure import Figure

    height, width, _, count = weight.shape
    columns = math.ceil(math.sqrt(1.5 * count))
    rows = math.ceil(count / columns)
    grid = np.ones((rows * (height + 1) - 1, columns * (width + 1) - 1, 3))
    for k in range(count):
        top, left = k // columns * (height + 1), k % columns * (width + 1)
        grid[top : top + height, left : left + width] = _colours(weight[..., k])

    figure = Figure(figsize=(8, 8 * rows / columns + 0.5), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(grid, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(
        f"The first layer's {count} filters, each scaled by its largest |weight|; 0 is grey", fontsize="medium"
    )
    _save(folder, "filters.png", figure)


def _colours(kernel: Array) -> Array:
    """Return a filter (K_h, K_w, 3) as colours in 0..1."""
    if not np.isfinite(kernel).all():
        return np.zeros(kernel.shape)
    largest = float(np.abs(kernel).max())
    return 0.5 + 0.5 * (kernel / largest if largest > 0 else kernel)


def write_statistics(folder: Path, history: Sequence[Entry]) -> None:
    """Draw the statistics of the layers over the epochs into statistics.png: six panels, one curve a convolution.

    Outputs and their gradients are taken after the activation that follows the convolution, or after the convolution if
    no activation follows. A filter is dead if its output there is constant on the whole batch.

    Parameters
    ----------
    folder : Path
        It is made if it is missing; its parent must exist.
    history : sequence of dict
        What `statistics_entry` returned for each epoch of one network; at least one epoch.

    Raises
    ------
    ValueError
        For an empty history, or one of a network without convolutions.
    ImportError
        Without matplotlib; the extra `plot` brings it.
    """
    if not history:
        raise ValueError("history must hold an epoch or more, got none")
    curves = [list(_convolutions(entry)) for entry in history]
    if not curves[0]:
        raise ValueError("history must be of a network with a convolution, got one without")
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [entry["epoch"] for entry in history]
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    panels = figure.subplots(2, 3)
    titles = {
        "mean": "Outputs: mean",
        "std": "Outputs: standard deviation",
        "zeros": "Outputs: share of zeros",
        "gradient": "rms of dL/d(output)",
        "weight_gradient": "rms of dL/d(weight)",
        "dead": "Dead filters",
    }
    for axes, (name, title) in zip(panels.flat, titles.items(), strict=True):
        drawn = []
        for k, layer in enumerate(curves[0]):
            values = [math.nan if of_epoch[k][name] is None else of_epoch[k][name] for of_epoch in curves]
            colour = colormaps["viridis"](k / len(curves[0]))
            axes.plot(epochs, values, ".-", color=colour, label=layer["label"])
            drawn += values
        axes.set(title=title, xlabel="epoch", xlim=(epochs[0] - 0.5, epochs[-1] + 0.5))
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if name.endswith("gradient") and any(value > 0 for value in drawn):
            axes.set_yscale("log")
        elif name == "dead":
            axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.set_ylim(-0.2, 1.05 * max([4, *(value for value in drawn if value > 0)]))
        elif name == "zeros":
            axes.set_ylim(-0.02, 1.02)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside right center", title="convolution")
    _save(folder, "statistics.png", figure)


def _convolutions(entry: Entry) -> Iterator[dict[str, Any]]:
    """Yield the values that are drawn for each convolution."""
    layers = entry["layers"]
    for layer, after in zip_longest(layers, layers[1:]):
        if layer["layer"].startswith("Conv2D"):
            seen = after if after is not None and after["layer"].startswith(ACTIVATIONS) else layer
            yield {
                "label": f"{layer['path']}: {layer['channels']} filters",
                "gradient": seen["gradient_rms"],
                "weight_gradient": layer["parameter_gradient_rms"].get("weight"),
                **{name: seen[name] for name in ("mean", "std", "zeros", "dead")},
            }


def _save(folder: Path, name: str, figure: "Figure") -> None:
    folder.mkdir(exist_ok=True)
    with ac.checkpoint.atomic_write(folder / name) as file:
        figure.savefig(file, format="png", dpi=120)
