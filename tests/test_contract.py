"""What every public layer must do, beyond the conditions that the gradient check itself reports.

A new layer needs one row in `helpers/registry.py`.
"""

import copy
import re

import numpy as np
import pytest
from helpers.bits import bits, same_with_any_threads
from helpers.registry import EVERY_LAYER, every_case, every_layer

import allconv as ac
from allconv.checkpoint.weights import load_model_state, model_state
from allconv.parallel.pool import SHARED_ELEMENTS

WITH_PARAMETERS = [p for p in EVERY_LAYER if p.values[0].build(**p.values[1]).parameters()]
modes = pytest.mark.parametrize("training", [False, True])


def sample(case, dtype=np.float64, seed=0):
    x = np.random.default_rng(seed).standard_normal(case.shape)
    # Away from 0, and for max pooling without near ties: every value has a distance of its own.
    return (x + np.copysign(0.05, x) if case.kinks else x).astype(dtype)


def run(layer, x, training=False, dy=None):
    """Return y, dx and the parameters' gradients; the layer's state is put back, so that runs can be compared."""
    before = model_state(layer)
    y, cache = layer.forward(x, training=training)
    dy = np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype) if dy is None else dy
    dx = layer.backward(dy, cache)
    grads = {path: p.grad for path, p in layer.named_parameters() if p.grad is not None}
    for p in layer.parameters():
        p.grad = None
    load_model_state(layer, before)
    return y, dx, grads


@every_layer
@modes
def test_the_gradient_check_passes(case, options, training):
    layer, rng = case.build(**options), np.random.default_rng(1)
    for p in layer.parameters():
        p.value += rng.uniform(0.2, 0.8, p.value.shape)  # not a factor of 1 or a bias of 0, which hide mistakes
    ac.gradcheck.check(layer, sample(case), training=training).raise_if_failed()


@pytest.mark.parametrize(("case", "options"), WITH_PARAMETERS)
@modes
def test_frozen_parameters_get_no_gradient(case, options, training):
    layer = case.build(**options)
    for p in layer.parameters():
        p.trainable = False
    ac.gradcheck.check(layer, sample(case), training=training).raise_if_failed()


@every_layer
def test_the_call_is_inference_and_keeps_nothing(case, options):
    layer, x = case.build(**options), sample(case)
    before = bits(model_state(layer))
    y, _ = layer.forward(x)
    assert layer(x).tobytes() == y.tobytes()
    assert layer.output_shape(x.shape[1:]) == y.shape[1:]
    assert bits(model_state(layer)) == before
    assert all(p.grad is None for p in layer.parameters())


@every_layer
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_are_the_parameters_or_else_the_inputs(case, options, dtype):
    layer = case.build(**options)
    parameters = layer.parameters()
    expected = parameters[0].value.dtype if parameters else np.dtype(dtype)
    y, dx, grads = run(layer, sample(case, dtype))
    assert {array.dtype for array in (y, dx, *grads.values())} == {expected}


def layouts(x):
    every_other = tuple(slice(None, None, 2) for _ in x.shape)
    strided, read_only = np.zeros([2 * n for n in x.shape], x.dtype), x.copy()
    strided[every_other] = x
    read_only.flags.writeable = False
    yield "Fortran-ordered", np.asfortranarray(x)
    yield "strided", strided[every_other]
    yield "reversed", x[::-1].copy()[::-1]
    yield "read-only", read_only
    yield "big-endian", x.astype(x.dtype.newbyteorder(">"))


@every_layer
@modes
def test_the_layout_of_the_arrays_changes_nothing(case, options, training):
    layer, x = case.build(**options), sample(case)
    plain = run(layer, x, training)
    dy = np.cos(np.arange(plain[0].size)).reshape(plain[0].shape)
    for (name, other_x), (_, other_dy) in zip(layouts(x), layouts(dy), strict=True):
        other = run(layer, other_x, training, other_dy)
        for got, wanted in zip((*other[:2], *other[2].values()), (*plain[:2], *plain[2].values()), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12, err_msg=name)
            assert got.dtype.isnative


@every_layer
def test_images_of_a_batch_do_not_see_each_other_at_inference(case, options):
    layer, x = case.build(**options), sample(case)
    one_by_one = np.concatenate([layer(x[i : i + 1]) for i in range(len(x))])
    np.testing.assert_allclose(layer(x), one_by_one, rtol=1e-12, atol=1e-12)


@every_layer
@modes
def test_the_same_bits_for_any_number_of_threads(case, options, training):
    layer, x = case.build(**options), sample(case)
    x = np.concatenate([x] * (1 + SHARED_ELEMENTS // x.size))  # so large that threads share the work
    same_with_any_threads(lambda: run(layer, x, training))


@every_layer
@modes
def test_a_cache_that_is_released_gives_the_same_gradients(case, options, training):
    layer = case.build(**options)
    y, cache = layer.forward(sample(case), training=training)
    another, dy = copy.deepcopy(cache), np.cos(np.arange(y.size)).reshape(y.shape)

    def gradients(backward, cache):
        dx = backward(dy, cache, release=True)
        found = {path: p.grad for path, p in layer.named_parameters() if p.grad is not None}
        for p in layer.parameters():
            p.grad = None
        return dx, found

    kept = gradients(lambda dy, cache, release: layer.backward(dy, cache), cache)
    assert bits(gradients(layer.backward, cache)) == bits(kept)
    _, alone = gradients(layer.backward_parameters, another)
    assert alone.keys() == kept[1].keys()
    for path, gradient in kept[1].items():
        np.testing.assert_allclose(alone[path], gradient, rtol=1e-12, atol=1e-12)


@every_layer
def test_weights_round_trip_through_a_file(case, options, tmp_path):
    layer, x = case.build(**options), sample(case)
    for p in layer.parameters():
        p.value += 0.25
    ac.save_weights(layer, tmp_path / "weights.npz")
    fresh = case.build(**options)
    ac.load_weights(fresh, tmp_path / "weights.npz")
    assert fresh(x).tobytes() == layer(x).tobytes()
    assert bits(model_state(fresh)) == bits(model_state(layer))


@every_case
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, complex, object, "U1"])
def test_an_input_that_is_not_floating_is_refused_and_told_how_to_convert(case, dtype):
    layer = case.build()
    before = bits(model_state(layer))
    with pytest.raises(TypeError, match=r"x must be an array of real floating dtype, got .*astype\(np.float32\)"):
        layer.forward(np.ones(case.shape, dtype), training=True)
    assert bits(model_state(layer)) == before


@every_case
@modes
def test_an_input_of_the_wrong_shape_is_refused_with_its_shape(case, training):
    layer = case.build()
    before = bits(model_state(layer))
    for shape in case.bad_shapes:
        with pytest.raises(ValueError, match=r"^x must (have shape|be a batch of at least one).*, got .*\(") as caught:
            layer.forward(np.ones(shape), training=training)
        assert str(shape) in str(caught.value)
    assert bits(model_state(layer)) == before


@every_case
@modes
def test_an_upstream_gradient_of_the_wrong_shape_or_dtype_is_refused(case, training):
    layer = case.build()
    y, cache = layer.forward(sample(case), training=training)
    for bad in (np.ones((*y.shape, 1)), np.ones(y.shape[:-1]), np.ones((len(y) + 1, *y.shape[1:]))):
        with pytest.raises(
            ValueError, match=rf"^dy must have the shape of the layer's output, {re.escape(str(y.shape))}"
        ):
            layer.backward(bad, cache)
    with pytest.raises(TypeError, match="dy must be an array of real floating dtype"):
        layer.backward(np.ones(y.shape, int), cache)
    assert all(p.grad is None for p in layer.parameters())


@pytest.mark.parametrize(
    "text",
    [
        *(f"{name}()" for name in ("ReLU", "SiLU", "Sigmoid", "Tanh", "Flatten", "LeakyReLU", "GELU", "Softmax")),
        *("LogSoftmax()", "GlobalAveragePool2D()", "SoftmaxCrossEntropy()", "MeanSquaredError()"),
        *("MeanPool2D(2)", "BatchNorm(3)", "Dropout(0.25)", "ELU(alpha=1)", "LeakyReLU(0.25)"),
        *("Softmax(axis=1)", "LogSoftmax(axis=1)", "GELU(approximate='tanh')", "GlobalAveragePool2D(keepdims=True)"),
        "MeanPool2D((2, 3), stride=1, padding='same', count_padding=True, ceil_mode=True)",
        "MaxPool2D(3, stride=(1, 2), padding=1, dilation=2)",
        "BatchNorm(3, eps=0.001, momentum=0.01, dtype=np.float64)",
        "MeanSquaredError(reduction='sum')",
        "SoftmaxCrossEntropy(label_smoothing=0.1, class_weight=[1.0, 2.0], ignore_index=-1, reduction='sum')",
    ],
)
def test_the_repr_is_the_shortest_call_that_makes_it(text):
    assert repr(eval(text, vars(ac) | {"np": np})) == text
