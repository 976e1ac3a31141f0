"""Draw the pictures of the five doors, and the way of the data.

python docs/figures/doors.py
"""

import csv
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from style import BLUE, FAINT, GREY, INK, ORANGE, save

ROOT = Path(__file__).resolve().parents[2]


def canvas(width: float, height: float, inches: float = 3.2) -> tuple[Figure, Axes]:
    """Return a figure whose axes have no frame, and square units."""
    figure = Figure(figsize=(inches, inches * height / width))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.axis("off")
    return figure, axes


def box(axes: Axes, x: float, y: float, size: tuple[float, float], text: str, colour: str, **font: object) -> None:
    """Draw a box with rounded corners around its centre, and a text in it."""
    (w, h), r = size, 0.12
    shape = FancyBboxPatch(
        (x - w / 2 + r, y - h / 2 + r),
        w - 2 * r,
        h - 2 * r,
        boxstyle=f"round,pad={r}",
        fc=colour + "2b",
        ec=colour,
        lw=1.4,
    )
    axes.add_patch(shape)
    axes.text(x, y, text, ha="center", va="center", **font)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, **options: object) -> None:
    """Draw an arrow between two points."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, color=colour, lw=1.4, **options))


def learn(theme: str) -> Figure:
    """A 3x3 window of an image, and the one number of the output that it gives."""
    figure, axes = canvas(12, 7.5)
    pixels = np.random.default_rng(3).random((6, 6))
    for (row, column), value in np.ndenumerate(pixels):
        axes.add_patch(Rectangle((0.5 + column, 0.75 + row), 1, 1, fc=BLUE, alpha=0.15 + 0.5 * value, ec=FAINT[theme]))
    for row, column in np.ndindex(4, 4):
        axes.add_patch(Rectangle((7.5 + column, 1.75 + row), 1, 1, fc=FAINT[theme], ec=INK[theme], lw=0.5, alpha=0.6))
    axes.add_patch(Rectangle((2.5, 2.75), 3, 3, fc="none", ec=ORANGE, lw=2.5))
    axes.add_patch(Rectangle((9.5, 3.75), 1, 1, fc=ORANGE, ec=ORANGE))
    for y, end in ((5.75, 4.75), (2.75, 3.75)):
        axes.plot([5.5, 9.5], [y, end], color=ORANGE, lw=1.2)
    return figure


def howto(theme: str) -> Figure:
    """A network of layers, with a layer of one's own among them."""
    figure, axes = canvas(12, 7.5)
    rows = (("Conv2D", BLUE), ("YourLayer", ORANGE), ("ReLU", BLUE), ("Linear", BLUE))
    for row, (name, colour) in enumerate(rows):
        box(
            axes,
            6,
            6.55 - 1.75 * row,
            (6.5 if colour == BLUE else 7.5, 1.25),
            name,
            colour,
            family="monospace",
            fontsize=10,
        )
        if row:
            arrow(axes, (6, 7.75 - 1.75 * row), (6, 7.1 - 1.75 * row), INK[theme])
    return figure


def understand(_theme: str) -> Figure:
    """The two passes: the outputs and their caches go forward, the gradients come back."""
    figure, axes = canvas(12, 7.5)
    for x, name in ((2, "layer"), (6, "layer"), (10, "loss")):
        box(axes, x, 3.75, (2.4, 2.0), name, GREY, fontsize=10)
    for x in (3.3, 7.3):
        arrow(axes, (x, 4.3), (x + 1.4, 4.3), BLUE)
        arrow(axes, (x + 1.4, 3.2), (x, 3.2), ORANGE)
    axes.text(6, 6.3, "forward: y, cache", ha="center", color=BLUE, fontsize=11)
    axes.text(6, 1.0, "backward: dx", ha="center", color=ORANGE, fontsize=11)
    return figure


def experiment(_theme: str) -> Figure:
    """The published test accuracies of the eight cases: ConvPool-CNN above, All-CNN below."""
    figure = Figure(figsize=(3.2, 2.0))
    axes = figure.add_axes((0.03, 0.05, 0.94, 0.9))
    with (ROOT / "examples" / "published_curves.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for case in "abcdefgh":
        curve = [float(row["test_accuracy"]) for row in rows if row["case"] == case]
        axes.plot(curve, color=BLUE if case in "abcd" else ORANGE, lw=1.2)
    axes.set(xticks=[], yticks=[], ylim=(0.55, 0.91))
    return figure


def reference(_theme: str) -> Figure:
    """The equations of a linear layer, as its page has them."""
    figure, axes = canvas(12, 7.5)
    axes.text(6, 5.7, r"$y = x\,W + b$", ha="center", va="center", size=17, color=BLUE)
    axes.text(6, 3.6, r"$dx = dy\,W^{T}$", ha="center", va="center", size=15, color=ORANGE)
    axes.text(6, 1.6, r"$dW = x^{T} dy$", ha="center", va="center", size=15, color=ORANGE)
    return figure


def way(_theme: str) -> Figure:
    """The way of the data through one training step: forward above, back below."""
    figure, axes = canvas(24, 9.2, inches=9.6)
    columns, above, below = [2.0 + 5.0 * column for column in range(5)], 6.7, 2.0
    stations = [
        *((0, above, "Dataset", GREY), (1, above, "Loader", GREY), (2, above, "augment\nnormalize", GREY)),
        *((3, above, "model\n.forward", BLUE), (4, above, "loss", ORANGE), (3, below, "model\n.backward", ORANGE)),
        *((2, below, "optimizer\n.step", ORANGE), (1, below, "record", GREY)),
    ]
    for column, y, name, colour in stations:
        box(axes, columns[column], y, (3.3, 1.9), name, colour, fontsize=12, family="monospace")
    steps = [
        *((0, above, 1, "uint8\nN, H, W, C", GREY), (1, above, 1, "one batch\nuint8", GREY)),
        *((2, above, 1, "float32", BLUE), (3, above, 1, "scores", BLUE)),
        *((3, below, -1, "gradients", ORANGE), (2, below, -1, "values", GREY)),
    ]
    for column, y, step, note, colour in steps:
        x = columns[column] + 1.7 * step
        arrow(axes, (x, y), (x + 1.6 * step, y), colour)
        axes.text(x + 0.8 * step, y + 1.15, note, ha="center", va="bottom", fontsize=10, color=colour)
    arrow(axes, (columns[4], above - 1), (columns[3] + 1.7, below + 0.3), ORANGE)
    axes.text(columns[4] - 0.9, 3.9, "dscores", fontsize=10, color=ORANGE)
    arrow(axes, (columns[3], above - 1), (columns[3], below + 1), GREY, linestyle=":")
    axes.text(columns[3] + 0.2, 4.3, "cache", fontsize=10, color=GREY)
    arrow(axes, (columns[2], below + 1), (columns[3] - 1.2, above - 1), GREY, linestyle=":")
    axes.text(columns[2] + 0.9, 4.3, "new weights", ha="right", fontsize=10, color=GREY)
    return figure


if __name__ == "__main__":
    for drawing in (learn, howto, understand, experiment, reference, way):
        save(drawing.__name__, drawing)
