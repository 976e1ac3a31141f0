"""Draw the pictures of the chapters that show measurements: each runs the code of its chapter."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from style import BLUE, FAINT, GREY, INK, ORANGE

import allconv as ac

CHAPTERS = Path(__file__).resolve().parents[1] / "learn"


@cache
def names_of(chapter: str) -> dict[str, Any]:
    """Run the program of a chapter, and return the names that it has defined."""
    text = (CHAPTERS / f"{chapter}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec("\n".join(block for block in blocks if ">>>" not in block), names)
    return names


def optimizers(theme: str) -> Figure:
    """The paths of four optimizers in the valley, and Adam's wrong way beside AMSGrad's right one."""
    names = names_of("07_optimizers")
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    a, b = np.meshgrid(np.linspace(-1.9, 1.5, 200), np.linspace(-0.7, 2.2, 200))
    levels = np.geomspace(0.05, 60, 14)
    left.contour(a, b, (1 - a) ** 2 + 10 * (b - a * a) ** 2, levels, colors=FAINT[theme], linewidths=0.8)
    article = {"betas": (0.9, 0.9), "bias_correction": "none", "maximum": "tensor"}
    for label, colour, optimizer_of in (
        ("gradient descent", GREY, lambda w: ac.SGD(w, 0.008)),
        ("momentum", BLUE, lambda w: ac.SGD(w, 0.008, momentum=0.9)),
        ("Adam", ORANGE, lambda w: ac.Adam(w, 0.1)),
        ("AMSGrad of the article", INK[theme], lambda w: ac.AMSGrad(w, 0.1, **article)),
    ):
        path = np.vstack([[-1.5, 1.5], names["ours"](optimizer_of)])
        left.plot(*path.T, ".-", ms=2.5, lw=1, color=colour, label=label)
    left.plot(1, 1, "*", ms=10, color=INK[theme])
    left.set(title="100 steps in a valley", xlabel="$a$", ylabel="$b$")
    left.legend(fontsize=7, loc="upper center")
    steps = range(0, 1501, 25)
    for label, colour, kind in (("Adam", ORANGE, ac.Adam), ("AMSGrad", INK[theme], ac.AMSGrad)):
        places = [names["walk"](lambda w, kind=kind: kind(w, **names["forgetful"]), steps=n) for n in steps]
        right.plot(steps, places, color=colour, label=label)
    right.axhline(-1, color=GREY, ls=":", lw=1)
    right.set(title="The weight should go to -1", xlabel="step", ylabel="weight", ylim=(-1.15, 1.15))
    right.legend(fontsize=8)
    return figure


def dilated(theme: str) -> Figure:
    """The work done so far on the way around a circle in the plane of two weights."""
    names = names_of("08_dilated_gradient")
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    for label, colour, model in (
        ("without a shortcut", GREY, names["network"](0.0)),
        ("in both passes", BLUE, names["network"](0.8)),
        ("in the backward pass alone", ORANGE, names["network"](0.8, in_forward=False)),
    ):
        work = names["path_of_work"](model)
        axes.plot(np.linspace(0, 360, len(work)), work, color=colour, label=label)
        axes.plot(360, work[-1], "o", color=colour, ms=5)
    axes.axhline(0, color=INK[theme], lw=0.8)
    axes.set(xlabel="angle on the circle (degrees)", ylabel="work so far", xticks=range(0, 361, 90))
    axes.legend(fontsize=8)
    return figure


def winograd(theme: str) -> Figure:
    """Products an output, and the error of one layer in float32, for the definition and for tiles of three sizes."""
    from allconv.functional.winograd.bilinear import matrices

    rng = np.random.default_rng(0)
    channels, side = 64, 24
    x, g = rng.standard_normal((side + 2, side + 2, channels)), rng.standard_normal((3, 3, channels))
    g *= np.sqrt(2 / (9 * channels))
    exact = sum(x[u : u + side, v : v + side] @ g[u, v] for u, v in np.ndindex(3, 3))
    single, kernel = x.astype(np.float32), g.astype(np.float32)
    direct = sum(single[u : u + side, v : v + side] @ kernel[u, v] for u, v in np.ndindex(3, 3))
    products, errors = [9.0], [np.max(np.abs(direct - exact)) / np.max(np.abs(exact))]
    for m in (2, 4, 6):
        B, G, A = (np.array(matrix, np.float32) for matrix in matrices(m, 3))
        U = np.einsum("pu,qv,uvc->pqc", G, G, kernel)
        y = np.zeros((side, side), np.float32)
        for i, j in np.ndindex(side // m, side // m):
            tile = single[i * m : i * m + m + 2, j * m : j * m + m + 2]
            M = (np.einsum("pu,qv,uvc->pqc", B, B, tile) * U).sum(axis=2)
            y[i * m : i * m + m, j * m : j * m + m] = A @ M @ A.T
        products.append((m + 2) ** 2 / m**2)
        errors.append(np.max(np.abs(y - exact)) / np.max(np.abs(exact)))
    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    labels = ["definition", "$F(2, 3)$", "$F(4, 3)$", "$F(6, 3)$"]
    for axes, values, title, colour in zip(
        figure.subplots(1, 2),
        (products, errors),
        ("products an output", "error in float32"),
        (BLUE, ORANGE),
        strict=True,
    ):
        bars = axes.bar(labels, values, color=colour)
        axes.bar_label(bars, [f"{value:.3g}" if value > 1 else f"{value:.0e}" for value in values], fontsize=8)
        axes.set_title(title, fontsize=10)
        axes.tick_params(axis="x", labelsize=8)
        axes.spines["bottom"].set_color(INK[theme])
    axes.set(yscale="log", ylim=(5e-8, 2e-5))
    axes.tick_params(axis="y", which="minor", labelleft=False)
    return figure


def trust(theme: str) -> Figure:
    """The error of a central difference against its step, and three trainings of the reader's own library."""
    names = names_of("10_trust")
    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = np.logspace(-13, 0, 60)
    left.loglog(steps, [max(names["error_of_difference"](h), 1e-14) for h in steps], ".-", color=BLUE, lw=1)
    left.axvspan(1e-6, 1e-4, color=ORANGE, alpha=0.2)
    left.set(title="a central difference of tanh", xlabel="step $h$", ylabel="error")
    for label, colour, losses in (
        ("right", BLUE, names["losses"]),
        ("average undivided", GREY, names["broken"]),
        ("kernel flipped", ORANGE, names["damaged"]),
    ):
        right.plot(range(1, len(losses) + 1), losses, ".-", color=colour, label=label)
    right.set(title="a library of your own", xlabel="epoch", ylabel="training loss", ylim=(0, None))
    right.legend(fontsize=8)
    right.spines["left"].set_color(INK[theme])
    return figure
