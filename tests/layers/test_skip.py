"""The shortcut, and the dilated gradient in both its forms."""

import numpy as np
import pytest

import allconv as ac


def body(channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return ac.Sequential(ac.Conv2D(channels, channels, 3, dtype=np.float64, rng=rng), ac.Tanh())


def images():
    return np.random.default_rng(1).standard_normal((2, 5, 4, 3))


def jacobian(layer, x):
    """J, (outputs, inputs), by central differences of the forward pass."""
    columns, h = [], 1e-6
    for index in np.ndindex(x.shape):
        d = np.zeros_like(x)
        d[index] = h
        columns.append((layer(x + d) - layer(x - d)).ravel() / (2 * h))
    return np.stack(columns, axis=1)


def test_forward_adds_the_scaled_input():
    layer = ac.Skip(body(), scale=0.3)
    np.testing.assert_allclose(layer(images()), body()(images()) + 0.3 * images(), rtol=1e-12)


def test_backward_only_finds_exactly_scale_dy_too_much_at_the_input():
    layer, x = ac.Skip(body(), scale=0.8, in_forward=False), images()
    report = ac.gradcheck.check(layer, x)
    assert not report.passed
    y, cache = layer.forward(x)
    np.testing.assert_array_equal(y, body()(x))
    dy = np.random.default_rng(2).standard_normal(y.shape)
    numeric = (jacobian(layer, x).T @ dy.ravel()).reshape(x.shape)
    np.testing.assert_allclose(layer.backward(dy, cache) - numeric, 0.8 * dy, atol=1e-8)


def test_the_scale_is_the_one_of_the_forward_pass_that_made_the_cache():
    layer, x = ac.Skip(body(), scale=0.8), images()
    y, cache = layer.forward(x)
    before = layer.backward(np.ones_like(y), cache)
    layer.scale = 0.1
    np.testing.assert_array_equal(layer.backward(np.ones_like(y), cache), before)


def test_the_scale_is_saved_by_path(tmp_path):
    model, other = (ac.Sequential(ac.Skip(body(), scale=scale)) for scale in (0.25, 0.5))
    ac.save_weights(model, tmp_path / "weights.npz")
    ac.load_weights(other, tmp_path / "weights.npz")
    assert other[0].scale == 0.25


def test_a_layer_on_the_shortcut_is_scaled_and_keeps_its_own_path():
    layer = ac.Skip(body(), scale=0.3, shortcut=body(seed=5))
    np.testing.assert_allclose(layer(images()), body()(images()) + 0.3 * body(seed=5)(images()), rtol=1e-12)
    assert [path for path, _ in layer.named_parameters()][2:] == ["shortcut.0.weight", "shortcut.0.bias"]
    summary = layer.summary((5, 4, 3))
    assert [row.path for row in summary.rows] == ["body.0", "body.1", "shortcut.0", "shortcut.1"]


def test_a_layer_on_the_shortcut_must_fit_the_body():
    layer = ac.Skip(body(), shortcut=ac.Conv2D(3, 3, 1, stride=2, dtype=np.float64))
    for call in (lambda: layer(images()), lambda: layer.output_shape((5, 4, 3))):
        with pytest.raises(ValueError, match="body and shortcut must have outputs of one shape, got"):
            call()


def test_a_body_that_changes_the_shape_is_refused():
    layer = ac.Skip(ac.Conv2D(3, 3, 3, stride=2, dtype=np.float64))
    with pytest.raises(ValueError, match="body must keep its input's shape, got"):
        layer(images())
    with pytest.raises(ValueError, match="body must keep its input's shape, got"):
        layer.output_shape((5, 4, 3))
