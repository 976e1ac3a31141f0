import itertools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from helpers.bits import same_with_any_threads
from helpers.reference import conv2d_reference
from hypothesis import given, settings
from hypothesis import strategies as st

from allconv.functional import choice, conv, im2col, tuning, winograd
from allconv.functional.cost import possible_outputs, possible_plans
from allconv.functional.geometry import geometry_of
from allconv.functional.im2col.blocks import cut_into_blocks
from allconv.parallel.buffers import free_memory


@st.composite
def convolutions(draw, max_channels=4):
    """Draw (x, w, dy, geometry) of a convolution that has at least one output."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 4]))
    channels = groups * draw(st.integers(1, max_channels))
    out_channels = groups * draw(st.integers(1, max_channels))
    if draw(st.booleans()):  # depthwise, if there are several groups
        channels = out_channels = groups
    kernel = draw(st.tuples(st.integers(1, 7), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 3)))
    padding = draw(
        st.sampled_from(["same", "same_lower", "valid"])
        | st.integers(0, 3)
        | st.tuples(*[st.integers(0, 3)] * 2)
        | st.tuples(*[st.integers(0, 3)] * 4)
    )
    least = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [low + draw(st.integers(0, 6)) for low in least]
    n = draw(st.integers(1, 10))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    x = rng.standard_normal((n, *size, channels))
    w = rng.standard_normal((*kernel, channels // groups, out_channels))
    geometry = geometry_of(x.shape, w.shape, stride, padding, dilation, groups)
    return x, w, rng.standard_normal(geometry.y_shape), geometry


@given(convolutions(), st.sampled_from([1, 500, 5000, 1 << 21]), st.sampled_from(["auto", "im2col", "banded"]))
@settings(max_examples=150, deadline=None)
def test_forward_equals_the_definition_and_the_gradients_are_its_adjoints(convolution, column_bytes, algorithm):
    x, w, dy, geometry = convolution
    bias = np.random.default_rng(1).standard_normal(w.shape[3])
    with pytest.MonkeyPatch.context() as patch:
        # Blocks from pieces of rows up to whole batches.
        patch.setattr(tuning, "IM2COL", replace(tuning.IM2COL, column_bytes=column_bytes, least_piece=3))
        patch.setattr(tuning, "DEPTHWISE", replace(tuning.DEPTHWISE, slice_elements=column_bytes))
        y = conv.conv2d(x, w, geometry, bias, algorithm=algorithm)
        dx, dw, db = conv.conv2d_grads(x, dy, w, geometry, algorithm=algorithm)
        np.testing.assert_array_equal(dx, conv.conv2d_input_grad(dy, w, geometry, algorithm=algorithm))
        # Where dW is wanted alone, another way of computing it may cost less.
        alone = conv.conv2d_weight_grad(x, dy, geometry, algorithm=algorithm)
        np.testing.assert_allclose(dw, alone, rtol=1e-12, atol=1e-11)
    expected = conv2d_reference(x, w, geometry.stride, geometry.pads, geometry.dilation, geometry.groups)
    np.testing.assert_allclose(y, expected + bias, atol=1e-11)
    np.testing.assert_allclose(db, dy.sum(axis=(0, 1, 2)), atol=1e-11)
    # y is linear in x and in w, so the reference's own values fix what the gradients must be.
    rng = np.random.default_rng(0)
    other_x, other_w = rng.standard_normal(x.shape), rng.standard_normal(w.shape)
    for got, other, moved in ((dx, other_x, (other_x, w)), (dw, other_w, (x, other_w))):
        along = conv2d_reference(*moved, geometry.stride, geometry.pads, geometry.dilation, geometry.groups)
        assert np.vdot(got, other) == pytest.approx(np.vdot(dy, along), abs=1e-9 * (1 + dy.size))
    assert dx.shape == x.shape
    assert dw.shape == w.shape


@pytest.mark.parametrize("padding", ["same", "valid", (0, 1, 2, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (1, 2), (3, 3)])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 5), (1, 2)])
def test_several_outputs_at_a_time_give_the_same(kernel, stride, padding):
    for width, channels, out_channels in itertools.product((8, 9, 10, 12), (1, 3), (1, 3)):
        geometry = geometry_of((3, 6, width, channels), (*kernel, channels, out_channels), stride, padding, (2, 1), 1)
        rng = np.random.default_rng(0)
        x, dy = rng.standard_normal(geometry.x_shape), rng.standard_normal(geometry.y_shape)
        w = rng.standard_normal((*kernel, channels, out_channels))
        for outputs in possible_outputs(geometry):
            y = im2col.forward(x, w, geometry, outputs=outputs)
            np.testing.assert_allclose(y, im2col.forward(x, w, geometry), atol=1e-12)
        for plan in possible_plans(geometry):
            gradients = im2col.grads(x, dy, w, geometry, plan)
            for one, other in zip(gradients, im2col.grads(x, dy, w, geometry), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-12)


@given(convolutions(max_channels=20))
@settings(max_examples=60, deadline=None)
def test_float32_stays_float32_and_is_as_exact_as_it_can_be(convolution):
    x, w, dy, geometry = convolution
    single = [a.astype(np.float32) for a in (x, w, dy)]
    y = conv.conv2d(single[0], single[1], geometry)
    dx, dw, _ = conv.conv2d_grads(single[0], single[2], single[1], geometry)
    doubles = [a.astype(np.float64) for a in single]
    exact = (conv.conv2d(*doubles[:2], geometry), *conv.conv2d_grads(*(doubles[i] for i in (0, 2, 1)), geometry)[:2])
    for got, wanted in zip((y, dx, dw), exact, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, atol=1e-4 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "groups"),
    [
        ((13, 16, 16, 24), 3, 1, 1),
        ((13, 16, 16, 24), 3, 2, 1),
        ((50, 8, 8, 32), 1, 1, 1),
        ((1, 64, 64, 8), 5, 1, 1),
        ((40, 16, 16, 32), 3, 2, 32),
        ((13, 16, 16, 32), 3, 1, 8),
    ],
)
def test_the_same_bits_for_any_number_of_threads(shape, kernel, stride, groups):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    w = rng.standard_normal((kernel, kernel, shape[3] // groups, 32)).astype(np.float32)
    geometry = geometry_of(x.shape, w.shape, (stride, stride), "same", (1, 1), groups)
    dy = rng.standard_normal(geometry.y_shape).astype(np.float32)
    same_with_any_threads(lambda: (conv.conv2d(x, w, geometry), *conv.conv2d_grads(x, dy, w, geometry)), (1, 2, 3, 8))


@pytest.mark.parametrize(
    "layout", [lambda a: np.repeat(a, 2, axis=-1)[..., ::2], lambda a: a[..., ::-1].copy()[..., ::-1]]
)
@pytest.mark.parametrize(
    ("algorithm", "kernel", "groups"), [("im2col", 3, 1), ("im2col", 1, 1), ("winograd", 3, 1), ("auto", 3, 8)]
)
def test_the_same_bits_for_any_layout_of_the_arrays(algorithm, kernel, groups, layout):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 9, 7, 8)), rng.standard_normal((kernel, kernel, 8 // groups, 8))
    geometry = geometry_of(x.shape, w.shape, (1, 1), "same", (1, 1), groups)
    dy = rng.standard_normal(geometry.y_shape)

    def compute(x, w, dy):
        return [
            conv.conv2d(x, w, geometry, algorithm=algorithm),
            conv.conv2d_input_grad(dy, w, geometry, algorithm=algorithm),
            conv.conv2d_weight_grad(x, dy, geometry, algorithm=algorithm),
            conv.conv2d_bias_grad(dy),
            *conv.conv2d_grads(x, dy, w, geometry, algorithm=algorithm),
        ]

    for value, expected in zip(compute(layout(x), layout(w), layout(dy)), compute(x, w, dy), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_blocks_that_lie_in_the_padding_alone(monkeypatch):
    monkeypatch.setattr(tuning, "IM2COL", replace(tuning.IM2COL, column_bytes=1, least_piece=1))  # one for each output
    x, w = np.ones((1, 2, 1, 1)), np.ones((2, 1, 1, 1))
    geometry = geometry_of(x.shape, w.shape, (1, 1), 3, (1, 1), 1)
    assert conv.conv2d(x, w, geometry)[0, :, 3, 0].tolist() == [0, 0, 1, 2, 1, 0, 0]
    assert conv.conv2d_weight_grad(x, np.ones(geometry.y_shape), geometry).ravel().tolist() == [2, 2]
    assert conv.conv2d_input_grad(np.ones(geometry.y_shape), w, geometry).ravel().tolist() == [2, 2]


def test_blocks_cover_every_output_once():
    for shape, kernel in [
        ((50, 32, 32, 96), 3), ((7, 224, 224, 64), 3), ((1, 9, 5, 2), 2), ((100, 1, 1, 4), 1), ((2, 3, 5000, 16), 9),
    ]:  # fmt: skip
        geometry = geometry_of(shape, (kernel, kernel, shape[3], 8), (1, 1), "same", (1, 1), 1)
        count = np.zeros(geometry.y_shape[:3], int)
        for block in cut_into_blocks(geometry, 4):
            count[block] += 1
            columns = count[block].size * kernel**2 * shape[3] * 4
            assert columns <= max(tuning.IM2COL.column_bytes, columns // count[block].size * tuning.IM2COL.least_piece)
        assert (count == 1).all()


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_memory_of_a_wide_row_is_bounded(padding, one_thread):
    """The columns of a whole row would take 46 MB here; the images take 5.1 MB each."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape, np.float32) for shape in ((1, 1, 20000, 64), (1, 9, 64, 64)))
    geometry = geometry_of(x.shape, w.shape, (1, 1), padding, (1, 1), 1)
    dy = rng.standard_normal(geometry.y_shape, np.float32)
    passes = {
        "forward": (lambda: conv.conv2d(x, w, geometry, np.ones(64, np.float32)), 1),
        "dW": (lambda: conv.conv2d_weight_grad(x, dy, geometry), 0),
        "dX": (lambda: conv.conv2d_input_grad(dy, w, geometry), 1 if padding == "valid" else 2),
    }
    for name, (compute, images) in passes.items():
        free_memory()
        tracemalloc.start()
        compute()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # The sums of dW and the transposed weight are 0.15 MB each, the padded piece of a row 0.3 MB.
        assert peak < images * x.nbytes + tuning.IM2COL.column_bytes + (2 << 20), name


def three_by_three(shape, out_channels, dtype=np.float64):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(dtype)
    w = rng.standard_normal((3, 3, shape[3], out_channels)).astype(dtype)
    geometry = geometry_of(x.shape, w.shape, (1, 1), "same", (1, 1), 1)
    return x, w, rng.standard_normal(geometry.y_shape).astype(dtype), rng.standard_normal(out_channels), geometry


def relu(block):
    np.maximum(block, 0, out=block)


@pytest.mark.parametrize("algorithm", ["im2col", "banded", "winograd"])
@pytest.mark.parametrize("shape", [(1, 12, 13, 6), (9, 40, 20, 3)])
@pytest.mark.parametrize("out_channels", [4, 300])
def test_a_transformed_weight_and_an_activation_give_the_same(algorithm, shape, out_channels):
    x, w, _, bias, geometry = three_by_three(shape, out_channels)
    plain = conv.conv2d(x, w, geometry, bias, algorithm=algorithm)
    options = {"transformed": winograd.transform_weight(w), "activation": relu}
    fused = conv.conv2d(x, w, geometry, bias, algorithm=algorithm, **options)
    np.testing.assert_array_equal(fused, np.maximum(plain, 0))


def test_an_activation_is_applied_after_a_depthwise_convolution():
    rng = np.random.default_rng(0)
    x, w, bias = rng.standard_normal((20, 9, 9, 30)), rng.standard_normal((3, 3, 1, 30)), rng.standard_normal(30)
    geometry = geometry_of(x.shape, w.shape, (2, 2), "same", (1, 1), 30)
    assert choice.choose(geometry) == "depthwise"
    fused = conv.conv2d(x, w, geometry, bias, activation=relu)
    np.testing.assert_array_equal(fused, np.maximum(conv.conv2d(x, w, geometry, bias), 0))


@pytest.mark.parametrize("shape", [(1, 16, 16, 32), (1, 8, 8, 192), (3, 33, 20, 24)])
def test_the_same_bits_of_single_images_for_any_number_of_threads(shape):
    x, w, _, bias, geometry = three_by_three(shape, 192, np.float32)
    strided = geometry_of(x.shape, w.shape, (2, 2), "same", (1, 1), 1)
    same_with_any_threads(
        lambda: (
            conv.conv2d(x, w, geometry, bias.astype(np.float32), algorithm="winograd"),
            conv.conv2d(x, w, geometry, algorithm="im2col"),
            conv.conv2d(x, w, geometry, algorithm="banded"),
            conv.conv2d(x, w, strided),
        ),
        (1, 2, 3, 8),
    )
