"""Dropout: the share of zeros, the scale, and where its randomness comes from."""

import json
import math

import numpy as np
import pytest

from allconv import Dropout


def masks(layer, count, shape=(4, 50)):
    return [layer.forward(np.ones(shape), training=True)[0] for _ in range(count)]


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_zeros_and_scale(rate, dtype):
    n = 40_000
    x = np.full((10, n // 10), 3.0, dtype)
    y, _ = Dropout(rate, rng=np.random.default_rng(0)).forward(x, training=True)
    assert y.dtype == dtype
    dropped = y == 0
    assert abs(dropped.mean() - rate) <= 5 * math.sqrt(rate * (1 - rate) / n)  # five standard deviations
    np.testing.assert_allclose(y[~dropped], 3.0 / (1 - rate), rtol=2 * np.finfo(dtype).eps)


def test_the_largest_rate_keeps_the_mean():
    n = 1 << 24
    y, _ = Dropout(0.9999, rng=np.random.default_rng(0)).forward(np.ones((n, 1), np.float16), training=True)
    assert abs(y.mean(dtype=np.float64) - 1) <= 5 * math.sqrt(1e4 / n)  # five standard deviations


def test_each_row_and_column_has_its_own_zeros():
    zeros = masks(Dropout(0.5, rng=np.random.default_rng(0)), 1, (40, 40))[0] == 0
    assert len({row.tobytes() for row in zeros}) == 40
    assert len({column.tobytes() for column in zeros.T}) == 40


def test_backward_uses_the_mask_of_its_forward():
    rng = np.random.default_rng(1)
    layer = Dropout(0.4, rng=rng)
    x, dy = rng.normal(size=(5, 6, 7, 2)), rng.normal(size=(5, 6, 7, 2))
    y, cache = layer.forward(x, training=True)
    layer.forward(x, training=True)  # another mask in between
    factor = y / x
    np.testing.assert_allclose(layer.backward(dy, cache), dy * factor, rtol=1e-12)
    np.testing.assert_array_equal(layer.backward(dy, cache), layer.backward(dy, cache))


def test_inference_is_the_identity_and_draws_nothing():
    layer, other = (Dropout(0.5, rng=np.random.default_rng(2)) for _ in range(2))
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    y, cache = layer.forward(x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(layer.backward(x, cache), x)
    np.testing.assert_array_equal(masks(layer, 1), masks(other, 1))


def test_the_generator_is_a_child_of_its_own():
    parent = np.random.default_rng(3)
    first, second = Dropout(0.5, rng=parent), Dropout(0.5, rng=parent)
    a, b = masks(first, 2)
    c, _ = masks(second, 2)
    assert not np.array_equal(a, b)
    assert not np.array_equal(a, c)
    # The parent's own stream is where it was.
    assert parent.random() == np.random.default_rng(3).random()
    again = np.random.default_rng(3)
    np.testing.assert_array_equal(masks(Dropout(0.5, rng=again), 2), [a, b])
    np.testing.assert_array_equal(masks(Dropout(0.5, rng=again), 1), [c])


def test_without_a_generator_two_layers_differ():
    assert not np.array_equal(masks(Dropout(0.5), 1), masks(Dropout(0.5), 1))


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_the_state_is_plain_and_brings_the_masks_back(kind):
    layer, other = (Dropout(0.5, rng=np.random.Generator(kind(seed))) for seed in (4, 5))
    masks(layer, 3, (3, 3))  # an odd number of draws: half a word is kept in the state
    state = json.loads(json.dumps(layer.state()))
    expected = masks(layer, 3)
    other.load_state(state)
    np.testing.assert_array_equal(masks(other, 3), expected)
    layer.load_state(state)
    np.testing.assert_array_equal(masks(layer, 3), expected)


def test_a_bad_state_raises_and_changes_nothing():
    layer = Dropout(0.5, rng=np.random.default_rng(6))
    before = layer.state()
    good = before["generator"]
    bad = [
        {},
        {"generator": good, "more": 1},
        {"generator": None},
        {"generator": {}},
        {"generator": np.random.Generator(np.random.MT19937(0)).bit_generator.state},
        {"generator": {**good, "bit_generator": "MT19937"}},
        {"generator": {key: value for key, value in good.items() if key != "has_uint32"}},
        {"generator": {**good, "state": {"state": 5}}},
        {"generator": {**good, "state": {"state": "x", "inc": 3}}},
        {"generator": {**good, "uinteger": -1}},
    ]
    for state in bad:
        with pytest.raises(ValueError, match=r"(generator must be the state of a PCG64 generator|state must have)"):
            layer.load_state(state)
        assert layer.state() == before


def test_a_generator_that_cannot_spawn_is_refused():
    rng = np.random.Generator(np.random.RandomState(0)._bit_generator)
    with pytest.raises(TypeError, match=r"rng must be a Generator that can spawn another, such as .*, got Generator\("):
        Dropout(0.5, rng=rng)
