"""Draw the pictures of the chapters in docs/learn: those of operations first, then those of measurements.

python docs/figures/learn.py
"""

import sys
from pathlib import Path

import numpy as np
from learn_measured import dilated, optimizers, trust, winograd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from style import BLUE, FAINT, FOLDER, GREY, INK, ORANGE, save


def canvas(width: float, height: float, inches: float = 7.0) -> tuple[Figure, Axes]:
    """Return a figure whose axes have no frame, and square units that count from the top."""
    figure = Figure(figsize=(inches, inches * height / width))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.axis("off")
    return figure, axes


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, text: str = "") -> None:
    """Draw an arrow, and a text above its middle."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color=colour, lw=1.5))
    if text:
        axes.text((start[0] + end[0]) / 2, min(start[1], end[1]) - 0.14, text, color=colour, ha="center", va="bottom")


def box(axes: Axes, x: float, y: float, size: tuple[float, float], text: str, colour: str) -> None:
    """Draw a box around its centre, and a text in it."""
    w, h = size
    shape = FancyBboxPatch((x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0,rounding_size=0.12", lw=1.4)
    shape.set(facecolor=colour + "2b", edgecolor=colour)
    axes.add_patch(shape)
    axes.text(x, y, text, ha="center", va="center")


def grid(axes: Axes, x: float, y: float, numbers: np.ndarray, theme: str, colour: str = BLUE, text: str = "") -> None:
    """Draw a matrix as squares, darker for larger numbers; `text` formats a number that is not 0."""
    largest = np.abs(numbers).max() or 1.0
    for (row, column), value in np.ndenumerate(numbers):
        square = Rectangle((x + column, y + row), 1, 1, ec=FAINT[theme], lw=1, fc=colour)
        square.set_alpha(0.08 + 0.6 * abs(value) / largest)
        axes.add_patch(square)
        if text and value:
            axes.text(x + column + 0.5, y + row + 0.5, text.format(value), ha="center", va="center", fontsize=8)


def frame(axes: Axes, x: float, y: float, width: float, height: float) -> None:
    """Draw an empty frame around some squares."""
    axes.add_patch(Rectangle((x, y), width, height, fc="none", ec=ORANGE, lw=2.4))


def layer(theme: str) -> Figure:
    """Two layers and a loss, with what passes between them in both directions."""
    figure, axes = canvas(14, 4.2)
    for x, name in ((3.2, "layer 1"), (7.2, "layer 2"), (11.2, "loss")):
        box(axes, x, 1.6, (1.9, 1.5), name, GREY)
    names = ("$x$", "$y_1$", "$y_2$")
    for x, name in zip((0.4, 4.4, 8.4), names, strict=True):
        arrow(axes, (x, 1.25), (x + 1.7, 1.25), BLUE, name)
        arrow(axes, (x + 1.7, 2.0), (x, 2.0), ORANGE)
        axes.text(x + 0.85, 2.12, f"$d{name.strip('$')}$", color=ORANGE, ha="center", va="top")
    arrow(axes, (12.25, 1.6), (13.6, 1.6), BLUE, "$L$")
    for x in (3.2, 7.2):
        box(axes, x, 3.5, (1.5, 0.7), "cache", BLUE)
        axes.plot([x, x], [2.4, 3.1], color=INK[theme], lw=1, ls=":")
    return figure


def linear(theme: str) -> Figure:
    """The three products of a linear layer, each matrix with its shape."""
    figure, axes = canvas(15, 8.6)
    N, inputs, outputs = 3, 2, 1.4
    products = (
        (r"$Y$", (N, outputs), r"$X$", (N, inputs), r"$W$", (inputs, outputs), "forward"),
        (r"$dX$", (N, inputs), r"$dY$", (N, outputs), r"$W^\top$", (outputs, inputs), "the outputs are summed over"),
        (r"$dW$", (inputs, outputs), r"$X^\top$", (inputs, N), r"$dY$", (N, outputs), "the examples are summed over"),
    )
    for row, product in enumerate(products):
        middle, x = 1.5 + 2.75 * row, 0.5
        for index, sign in ((0, "="), (2, r"$\cdot$"), (4, "")):
            name, (height, width) = product[index], product[index + 1]
            h, w = 0.8 * height, 0.8 * width
            colour = ORANGE if "d" in name else BLUE
            shape = Rectangle((x, middle - h / 2), w, h, fc=colour + "2b", ec=colour, lw=1.4)
            axes.add_patch(shape)
            axes.text(x + w / 2, middle, name, ha="center", va="center", fontsize=12)
            axes.text(x + w + 0.35, middle, sign, ha="center", va="center", fontsize=13)
            x += w + 0.7
        axes.text(8.2, middle, product[6], va="center", color=INK[theme])
    return figure


def convolution(theme: str) -> Figure:
    """A window gathered into a number, and a number scattered over the window."""
    figure, axes = canvas(27, 8.2)
    pixels = np.random.default_rng(3).random((6, 6))
    places = np.zeros((6, 6))
    places[1:4, 2:5] = np.random.default_rng(5).random((3, 3)) + 0.3
    for x, left, colour in ((0.5, pixels, BLUE), (14.5, places, ORANGE)):
        grid(axes, x, 1.5, left, theme, colour)
        grid(axes, x + 8, 2.5, np.zeros((4, 4)), theme, colour)
        axes.add_patch(Rectangle((x + 10, 3.5), 1, 1, fc=colour))
        frame(axes, x + 2, 2.5, 3, 3)
        for y, end in ((2.5, 3.5), (5.5, 4.5)):
            axes.plot([x + 5, x + 10], [y, end], color=ORANGE, lw=1.1)
    axes.text(6.5, 0.8, "forward gathers: $y_{ij} = \\sum x_{i+u,\\,j+v}\\,W_{uv}$", ha="center")
    axes.text(20.5, 0.8, "backward scatters: $dx_{i+u,\\,j+v}$ += $dy_{ij}\\,W_{uv}$", ha="center")
    return figure


def same(theme: str) -> Figure:
    """Where the windows of TensorFlow and of PyTorch stand on six pixels."""
    figure, axes = canvas(17, 8.4)
    for top, first, zeros, name in (
        (0.8, 0, (6,), "TensorFlow, padding 'same'"),
        (5.0, -1, (-1, 6), "PyTorch, padding=1"),
    ):
        axes.text(0.4, top - 0.2, name, va="bottom")
        for pixel in range(-1, 7):
            if 0 <= pixel < 6 or pixel in zeros:
                inside = 0 <= pixel < 6
                square = Rectangle((2 + pixel, top), 1, 1, fc=BLUE if inside else "none", ec=INK[theme], lw=1)
                square.set(alpha=0.45 if inside else 1, ls="-" if inside else ":")
                axes.add_patch(square)
                axes.text(2.5 + pixel, top + 0.5, str(pixel) if inside else "0", ha="center", va="center")
        for index in range(3):
            start, y = 2 + first + 2 * index, top + 1.35 + 0.5 * index
            axes.plot([start + 0.08, start + 2.92], [y, y], color=ORANGE, lw=4, solid_capstyle="butt")
            axes.text(10.2, y, f"$y_{index}$ sees {describe(first + 2 * index)}", va="center", fontsize=9)
    return figure


def describe(start: int) -> str:
    """Return the pixels of a window of three in words."""
    pixels = [str(pixel) if 0 <= pixel < 6 else "zero" for pixel in range(start, start + 3)]
    return ", ".join(pixels)


def pooling(theme: str) -> Figure:
    """An image, and the gradients that a mean and a maximum give back to it."""
    figure, axes = canvas(20, 6.4)
    pixels = np.random.default_rng(1).permutation(np.arange(1.0, 17)).reshape(4, 4)
    windows = pixels.reshape(2, 2, 2, 2)
    largest = windows == windows.max(axis=(1, 3), keepdims=True)
    mean, maximum = np.full((4, 4), 0.25), largest.reshape(4, 4) * 1.0
    for x, numbers, colour, text, name in (
        (1.5, pixels, BLUE, "{:.0f}", "$x$"),
        (8.0, mean, ORANGE, "{:.2f}", "$dx$ of the mean"),
        (14.5, maximum, ORANGE, "{:.0f}", "$dx$ of the maximum"),
    ):
        grid(axes, x, 1.5, numbers, theme, colour, text)
        axes.text(x + 2, 1.1, name, ha="center")
        for row, column in np.ndindex(2, 2):
            frame(axes, x + 2 * column, 1.5 + 2 * row, 2, 2)
    return figure


def softmax(theme: str) -> Figure:
    """Scores, probabilities, and the gradient of the cross-entropy."""
    scores = np.array([1.0, 2.5, -0.5, 0.5, 1.8])
    p = np.exp(scores) / np.exp(scores).sum()
    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    texts = ("scores $s$", "probabilities $p$", "gradient $p - [k = t]$, for $t = 0$")
    for axes, values, text in zip(figure.subplots(1, 3), (scores, p, p - np.eye(5)[0]), texts, strict=True):
        colours = [ORANGE if value < 0 else BLUE for value in values]
        axes.bar(range(5), values, color=colours)
        axes.axhline(0, color=INK[theme], lw=0.8)
        axes.set_title(text, fontsize=10)
        axes.set_xlabel("class")
    return figure


FIGURES = {
    "layer": layer,
    "linear": linear,
    "convolution": convolution,
    "same": same,
    "pooling": pooling,
    "softmax": softmax,
    "optimizers": optimizers,
    "dilated": dilated,
    "winograd": winograd,
    "trust": trust,
}


def main(folder: Path = FOLDER) -> None:
    """Write all pictures into a folder."""
    for name, draw in FIGURES.items():
        save(f"learn_{name}", draw, note="docs/figures/learn.py", folder=folder)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
