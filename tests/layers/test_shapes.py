"""output_shape, multiply_adds and summary refuse what the forward pass refuses, and say which layer it was."""

import pickle

import numpy as np
import pytest
from helpers.registry import every_layer

import allconv as ac
from allconv.layers.shapes import MisfitError

SHAPES = [(), (5,), (4,), (0,), (7, 6), (6, 5), (0, 4), (7, 6, 4), (7, 6, 5), (4, 7, 6), (7, 0, 4), (1, 1, 4)]
SHAPES += [(1, 7, 6, 4), (3, 7, 6, 4, 1)]


@every_layer
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_output_shape_refuses_what_forward_refuses(case, options, shape):
    layer = case.build(**options)
    try:
        expected = layer(np.ones((2, *shape))).shape[1:]
    except ValueError:
        for method in (layer.output_shape, layer.multiply_adds, layer.summary):
            with pytest.raises(ValueError, match=r"must .*got .*\("):
                method(shape)
    else:
        assert layer.output_shape(shape) == layer.output_shape(list(shape)) == expected
        assert layer.summary(shape).rows[-1].output_shape == expected
        assert layer.multiply_adds(shape) == layer.summary(shape).multiply_adds


@every_layer
@pytest.mark.parametrize("bad", [None, 32, "32", (7.0, 6, 4), (True, 6, 4), (None, 6), np.array([7, 6]), {7, 6, 4}])
def test_what_is_no_shape_is_refused(case, options, bad):
    layer = case.build(**options)
    for method, name in (
        (layer.output_shape, "in_shape"),
        (layer.multiply_adds, "in_shape"),
        (layer.summary, "input_shape"),
    ):
        with pytest.raises(TypeError, match=rf"^{name} must be a tuple of positive ints, without the batch axis, got "):
            method(bad)


CONV = ac.Conv2D(3, 8, 3)
MODEL = ac.Sequential(CONV, ac.Skip(ac.Sequential(ac.ReLU(), ac.Conv2D(16, 8, 3))))


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (CONV, (3, 32, 24), r"in_shape must be \(H, W, 3\), .*got \(3, 32, 24\); .*NCHW: .* last axis, \(32, 24, 3\)"),
        (CONV, (1, 32, 32, 3), r"got \(1, 32, 32, 3\); leave the batch axis out: \(32, 32, 3\)"),
        (CONV, (1, 3, 32, 24), r"got \(1, 3, 32, 24\); leave the batch axis out: \(3, 32, 24\)"),
        (ac.GlobalAveragePool2D(), (1, 32, 32, 3), r"leave the batch axis out: \(32, 32, 3\)"),
        (ac.BatchNorm(3), (1, 32, 32, 3), r"leave the batch axis out: \(32, 32, 3\)"),
        (ac.MaxPool2D(2), (28, 28), r"grey images have an axis for their channel: \(28, 28, 1\)"),
        (ac.Conv2D(1, 2, 3), (28, 28), r"grey images have an axis for their channel: \(28, 28, 1\)"),
        (ac.Linear(12, 2), (2, 2, 3), r"in_shape must be \(12,\), .*got \(2, 2, 3\); put a Flatten before it"),
        (ac.Linear(12, 2), (5, 12), r"in_shape must be \(12,\), .*got \(5, 12\); leave the batch axis out: \(12,\)"),
        (ac.BatchNorm(4), (5,), r"in_shape must be \(4,\) or \(H, W, 4\), got \(5,\)"),
        (ac.Softmax(3), (5,), r"in_shape must have an axis 3, counted with the batch axis, got \(5,\)"),
        (ac.Conv2D(3, 8, 5, padding="valid"), (4, 9, 3), r"the window must fit into the padded input"),
    ],
)
def test_the_message_says_what_the_shape_looks_like(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.output_shape(shape)


@pytest.mark.parametrize("name", ["output_shape", "multiply_adds", "summary"])
def test_the_message_has_the_path_of_the_layer(name):
    method = getattr(MODEL, name)
    with pytest.raises(MisfitError, match=r"^layer 0, Conv2D: in_shape must be \(H, W, 3\), .*got \(32, 32, 4\)$"):
        method((32, 32, 4))
    with pytest.raises(MisfitError, match=r"^layer 1\.body\.1, Conv2D: in_shape must be \(H, W, 16\), .*, 8\)$"):
        method((32, 32, 3))
    skip = ac.Sequential(ac.Skip(CONV))
    with pytest.raises(MisfitError, match=r"^layer 0, Skip: body must keep its input's shape, got .*3\) in .*8\) out$"):
        getattr(skip, name)((32, 32, 3))


def test_the_error_survives_a_pickle():
    with pytest.raises(MisfitError) as caught:
        MODEL.output_shape((32, 32, 3))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("shape", [[2, 8, 9, 3], (np.int64(2), 8, np.int32(9), 3)])
def test_a_convolution_takes_the_shape_of_a_batch_as_any_sequence_of_ints(shape):
    layer = ac.Conv2D(3, 4, 3)
    assert layer.geometry(shape) == layer.geometry((2, 8, 9, 3))
    assert {type(size) for size in layer.geometry(shape).x_shape} == {int}
    assert layer.chosen_algorithm(shape) == layer.chosen_algorithm((2, 8, 9, 3))
