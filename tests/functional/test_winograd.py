"""Winograd's convolution against the definition, written as a loop over the nine taps in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allconv.functional import threads, tiling, winograd

PAD = st.integers(0, 6)


def correlate(x, weight, pads):
    """The definition: y[i, j] = sum over the taps (u, v) of x[i + u, j + v] weight[u, v]."""
    padded = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
    height, width = padded.shape[1] - 2, padded.shape[2] - 2
    y = np.zeros((len(x), height, width, weight.shape[3]))
    for u in range(3):
        for v in range(3):
            y += padded[:, u : u + height, v : v + width] @ weight[u, v].astype(np.float64)
    return y


def gradients(x, dy, weight, pads):
    """The transposed loop: each tap takes dy back to the inputs that it read."""
    padded = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
    height, width = dy.shape[1:3]
    dx, dw = np.zeros_like(padded), np.zeros(weight.shape)
    for u in range(3):
        for v in range(3):
            window = (slice(None), slice(u, u + height), slice(v, v + width))
            dx[window] += dy @ weight[u, v].T.astype(np.float64)
            dw[u, v] = np.tensordot(padded[window], dy, axes=([0, 1, 2], [0, 1, 2]))
    (top, _), (left, _) = pads
    return dx[:, top : top + x.shape[1], left : left + x.shape[2]], dw, dy.sum(axis=(0, 1, 2))


def draw(n, height, width, c, o, pads, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, height, width, c)).astype(dtype)
    weight = rng.standard_normal((3, 3, c, o)).astype(dtype)
    shape = (n, height + sum(pads[0]) - 2, width + sum(pads[1]) - 2, o)
    return x, weight, rng.standard_normal(shape).astype(dtype), rng.standard_normal(o).astype(dtype)


def error(value, reference):
    return np.abs(value - reference).max() / np.abs(reference).max()


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(1, 4),
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    pads=st.tuples(st.tuples(PAD, PAD), st.tuples(PAD, PAD)),
    tile=st.sampled_from([2, 4]),
)
def test_equals_the_definition(n, size, channels, pads, tile):
    pads = tuple((a + max(3 - length - a - b, 0), b) for (a, b), length in zip(pads, size, strict=True))
    x, weight, dy, bias = draw(n, *size, *channels, pads)
    y = winograd.forward(x, weight, pads, bias, tile=tile)
    np.testing.assert_allclose(y, correlate(x, weight, pads) + bias, rtol=0, atol=1e-11)
    dx, dw, db = gradients(x, dy, weight, pads)
    computed = winograd.grads(x, dy, weight, pads, tile=tile)
    np.testing.assert_allclose(computed.x, dx, rtol=0, atol=1e-11)
    np.testing.assert_allclose(computed.weight, dw, rtol=0, atol=1e-10)
    np.testing.assert_allclose(computed.bias, db, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(winograd.input_grad(dy, weight, pads, tile=tile), computed.x)
    np.testing.assert_array_equal(winograd.weight_grad(x, dy, pads, tile=tile), computed.weight)


# Many images in a block, blocks of several images, and tile rows of one image in several blocks.
LARGE = [(29, 8, 8, 5, 7), (25, 13, 9, 4, 3), (3, 65, 50, 3, 2), (1, 131, 37, 2, 3), (1, 224, 224, 2, 2)]


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("shape", LARGE)
def test_equals_the_definition_over_several_blocks(shape, tile):
    pads = ((1, 1), (0, 2))
    x, weight, dy, bias = draw(*shape, pads)
    assert len(tiling.tiling(x.shape[:3], pads, tile, x.dtype).blocks) > 1
    assert error(winograd.forward(x, weight, pads, bias, tile=tile), correlate(x, weight, pads) + bias) < 1e-13
    for value, reference in zip(
        winograd.grads(x, dy, weight, pads, tile=tile), gradients(x, dy, weight, pads), strict=True
    ):
        assert error(value, reference) < 1e-12


@pytest.mark.parametrize("shape", [(3, 18, 20, 64, 160), (3, 18, 20, 200, 96), (3, 17, 17, 97, 101)])
def test_equals_the_definition_with_products_in_pieces(shape):
    pads = ((1, 1), (1, 1))
    x, weight, dy, _ = draw(*shape, pads)
    assert error(winograd.forward(x, weight, pads), correlate(x, weight, pads)) < 1e-13
    for value, reference in zip(winograd.grads(x, dy, weight, pads), gradients(x, dy, weight, pads), strict=True):
        assert error(value, reference) < 1e-12


@pytest.mark.parametrize("tile", [2, 4])
def test_the_three_maps_are_adjoint(tile):
    pads = ((1, 2), (0, 1))
    x, weight, g, _ = draw(5, 11, 14, 6, 7, pads)
    products = [
        np.vdot(winograd.forward(x, weight, pads, tile=tile), g),
        np.vdot(x, winograd.input_grad(g, weight, pads, tile=tile)),
        np.vdot(weight, winograd.weight_grad(x, g, pads, tile=tile)),
    ]
    np.testing.assert_allclose(products, products[0], rtol=1e-12)


# The bounds are a few times what random data of these sizes measured: 4e-6 and 5e-7 of the largest entry.
@pytest.mark.parametrize(("tile", "bound"), [(2, 2e-6), (4, 1.5e-5)])
def test_float32_keeps_its_digits(tile, bound):
    pads = ((1, 1), (1, 1))
    x, weight, dy, _ = draw(4, 16, 16, 96, 96, pads, np.float32)
    y, computed = winograd.forward(x, weight, pads, tile=tile), winograd.grads(x, dy, weight, pads, tile=tile)
    assert {array.dtype for array in (y, *computed)} == {np.dtype(np.float32)}
    assert error(y, correlate(x, weight, pads)) < bound
    for value, reference in zip(computed, gradients(x, dy.astype(np.float64), weight, pads), strict=True):
        assert error(value, reference) < bound


@pytest.mark.parametrize("shape", [(50, 8, 8, 24, 40), (9, 32, 32, 8, 8), (1, 100, 60, 8, 4)])
def test_same_bits_on_any_number_of_threads(shape):
    pads = ((1, 1), (1, 1))
    x, weight, dy, bias = draw(*shape, pads, np.float32)
    before = threads.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 8):
            threads.set_num_threads(count)
            results.append((winograd.forward(x, weight, pads, bias), *winograd.grads(x, dy, weight, pads)))
    finally:
        threads.set_num_threads(before)
    for result in results[1:]:
        for value, first in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(value, first)


def test_takes_read_only_and_strided_inputs_and_leaves_them_alone():
    pads = ((1, 1), (1, 1))
    arrays = draw(3, 9, 7, 4, 5, pads)
    expected = (winograd.forward(arrays[0], arrays[1], pads, arrays[3]), *winograd.grads(*_order(arrays), pads))
    strided = [np.repeat(array, 2, axis=-1)[..., ::2] for array in arrays]
    turned = [np.ascontiguousarray(array.T).T for array in arrays]
    for views in (strided, turned):
        for view in views:
            view.flags.writeable = False
        computed = (winograd.forward(views[0], views[1], pads, views[3]), *winograd.grads(*_order(views), pads))
        for value, reference in zip(computed, expected, strict=True):
            np.testing.assert_array_equal(value, reference)
            assert value.flags.c_contiguous
            assert value.flags.writeable


def _order(arrays):
    x, weight, dy, _ = arrays
    return x, dy, weight


def test_a_transformed_weight_serves_many_calls():
    pads = ((1, 1), (1, 1))
    x, weight, _, bias = draw(2, 9, 7, 4, 5, pads)
    for tile in (2, 4):
        u = winograd.transform_weight(weight, tile)
        assert u.shape == (tile + 2, tile + 2, 4, 5)
        np.testing.assert_array_equal(
            winograd.forward(x, weight, pads, bias, tile=tile, transformed=u),
            winograd.forward(x, weight, pads, bias, tile=tile),
        )


def test_the_activation_sees_every_output_once():
    pads = ((1, 1), (1, 1))
    x, weight, _, bias = draw(3, 70, 41, 2, 3, pads)

    def add_one(block):
        block += 1.0

    y = winograd.forward(x, weight, pads, bias, activation=add_one)
    np.testing.assert_array_equal(y, winograd.forward(x, weight, pads, bias) + 1.0)


def test_scratch_does_not_grow_with_the_batch():
    pads = ((1, 1), (1, 1))
    sizes = []
    before = threads.get_num_threads()
    try:
        for n in (192, 768):
            threads.set_num_threads(1)
            threads._local.__dict__.pop("buffers", None)
            x, weight, dy, _ = draw(n, 16, 16, 8, 8, pads, np.float32)
            winograd.grads(x, dy, weight, pads)
            sizes.append(sum(buffer.nbytes for buffer in threads._local.buffers.values()))
    finally:
        threads.set_num_threads(before)
    assert sizes[1] == sizes[0]


def test_an_output_smaller_than_nothing_raises():
    with pytest.raises(ValueError, match=r"the window must fit into the padded input"):
        winograd.forward(np.zeros((1, 2, 5, 1)), np.zeros((3, 3, 1, 1)), ((0, 0), (0, 0)))


@pytest.mark.parametrize("size", [(1, 32, 32), (50, 8, 8), (50, 16, 16), (50, 32, 32), (1, 224, 224), (7, 33, 9)])
@pytest.mark.parametrize("pads", [((1, 1), (1, 1)), ((0, 0), (0, 0)), ((-3, -2), (5, 0))])
def test_blocks_cover_every_row_once(size, pads):
    n, height, _ = size
    blocks = tiling.tiling(size, pads, 4, np.dtype(np.float32)).blocks
    for attribute, rows in (("rows_out", height + sum(pads[0]) - 2), ("rows_own", height)):
        count = np.zeros((n, rows), int)
        for block in blocks:
            count[block.images, getattr(block, attribute)] += 1
        assert (count == 1).all()
    assert max(block.rows.tiles * (block.images.stop - block.images.start) for block in blocks) <= 128
