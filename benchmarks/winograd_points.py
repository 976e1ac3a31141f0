r"""Measure how the points of Winograd's algorithm and the size of its tiles decide the error in float32.

    python benchmarks/winograd_points.py

The algorithms are computed by their matrices as the page docs/understand/winograd.md writes them. An error is the
largest difference from the definition in float64, in units of the largest number of the same array. The inputs are
4 x 16 x 16 normal numbers after a ReLU, with 96 channels in and out; weights are drawn as `he_normal` does.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike

import allconv as ac
from allconv.functional import im2col
from allconv.functional.geometry import geometry_of
from allconv.functional.winograd.bilinear import matrices
from allconv.tables import markdown
from allconv.typing import Array

TABLE = Path(__file__).resolve().parents[1] / "docs" / "_static" / "results" / "winograd_points.md"
IMAGES, SIDE, CHANNELS = 4, 16, 96
POINTS = ("0", "1", "-1", "2", "-1/2", "-2", "1/2")  # The library's, in the order in which it takes them.
USUAL = ("0", "1", "-1", "2", "-2")
ALGORITHMS = ((2, 3, POINTS), (4, 3, USUAL), (4, 3, POINTS), (6, 3, POINTS), (4, 5, POINTS))


class Algorithm(NamedTuple):
    """The three matrices of F(m, r), and its sizes."""

    input_matrix: Array
    kernel_matrix: Array
    output_matrix: Array
    m: int
    r: int


def algorithm(m: int, r: int, points: tuple[str, ...], dtype: DTypeLike) -> Algorithm:
    """Return F(m, r) with the given points, beside infinity."""
    exact = matrices(m, r, tuple(map(Fraction, points)))
    input_matrix, kernel_matrix, output_matrix = (np.array(matrix, dtype) for matrix in exact)
    return Algorithm(input_matrix, kernel_matrix, output_matrix, m, r)


def tiles(x: Array, size: int, step: int, before: int) -> Array:
    """Return the tiles of images within zeros, `step` apart along both axes: (N, T, T, C, size, size)."""
    count = -(-SIDE // step)
    padded = np.zeros((len(x), *[(count - 1) * step + size] * 2, x.shape[3]), x.dtype)
    padded[:, before : before + SIDE, before : before + SIDE] = x
    return sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::step, ::step]


def by_point(tensor: Array) -> Array:
    """Return (a, a, all places, channels) of transformed tiles (N, T, T, C, a, a)."""
    return np.moveaxis(tensor, (4, 5), (0, 1)).reshape(*tensor.shape[4:], -1, tensor.shape[3])


def convolve(by: Algorithm, x: Array, weight: Array) -> Array:
    """Return the convolution with "same" padding: Y = A^T M A with M = V U at each point."""
    before, size = (by.r - 1) // 2, by.m + by.r - 1
    windows = tiles(x, size, by.m, before)
    transformed = by_point(by.input_matrix @ windows @ by.input_matrix.T)
    kernel = by.kernel_matrix @ weight.transpose(2, 3, 0, 1) @ by.kernel_matrix.T
    products = transformed @ np.moveaxis(kernel, (2, 3), (0, 1))
    shape = (size, size, *windows.shape[:3], weight.shape[3])
    outputs = by.output_matrix @ np.moveaxis(products.reshape(shape), (0, 1), (4, 5)) @ by.output_matrix.T
    n, t = windows.shape[:2]  # Outputs are (N, T, T, O, m, m).
    image = outputs.transpose(0, 1, 4, 2, 5, 3).reshape(n, t * by.m, t * by.m, -1)
    result: Array = image[:, :SIDE, :SIDE]
    return result


def input_gradient(by: Algorithm, dy: Array, weight: Array) -> Array:
    """Return the gradient of the input: the convolution of dy with the turned kernel."""
    return convolve(by, dy, weight[::-1, ::-1].swapaxes(2, 3))


def kernel_gradient(by: Algorithm, x: Array, dy: Array) -> Array:
    """Return dg = G^T dU G with dU = V^T (A dY A^T) at each point."""
    windows = tiles(x, by.m + by.r - 1, by.m, (by.r - 1) // 2)
    transformed = by_point(by.input_matrix @ windows @ by.input_matrix.T)
    above = by_point(by.output_matrix.T @ tiles(dy, by.m, by.m, 0) @ by.output_matrix)
    du = np.moveaxis(transformed.swapaxes(2, 3) @ above, (0, 1), (2, 3))
    gradient: Array = by.kernel_matrix.T @ du @ by.kernel_matrix
    return gradient.transpose(2, 3, 0, 1)


def errors(found: Iterable[Array], exact: Iterable[Array]) -> list[str]:
    """Return the largest difference of each result, in units of its largest number."""
    pairs = zip(found, exact, strict=True)
    return [f"{np.abs(ours - theirs).max() / np.abs(theirs).max():.0e}" for ours, theirs in pairs]


def draw(r: int) -> tuple[Array, Array, Array]:
    """Return inputs, weights and gradients of the output in float32."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((IMAGES, SIDE, SIDE, CHANNELS), np.float32), 0)
    weight = ac.initializers.he_normal(rng, (r, r, CHANNELS, CHANNELS), np.dtype(np.float32))
    return x, weight, rng.standard_normal(x.shape, np.float32)


def definition(x: Array, weight: Array, dy: Array) -> tuple[Array, Array, Array]:
    """Return output, gradient of the input and gradient of the kernel by columns of windows."""
    geometry = geometry_of(x.shape, weight.shape, (1, 1), "same", (1, 1), 1)
    gradients = im2col.input_grad(dy, weight, geometry), im2col.weight_grad(x, dy, geometry)
    return im2col.forward(x, weight, geometry), *gradients


def passes(by: Algorithm, x: Array, weight: Array, dy: Array) -> tuple[Array, Array, Array]:
    """Return output, gradient of the input and gradient of the kernel by an algorithm."""
    return convolve(by, x, weight), input_gradient(by, dy, weight), kernel_gradient(by, x, dy)


def table() -> str:
    """Return the errors of each algorithm, in float32 and once in float64."""
    rows = [
        ["algorithm", "points, beside infinity", "products an output", "output", "input gradient", "kernel gradient"]
    ]
    single, double = draw(3), tuple(array.astype(np.float64) for array in draw(3))
    rows.append(["definition, 3x3", "", "9", *errors(definition(*single), definition(*double))])
    for m, r, points in ALGORITHMS:
        single, double = draw(r), tuple(array.astype(np.float64) for array in draw(r))
        for name, arrays in (("", single), (", float64", double)):
            if name and (m, r, points) != (4, 3, POINTS):
                continue
            found = passes(algorithm(m, r, points, arrays[0].dtype), *arrays)
            title = [f"F({m}, {r}){name}", ", ".join(points[: m + r - 2]), f"{(m + r - 1) ** 2 / m**2:.3g}"]
            rows.append(title + errors(found, definition(*double)))
    return markdown(rows)


if __name__ == "__main__":
    TABLE.write_text(text := table(), encoding="utf-8")
    print(text, end="")
