"""Layers side by side."""

import numpy as np
import pytest

import allconv as ac

X = np.random.default_rng(0).standard_normal((2, 5, 4, 3))


def conv(out, seed=0, **options):
    return ac.Conv2D(3, out, 3, dtype=np.float64, rng=np.random.default_rng(seed), **options)


def test_outputs_are_joined_along_the_channels_or_added():
    first, second = conv(4, 0), ac.Sequential(conv(4, 1), ac.Tanh())
    np.testing.assert_array_equal(ac.Branches(first, second)(X), np.concatenate([first(X), second(X)], axis=3))
    np.testing.assert_array_equal(ac.Branches(first, second, merge="sum")(X), first(X) + second(X))


@pytest.mark.parametrize("count", [1, 40])
def test_a_sum_of_two_dtypes_has_the_wider_one_for_any_number_of_images(count):
    x = np.random.default_rng(0).standard_normal((count, 20, 20, 3)).astype(np.float32)
    narrow, wide = (ac.Conv2D(3, 9, 1, dtype=dtype) for dtype in (np.float32, np.float64))
    model = ac.Branches(narrow, wide, merge="sum")
    y, cache = model.forward(x)
    np.testing.assert_array_equal(y, narrow(x) + wide(x))
    assert y.dtype == model(x).dtype == np.float64
    dx = [layer.backward(y.astype(layer.weight.value.dtype), layer.forward(x)[1]) for layer in (narrow, wide)]
    np.testing.assert_array_equal(model.backward(y, cache), dx[0] + dx[1])


def test_a_layer_twice_adds_its_gradients():
    shared = conv(4)
    model = ac.Branches(shared, ac.Tanh(), shared)
    assert len(model.parameters()) == 2
    ac.gradcheck.check(model, X).raise_if_failed()


def test_release_frees_each_cache_after_its_use():
    model = ac.Branches(ac.Sequential(conv(2)), ac.Sequential(conv(3)))
    y, cache = model.forward(X, training=True)
    inner = list(cache[0])
    model.backward(y, cache)
    assert [len(own) for own in inner] == [1, 1]
    model.backward(y, cache, release=True)
    assert (cache[0], inner) == ([], [[], []])


def test_the_summary_gives_each_branch_the_input():
    summary = ac.Branches(ac.Sequential(conv(4), ac.ReLU()), conv(2)).summary((5, 4, 3))
    assert [(row.path, row.output_shape) for row in summary.rows] == [
        ("0.0", (5, 4, 4)), ("0.1", (5, 4, 4)), ("1", (5, 4, 2)), ("", (5, 4, 6))
    ]  # fmt: skip
    assert summary.multiply_adds == sum(row.multiply_adds for row in summary.rows) == 20 * 27 * 6


@pytest.mark.parametrize(
    ("layers", "merge", "message"),
    [
        ((conv(4), conv(4, stride=2)), "concat", "layers must have outputs that differ in the last axis alone, got"),
        ((conv(4), conv(5)), "sum", "layers must have outputs of one shape to be added, got"),
    ],
)
def test_outputs_that_do_not_fit_together_are_refused(layers, merge, message):
    model = ac.Branches(*layers, merge=merge)
    for call in (lambda: model(X), lambda: model.forward(X), lambda: model.output_shape(X.shape[1:])):
        with pytest.raises(ValueError, match=message):
            call()


def test_single_numbers_have_no_channels_to_be_joined():
    with pytest.raises(ValueError, match="layers must have outputs that differ in the last axis alone, got"):
        ac.Branches(ac.ReLU(), ac.Tanh())(np.ones(3))


def test_what_is_no_layer_is_refused():
    with pytest.raises(ValueError, match="layers must be at least one Layer, got none"):
        ac.Branches()
    with pytest.raises(TypeError, match=r"layers must be Layer objects, got .*Branches\(\*layers\)"):
        ac.Branches([ac.ReLU(), ac.Tanh()])
