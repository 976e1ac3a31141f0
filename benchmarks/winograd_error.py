"""Measure what Winograd's convolution loses in float32, and write the tables of docs/understand/winograd.md.

    python benchmarks/winograd_error.py [--seeds 3]

An error is the largest difference from the definition in float64, in units of the largest number of the same array.
Inputs and upstream gradients are drawn from the normal distribution, and weights as `he_normal` does.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

import allconv as ac
from allconv.functional import im2col, tuning, winograd
from allconv.functional.geometry import Geometry, geometry_of
from allconv.functional.winograd.error import error_bound
from allconv.functional.winograd.tiling import best_tile
from allconv.typing import Array, Pair

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "_static" / "results"

KERNELS = [(3, 3), (3, 5), (4, 4), (5, 5), (3, 7), (6, 6), (5, 7), (7, 7)]
STRIDES = [(1, 1), (2, 2)]
CHANNELS = [16, 64, 96, 192, 512]
OUTLIERS = [1e2, 1e4, 1e6, 1e8]
PASSES = {"y": "Output", "dx": "Input gradient", "dw": "Kernel gradient"}


class Case(NamedTuple):
    """A convolution with its numbers in float32."""

    geometry: Geometry
    x: Array
    weight: Array
    dy: Array


def bound_of(geometry: Geometry) -> float:
    """Return the stated bound of the error."""
    kernel, stride, channels = geometry.kernel, geometry.stride, geometry.channels
    return error_bound(kernel, stride, best_tile(kernel, stride, channels), channels)


def draw(kernel: Pair, stride: Pair, channels: int, seed: int, images: int = 2, size: int = 16) -> Case:
    """Return a convolution with as many input as output channels."""
    rng = np.random.default_rng(seed)
    shape = (*kernel, channels, channels)
    x = rng.standard_normal((images, size, size, channels), np.float32)
    weight = ac.initializers.he_normal(rng, shape, np.dtype(np.float32))
    geometry = geometry_of(x.shape, shape, stride, "same", (1, 1), 1)
    return Case(geometry, x, weight, rng.standard_normal(geometry.y_shape, np.float32))


def results(module: ModuleType, case: Case, dtype: DTypeLike) -> dict[str, Array]:
    """Return y, dx and dw of an algorithm."""
    x, weight, dy = (np.asarray(array, dtype) for array in (case.x, case.weight, case.dy))
    return {
        "y": module.forward(x, weight, case.geometry),
        "dx": module.input_grad(dy, weight, case.geometry),
        "dw": module.weight_grad(x, dy, case.geometry),
    }


def error(value: Array, exact: Array) -> float:
    """Return the largest difference, in units of the largest number."""
    return float(np.abs(value - exact).max() / np.abs(exact).max())


def errors(case: Case) -> dict[str, tuple[float, float]]:
    """Return the errors of Winograd's convolution and of im2col, for y, dx and dw."""
    exact = results(im2col, case, np.float64)
    ours, direct = (results(module, case, np.float32) for module in (winograd, im2col))
    return {name: (error(ours[name], exact[name]), error(direct[name], exact[name])) for name in PASSES}


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def millionths(value: float) -> str:
    """Return a number in units of 1e-6, with two digits."""
    return f"{1e6 * value:.1f}" if value < 1e-5 else f"{1e6 * value:.0f}"


def error_tables(seeds: int) -> str:
    """Return the tables of errors by kernel, stride and channels, and the table of their bounds."""
    measured: dict[str, list[list[str]]] = {name: [] for name in PASSES}
    bounds = []
    for kernel, stride in ((kernel, stride) for kernel in KERNELS for stride in STRIDES):
        title = [f"{kernel[0]}x{kernel[1]}", str(stride[0])]
        worst = []
        for channels in CHANNELS:
            drawn = [errors(draw(kernel, stride, channels, seed)) for seed in range(seeds)]
            worst.append({name: np.max([one[name] for one in drawn], axis=0) for name in PASSES})
        print(*title, flush=True)
        for name, rows in measured.items():
            rows.append(title + [f"{millionths(one[name][0])} ({millionths(one[name][1])})" for one in worst])
        bounds.append(title + [bound_cell(kernel, stride, channels) for channels in CHANNELS])
    head = ["kernel", "stride", *(f"{channels} channels" for channels in CHANNELS)]
    return (
        "\n".join(
            f"{title}:\n\n{markdown(head, rows)}"
            for title, rows in ((f"{PASSES[name]}, Winograd (im2col)", measured[name]) for name in PASSES)
        )
        + f"\nThe bound of all three:\n\n{markdown(head, bounds)}"
    )


def bound_cell(kernel: Pair, stride: Pair, channels: int) -> str:
    """Return the bound, the number m of outputs of a tile, and a mark where "auto" takes im2col for its error."""
    sizes = geometry_of((16, 32, 32, channels), (*kernel, channels, channels), stride, "same", (1, 1), 1)
    mark = "" if bound_of(sizes) <= tuning.WINOGRAD.most_error else "†"
    return f"{millionths(bound_of(sizes))}, m = {best_tile(kernel, stride, sizes.channels)}{mark}"


def far_outputs(geometry: Geometry, place: Pair) -> Array:
    """Return a mask (H_out, W_out) of the outputs whose windows do not hold a place of the input."""
    single = geometry_of((1, *geometry.x_shape[1:3], 1), (*geometry.kernel, 1, 1), geometry.stride, "same", (1, 1), 1)
    mark = np.zeros(single.x_shape)
    mark[0, *place, 0] = 1
    return np.asarray(im2col.forward(mark, np.ones((*geometry.kernel, 1, 1)), single)[0, :, :, 0] == 0)


def with_outliers(case: Case, outlier: float) -> Iterator[tuple[Case, Array]]:
    """Yield copies of a case with an outlier at one place of an image, and the mask of the outputs far from it."""
    for place in ((5, 5), (5, 6), (6, 6), (7, 8), (8, 8)):
        x = case.x.copy()
        x[0, *place, 3] = outlier
        yield case._replace(x=x), far_outputs(case.geometry, place)


def outlier_errors(case: Case, outlier: float) -> tuple[float, float]:
    """Return the largest error far from an outlier, as a plain number, of Winograd's convolution and of im2col."""
    found = []
    for other, far in with_outliers(case, outlier):
        exact = im2col.forward(other.x.astype(np.float64), other.weight.astype(np.float64), case.geometry)
        found.append(
            [
                np.abs(module.forward(other.x, other.weight, case.geometry) - exact)[0][far].max()
                for module in (winograd, im2col)
            ]
        )
    ours, direct = np.max(found, axis=0)
    return ours, direct


def spoiled(case: Case, outlier: float) -> tuple[int, int]:
    """Return how many pixels of an output are not finite at most, of Winograd's convolution and of im2col."""
    counts = []
    with np.errstate(all="ignore"):
        for other, _ in with_outliers(case, outlier):
            outputs = [module.forward(other.x, other.weight, case.geometry)[0] for module in (winograd, im2col)]
            counts.append([np.sum(~np.isfinite(y).all(axis=2)) for y in outputs])
    ours, direct = np.max(counts, axis=0)
    return int(ours), int(direct)


def outlier_tables() -> str:
    """Return the errors far from an outlier, and how far values that are not finite spread."""
    rows = []
    for kernel, stride in (((3, 3), (1, 1)), ((3, 3), (2, 2)), ((5, 5), (1, 1))):
        case = draw(kernel, stride, 96, 0, images=1)
        title = [f"{kernel[0]}x{kernel[1]}", str(stride[0])]
        pairs = [outlier_errors(case, outlier) for outlier in OUTLIERS]
        rows.append(title + [f"{ours:.0e} ({direct:.0e})" for ours, direct in pairs])
        rows[-1].append(f"{bound_of(case.geometry) * np.abs(case.weight).max():.0e}")
    head = ["kernel", "stride", *(f"outlier {value:.0e}" for value in OUTLIERS), "bound for an outlier of 1"]
    case = draw((3, 3), (1, 1), 96, 0, images=1)
    counts = [[f"{value}", *map(str, spoiled(case, value))] for value in (np.nan, np.inf, 1e38)]
    return f"{markdown(head, rows)}\n{markdown(['one input is', 'Winograd', 'im2col'], counts)}"


def net_table() -> str:
    """Return the errors in the layers of two of the article's networks, on normalized images."""
    convpool = ac.models.article_net("convpool", activation="relu", rng=np.random.default_rng(0))
    allcnn = ac.models.article_net("allcnn", dilated=True, rng=np.random.default_rng(0))
    ac.load_weights(allcnn, ROOT / "docs" / "weights" / "allcnn_h.npz")
    images = ac.data.per_step(ac.data.shapes(8, seed=0).images)
    rows = []
    for name, model in (("ConvPool, new", convpool), ("All-CNN, trained", allcnn)):
        x: Array = images
        for place, layer in enumerate(model):
            # The body of a Skip has the same input as the Skip.
            conv = dict(layer.body.children())["0"] if isinstance(layer, ac.Skip) else layer
            if isinstance(conv, ac.Conv2D) and conv.kernel_size == (3, 3):
                sizes, weight = conv.geometry(x.shape), conv.weight.value
                exact = im2col.forward(x.astype(np.float64), weight.astype(np.float64), sizes)
                ours, direct = (error(module.forward(x, weight, sizes), exact) for module in (winograd, im2col))
                largest = np.abs(x).max() / np.sqrt(np.mean(x**2, dtype=np.float64))
                title = [name, str(place), str(conv.in_channels), f"{largest:.0f}"]
                rows.append([*title, millionths(ours), millionths(direct)])
            x = layer(x)
    return markdown(["net", "layer", "channels", "largest input, in rms", "Winograd", "im2col"], rows)


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="draws of each convolution (default: 3)")
    arguments = parser.parse_args()
    tables: dict[str, Callable[[], str]] = {
        "winograd_outliers.md": outlier_tables,
        "winograd_nets.md": net_table,
        "winograd_errors.md": partial(error_tables, arguments.seeds),
    }
    for name, table in tables.items():
        text = table()
        (RESULTS / name).write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
