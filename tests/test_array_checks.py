"""Arrays that a layer must not take in silence, and what the errors say to do."""

import numpy as np
import pytest
from helpers.registry import every_case

import allconv as ac
from allconv.validation import check_floating, check_images


@every_case
def test_a_masked_array_is_refused_because_its_mask_would_be_lost(case):
    layer = case.build()
    masked = np.ma.masked_invalid(np.full(case.shape, np.nan))
    with pytest.raises(TypeError, match=r"x must be a plain array, got a masked array of shape .*x\.filled\(0\)"):
        layer.forward(masked)
    y, cache = layer.forward(np.ones(case.shape))
    with pytest.raises(TypeError, match=r"dy must be a plain array, got a masked array of shape .*dy\.filled\(0\)"):
        layer.backward(np.ma.ones(y.shape), cache)


@pytest.mark.parametrize("value", [1e39, -1e39])
@pytest.mark.parametrize("layout", ["plain", "strided", "big-endian"])
def test_a_number_that_float32_cannot_hold_is_refused(value, layout):
    x = np.ones((4, 3))
    x[2, 1] = value
    x = {"plain": x, "strided": np.repeat(x, 2, axis=1)[:, ::2], "big-endian": x.astype(">f8")}[layout]
    message = r"x must hold numbers that fit into float32, at most 3\.4e\+38, got an array of shape \(4, 3\)"
    with pytest.raises(ValueError, match=message):
        ac.Linear(3, 2)(x)


def test_infinities_nan_and_what_rounds_to_the_largest_are_cast():
    largest = float(np.finfo(np.float32).max)
    x = np.array([np.inf, -np.inf, np.nan, largest, -largest, 1e-60])
    np.testing.assert_array_equal(check_floating("x", x, np.float32), x.astype(np.float32))


def test_a_gradient_that_float16_cannot_hold_is_refused():
    layer = ac.ReLU()
    _, cache = layer.forward(np.ones((1, 2), np.float16))
    with pytest.raises(ValueError, match=r"dy must hold numbers that fit into float16, at most 6\.55e\+04"):
        layer.backward(np.array([[1.0, 1e5]], np.float32), cache)


@pytest.mark.parametrize(
    ("shape", "channels", "hint"),
    [
        ((5, 28, 28), 1, r"grey images .* pass x\[\.\.\., None\]"),
        ((5, 28, 28), None, r"grey images .* pass x\[\.\.\., None\]"),
        ((32, 32, 3), 3, r"one image: pass x\[None\]"),
        ((28, 28, 1), 1, r"one image: pass x\[None\]"),
        ((5, 3, 32, 32), 3, r"NCHW: pass x\.transpose\(0, 2, 3, 1\)"),
    ],
)
def test_images_in_another_form_are_told_what_to_do(shape, channels, hint):
    with pytest.raises(ValueError, match=r"x must have shape \(N, H, W, .*got .*; .*" + hint):
        check_images("x", np.ones(shape, np.float32), channels=channels)


@pytest.mark.parametrize(("shape", "channels"), [((5, 28, 28), 3), ((5, 32, 32, 4), 3), ((5, 28), 1)])
def test_a_shape_that_looks_like_nothing_gets_no_hint(shape, channels):
    with pytest.raises(ValueError, match=r"x must have shape .*and dtype float32$"):
        check_images("x", np.ones(shape, np.float32), channels=channels)


WITH_MODES = {
    "BatchNorm": ac.BatchNorm(3),
    "Dropout": ac.Dropout(0.5),
    "Sequential": ac.Sequential(ac.ReLU()),
    "Skip": ac.Skip(ac.ReLU()),
    "Fused": ac.models.fuse(ac.Sequential(ac.ReLU())),
}


@pytest.mark.parametrize("layer", WITH_MODES.values(), ids=WITH_MODES)
@pytest.mark.parametrize("training", ["no", "False", 0, 1, None, 1.0, np.array([True])])
def test_training_is_true_or_false_and_nothing_that_counts_as_one(layer, training):
    with pytest.raises(TypeError, match="training must be True or False, got"):
        layer.forward(np.ones((2, 3), np.float32), training=training)


@every_case
def test_a_gradient_that_is_a_list_is_taken_as_an_array(case):
    layer = case.build()
    y, cache = layer.forward(np.ones(case.shape))
    dy = np.cos(np.arange(y.size)).reshape(y.shape)
    np.testing.assert_array_equal(layer.backward(dy.tolist(), cache), layer.backward(dy, cache))
