"""What every public layer must do. A new layer needs one row in `helpers/cases.py`."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from helpers.cases import LAYERS

import allconv as ac
from allconv.checkpoint.weights import load_model_state, model_state

ALL = [
    pytest.param(case, options, id=f"{name}-{index}")
    for name, case in LAYERS.items()
    for index, options in enumerate(case.variants)
]
every_layer = pytest.mark.parametrize(("case", "options"), ALL)
every_case = pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
modes = pytest.mark.parametrize("training", [False, True])


def sample(case, dtype=np.float64, seed=0):
    x = np.random.default_rng(seed).standard_normal(case.shape)
    # Away from 0, and for max pooling without near ties: every value has a distance of its own.
    return (x + np.copysign(0.05, x) if case.kinks else x).astype(dtype)


def snapshot(layer):
    return model_state(layer)


def run(layer, x, training=False, dy=None):
    """Return y, dx and the parameters' gradients; the layer's state is put back, so that runs can be compared."""
    before = snapshot(layer)
    y, cache = layer.forward(x, training=training)
    dy = np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype) if dy is None else dy
    dx = layer.backward(dy, cache)
    grads = {path: p.grad for path, p in layer.named_parameters() if p.grad is not None}
    for p in layer.parameters():
        p.grad = None
    load_model_state(layer, before)
    return y, dx, grads


def assert_same_bits(a, b):
    assert a[0].tobytes() == b[0].tobytes()
    assert a[1].tobytes() == b[1].tobytes()
    assert a[2].keys() == b[2].keys()
    assert all(a[2][path].tobytes() == b[2][path].tobytes() for path in a[2])


def test_every_public_layer_has_a_row():
    public = {
        name
        for name in ac.__all__
        if inspect.isclass(getattr(ac, name)) and issubclass(getattr(ac, name), ac.Layer) and name != "Layer"
    }
    assert public == set(LAYERS)


@every_layer
@modes
def test_the_gradient_check_passes(case, options, training):
    ac.gradcheck.check(case.build(**options), sample(case), training=training).raise_if_failed()


@every_layer
@modes
def test_forward_and_backward_write_to_nothing_of_the_callers(case, options, training):
    layer, x = case.build(**options), sample(case)
    kept = x.copy()
    y, cache = layer.forward(x, training=training)
    dy = np.ones_like(y)
    first = layer.backward(dy, cache)
    again = layer.backward(dy, cache)
    assert x.tobytes() == kept.tobytes()
    assert (dy == 1).all()
    assert first.tobytes() == again.tobytes()


@every_layer
def test_the_call_is_inference_and_keeps_nothing(case, options):
    layer, x = case.build(**options), sample(case)
    before = pickle.dumps(snapshot(layer))
    y, _ = layer.forward(x)
    assert layer(x).tobytes() == y.tobytes()
    assert pickle.dumps(snapshot(layer)) == before
    assert all(p.grad is None for p in layer.parameters())


@every_layer
def test_output_shape_is_what_forward_gives(case, options):
    layer, x = case.build(**options), sample(case)
    assert layer.output_shape(x.shape[1:]) == layer(x).shape[1:]


@every_layer
@modes
def test_the_gradient_has_the_shape_of_the_input(case, options, training):
    x = sample(case)
    _, dx, _ = run(case.build(**options), x, training)
    assert dx.shape == x.shape


@every_layer
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_are_the_parameters_or_else_the_inputs(case, options, dtype):
    layer = case.build(**options)
    parameters = layer.parameters()
    expected = parameters[0].value.dtype if parameters else np.dtype(dtype)
    y, dx, grads = run(layer, sample(case, dtype))
    assert y.dtype == expected
    assert dx.dtype == expected
    assert all(grad.dtype == expected for grad in grads.values())


def layouts(x):
    strided = np.zeros([2 * n for n in x.shape], x.dtype)
    strided[tuple(slice(None, None, 2) for _ in x.shape)] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    yield "Fortran-ordered", np.asfortranarray(x)
    yield "strided", strided[tuple(slice(None, None, 2) for _ in x.shape)]
    yield "reversed", x[::-1].copy()[::-1]
    yield "read-only", read_only
    yield "big-endian", x.astype(x.dtype.newbyteorder(">"))


@every_layer
@modes
def test_the_layout_of_the_arrays_changes_nothing(case, options, training):
    layer, x = case.build(**options), sample(case)
    plain = run(layer, x, training)
    for (name, other_x), (_, other_dy) in zip(
        layouts(x), layouts(np.cos(np.arange(plain[0].size)).reshape(plain[0].shape)), strict=True
    ):
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
    layer = case.build(**options)
    x = sample(case)
    x = np.concatenate([x] * (1 + 200_000 // x.size))  # large enough for the work to be shared
    before = ac.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            ac.set_num_threads(threads)
            results.append(run(layer, x, training))
    finally:
        ac.set_num_threads(before)
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


@every_layer
def test_gradients_add_up_and_frozen_parameters_get_none(case, options):
    layer, x = case.build(**options), sample(case)
    if not layer.parameters():
        return
    y, cache = layer.forward(x)
    layer.backward(np.ones_like(y), cache)
    once = {path: p.grad.copy() for path, p in layer.named_parameters() if p.trainable}
    layer.backward(np.ones_like(y), cache)
    for path, p in layer.named_parameters():
        if p.trainable:
            np.testing.assert_allclose(p.grad, 2 * once[path], rtol=1e-12)
        p.grad, p.trainable = None, False
    dx = layer.backward(np.ones_like(y), cache)
    assert all(p.grad is None for p in layer.parameters())
    assert dx.shape == x.shape


@every_layer
def test_backward_parameters_gives_the_same_gradients(case, options):
    layer, x = case.build(**options), sample(case)
    _, _, expected = run(layer, x)
    y, cache = layer.forward(x)
    layer.backward_parameters(np.cos(np.arange(y.size)).reshape(y.shape), cache)
    got = {path: p.grad for path, p in layer.named_parameters() if p.grad is not None}
    assert got.keys() == expected.keys()
    for path in got:
        np.testing.assert_allclose(got[path], expected[path], rtol=1e-12, atol=1e-12)


@every_layer
@modes
def test_a_cache_that_is_released_gives_the_same_gradients(case, options, training):
    layer = case.build(**options)
    y, cache = layer.forward(sample(case), training=training)
    another, dy = copy.deepcopy(cache), np.cos(np.arange(y.size)).reshape(y.shape)
    kept, gradients = layer.backward(dy, cache), taken_gradients(layer)
    assert layer.backward(dy, cache, release=True).tobytes() == kept.tobytes()
    released = taken_gradients(layer)
    layer.backward_parameters(dy, another, release=True)
    alone = taken_gradients(layer)
    assert gradients.keys() == released.keys() == alone.keys()
    for path, gradient in gradients.items():
        assert released[path].tobytes() == gradient.tobytes()
        np.testing.assert_allclose(alone[path], gradient, rtol=1e-12, atol=1e-12)


def taken_gradients(layer):
    """Return the gradients by path, and clear them."""
    found = {path: p.grad for path, p in layer.named_parameters() if p.grad is not None}
    for p in layer.parameters():
        p.grad = None
    return found


@every_layer
def test_weights_round_trip_through_a_file(case, options, tmp_path):
    layer, x = case.build(**options), sample(case)
    for p in layer.parameters():
        p.value += 0.25
    ac.save_weights(layer, tmp_path / "weights.npz")
    fresh = case.build(**options)
    ac.load_weights(fresh, tmp_path / "weights.npz")
    assert fresh(x).tobytes() == layer(x).tobytes()
    assert pickle.dumps(snapshot(fresh)) == pickle.dumps(snapshot(layer))


@every_layer
def test_the_repr_names_the_class(case, options):
    layer = case.build(**options)
    assert repr(layer).startswith(type(layer).__name__ + "(")


@every_case
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, complex, object, "U1"])
def test_an_input_that_is_not_floating_is_refused_and_told_how_to_convert(case, dtype):
    layer = case.build()
    before = pickle.dumps(snapshot(layer))
    with pytest.raises(TypeError, match=r"x must be an array of real floating dtype, got .*astype\(np.float32\)"):
        layer.forward(np.ones(case.shape, dtype), training=True)
    assert pickle.dumps(snapshot(layer)) == before


@every_case
@modes
def test_an_input_of_the_wrong_shape_is_refused_with_its_shape(case, training):
    layer = case.build()
    before = pickle.dumps(snapshot(layer))
    for shape in case.bad_shapes:
        with pytest.raises(ValueError, match=r"must .*got .*\(") as caught:
            layer.forward(np.ones(shape), training=training)
        assert str(shape) in str(caught.value)
    assert pickle.dumps(snapshot(layer)) == before


@every_case
def test_an_upstream_gradient_of_the_wrong_shape_or_dtype_is_refused(case):
    layer = case.build()
    y, cache = layer.forward(sample(case))
    for bad in (np.ones((*y.shape, 1)), np.ones(y.shape[:-1]), np.ones((len(y) + 1, *y.shape[1:]))):
        with pytest.raises(ValueError, match=r"dy must have .*shape.*got"):
            layer.backward(bad, cache)
    with pytest.raises(TypeError, match="dy must be an array of real floating dtype"):
        layer.backward(np.ones(y.shape, int), cache)
    assert all(p.grad is None for p in layer.parameters())


BAD = [
    pytest.param(case, argument, value, id=f"{name}-{argument}-{index}")
    for name, case in LAYERS.items()
    for argument, values in case.bad.items()
    for index, value in enumerate(values)
]


@pytest.mark.parametrize(("case", "argument", "value"), BAD)
def test_a_bad_argument_is_refused_by_name_rule_and_value(case, argument, value):
    with pytest.raises((TypeError, ValueError), match=rf"{argument} must .*got") as caught:
        case.build(**{argument: value})
    shown = repr(value) if not isinstance(value, np.ndarray) else "array"
    assert shown[:40] in str(caught.value)


@pytest.mark.parametrize("name", [name for name, case in LAYERS.items() if case.bad])
def test_at_least_twelve_bad_arguments_are_tried(name):
    assert sum(map(len, LAYERS[name].bad.values())) >= 12


def test_nchw_by_mistake_is_told_so():
    with pytest.raises(ValueError, match=r"this looks like NCHW: pass x.transpose\(0, 2, 3, 1\)"):
        ac.Conv2D(3, 8, 3)(np.ones((2, 3, 32, 32), np.float32))
