"""Winograd's convolution against the definition, written as a loop over the taps in float64."""

import inspect
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.bits import same_with_any_threads
from hypothesis import given, settings
from hypothesis import strategies as st

from allconv.functional import tuning, winograd
from allconv.functional.geometry import Geometry
from allconv.functional.winograd import kernels, points, tiling, transforms
from allconv.parallel.buffers import Scratch

PAD = st.integers(0, 6)
ONE = ((1, 1), (1, 1))


def taps(geometry):
    """Yield (u, v, the padded inputs that tap (u, v) reads for each output)."""
    (kh, kw), (sh, sw), (height, width) = geometry.kernel, geometry.stride, geometry.out
    for u in range(kh):
        for v in range(kw):
            yield u, v, (slice(None), slice(u, u + sh * height, sh), slice(v, v + sw * width, sw))


def padded(x, geometry):
    """Return x within zeros, in float64, with room for the windows of `taps`."""
    return np.pad(x.astype(np.float64), ((0, 0), *geometry.pads, (0, 0)))


def correlate(x, weight, geometry):
    """The definition: y[i, j] = sum over the taps (u, v) of x[s i + u, s j + v] weight[u, v]."""
    return sum(_read(padded(x, geometry), window, geometry) @ weight[u, v] for u, v, window in taps(geometry))


def gradients(x, dy, weight, geometry):
    """The transposed loop: each tap takes dy back to the inputs that it read."""
    source = padded(x, geometry)
    dx, dw = np.zeros_like(source), np.zeros(weight.shape)
    for u, v, window in taps(geometry):
        _read(dx, window, geometry)[...] += dy @ weight[u, v].T.astype(np.float64)
        dw[u, v] = np.tensordot(_read(source, window, geometry), dy, axes=([0, 1, 2], [0, 1, 2]))
    (top, _), (left, _) = geometry.pads
    return dx[:, top : top + x.shape[1], left : left + x.shape[2]], dw, dy.sum(axis=(0, 1, 2))


def _read(source, window, geometry):
    height, width = geometry.out
    return source[window][:, :height, :width]


def draw(n, height, width, c, o, pads=ONE, dtype=np.float64, kernel=(3, 3), stride=(1, 1)):
    rng = np.random.default_rng(0)
    geometry = Geometry((n, height, width, c), kernel, o, stride, pads, (1, 1), 1)
    shapes = geometry.x_shape, (*kernel, c, o), geometry.y_shape, (o,)
    return geometry, *(rng.standard_normal(shape).astype(dtype) for shape in shapes)


def error(value, reference):
    return np.abs(value - reference).max() / np.abs(reference).max()


def largest_error(computed, x, dy, weight, geometry):
    """Return the largest error of dx, dw and db."""
    exact = gradients(x, dy.astype(np.float64), weight, geometry)
    return max(error(value, reference) for value, reference in zip(computed, exact, strict=True))


@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(1, 4),
    size=st.tuples(st.integers(1, 18), st.integers(1, 18)),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel=st.one_of(st.just((3, 3)), st.tuples(st.integers(3, 5), st.integers(3, 5))),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(st.tuples(PAD, PAD), st.tuples(PAD, PAD)),
    tile=st.sampled_from([2, 4]),
)
def test_equals_the_definition(n, size, channels, kernel, stride, pads, tile):
    pads = tuple((a + max(k - m - a - b, 0), b) for (a, b), k, m in zip(pads, kernel, size, strict=True))
    geometry, x, weight, dy, bias = draw(n, *size, *channels, pads, kernel=kernel, stride=stride)
    y = winograd.forward(x, weight, geometry, bias, tile=tile)
    np.testing.assert_allclose(y, correlate(x, weight, geometry) + bias, rtol=0, atol=1e-9)
    dx, dw, db = gradients(x, dy, weight, geometry)
    computed = winograd.grads(x, dy, weight, geometry, tile=tile)
    np.testing.assert_allclose(computed[0], dx, rtol=0, atol=1e-9)
    np.testing.assert_allclose(computed[1], dw, rtol=0, atol=1e-8)
    np.testing.assert_allclose(computed[2], db, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(winograd.input_grad(dy, weight, geometry, tile=tile), computed[0])
    np.testing.assert_array_equal(winograd.weight_grad(x, dy, geometry, tile=tile), computed[1])


# Many images in a block, blocks of several images, and tile rows of one image in several blocks.
LARGE = [(29, 8, 8, 5, 7), (25, 13, 9, 4, 3), (3, 65, 50, 3, 2), (1, 131, 37, 2, 3), (1, 224, 224, 2, 2)]


@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
@pytest.mark.parametrize("shape", LARGE)
def test_equals_the_definition_over_several_blocks(shape, stride):
    geometry, x, weight, dy, bias = draw(*shape, ((1, 1), (0, 2)), stride=stride)
    assert len(tiling.forward_tiling(geometry, 2, x.dtype).blocks) > 1
    y = winograd.forward(x, weight, geometry, bias, tile=2)
    assert error(y, correlate(x, weight, geometry) + bias) < 1e-13
    assert largest_error(winograd.grads(x, dy, weight, geometry, tile=2), x, dy, weight, geometry) < 1e-12


@pytest.mark.parametrize("shape", [(3, 18, 20, 64, 160), (3, 18, 20, 200, 96), (3, 17, 17, 97, 101)])
def test_equals_the_definition_with_products_in_pieces(shape):
    geometry, x, weight, dy, _ = draw(*shape)
    assert error(winograd.forward(x, weight, geometry, tile=4), correlate(x, weight, geometry)) < 1e-13
    assert largest_error(winograd.grads(x, dy, weight, geometry, tile=4), x, dy, weight, geometry) < 1e-12


# The bounds are about three times what was measured: 4e-7 with the small tile, 3e-6 and with stride 2 6e-6.
@pytest.mark.parametrize(("tile", "stride", "bound"), [(2, 1, 2e-6), (4, 1, 1e-5), (4, 2, 2e-5)])
def test_float32_keeps_its_digits(tile, stride, bound):
    geometry, x, weight, dy, _ = draw(4, 16, 16, 96, 96, dtype=np.float32, stride=(stride, stride))
    y, computed = winograd.forward(x, weight, geometry, tile=tile), winograd.grads(x, dy, weight, geometry, tile=tile)
    assert {array.dtype for array in (y, *computed)} == {np.dtype(np.float32)}
    assert error(y, correlate(x, weight.astype(np.float64), geometry)) < bound
    assert largest_error(computed, x, dy, weight, geometry) < bound


@pytest.mark.parametrize("shape", [(50, 8, 8, 24, 40), (9, 32, 32, 8, 8), (1, 100, 60, 8, 4)])
def test_same_bits_on_any_number_of_threads(shape):
    geometry, x, weight, dy, bias = draw(*shape, dtype=np.float32)
    same_with_any_threads(
        lambda: (winograd.forward(x, weight, geometry, bias), *winograd.grads(x, dy, weight, geometry)), (1, 2, 3, 8)
    )


@pytest.mark.parametrize("rows", [1, 2, 4, 6])
def test_same_bits_however_many_rows_of_points_come_together(monkeypatch, rows):
    geometry, x, weight, dy, bias = draw(9, 32, 32, 8, 8, dtype=np.float32)
    expected = winograd.forward(x, weight, geometry, bias), *winograd.grads(x, dy, weight, geometry)
    plan = tiling.forward_tiling(geometry, 4, x.dtype)
    row_bytes = 3 * 64 * 6 * (8 + 8) * x.itemsize  # the last block has three images of 64 tiles
    monkeypatch.setattr(tuning, "WINOGRAD", replace(tuning.WINOGRAD, group_bytes=rows * row_bytes))
    groups = plan.point_rows(plan.blocks[-1], 8 + 8, x.itemsize)
    assert groups[0].stop == {1: 1, 2: 2, 4: 3, 6: 6}[rows]
    assert [i for part in groups for i in range(part.start, part.stop)] == list(range(6))
    computed = winograd.forward(x, weight, geometry, bias), *winograd.grads(x, dy, weight, geometry)
    for one, other in zip(computed, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_scratch_does_not_grow_with_the_batch(monkeypatch, one_thread):
    largest = {}
    array = Scratch.array

    def recorded(self, shape, dtype):
        taken = array(self, shape, dtype)
        largest[id(self)] = max(largest.get(id(self), 0), taken.nbytes)
        return taken

    monkeypatch.setattr(Scratch, "array", recorded)
    sizes = []
    for n in (192, 768):
        largest.clear()
        geometry, x, weight, dy, _ = draw(n, 16, 16, 8, 8, dtype=np.float32)
        winograd.grads(x, dy, weight, geometry)
        sizes.append(sum(largest.values()))
    assert sizes[1] == sizes[0] > 0


def sizes(shape, *, kernel=3, stride=1, dilation=1, groups=1):
    n, side, c, o = shape
    pads = ((kernel // 2,) * 2,) * 2
    return Geometry((n, side, side, c), (kernel, kernel), o, (stride, stride), pads, (dilation, dilation), groups)


@pytest.mark.parametrize(
    ("geometry", "tile", "products"),
    [
        (sizes((50, 32, 96, 192)), 4, 36),
        (sizes((50, 32, 96, 192), stride=2), 4, 81),
        (sizes((16, 28, 64, 64), kernel=5), 4, 64),
        (sizes((16, 28, 64, 64), kernel=7), 2, 64),  # 4 would take ten points
    ],
)
def test_the_tile_is_chosen_from_the_sizes(geometry, tile, products):
    assert tiling.applies(geometry.kernel, geometry.stride, geometry.dilation, geometry.groups)
    assert tiling.best_tile(geometry.kernel, geometry.stride, geometry.channels) == tile
    assert tiling.products_of_tile(geometry.kernel, geometry.stride, tile) == products
    _, _, weight, _, _ = draw(1, 8, 8, 2, 3, kernel=geometry.kernel)
    assert winograd.transform_weight(weight, geometry.stride).shape[:2] == (products**0.5, products**0.5)


def test_the_page_and_the_code_have_the_same_steps():
    page = (Path(__file__).resolve().parents[2] / "docs" / "understand" / "winograd.md").read_text(encoding="utf-8")
    steps = re.findall(r"^\| `(\w+)` \| \$", page, re.MULTILINE)
    functions = {
        re.sub("_(vertical|horizontal)$", "", name)
        for module in (kernels, points, transforms)
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert len(steps) == len(set(steps)) == 7
    assert functions - {"empty_half_output", "empty_tiles"} == set(steps)
    for name in re.findall(r"^(\w+)  ", winograd.__doc__, re.MULTILINE)[1:]:
        assert name in steps
