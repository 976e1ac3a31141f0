"""What the fast algorithms lose: float32 gradients of the article's networks beside those of float64."""

import numpy as np
import pytest

import allconv as ac
from allconv.functional.winograd.tiling import applies
from allconv.models import article_net


def use(model, algorithm):
    """Let every convolution of the model that `algorithm` can compute be computed by it."""
    for layer in model:
        if isinstance(layer, ac.Conv2D):
            exists = applies(layer.kernel_size, layer.stride, layer.dilation, layer.groups)
            layer.algorithm = "auto" if algorithm == "winograd" and not exists else algorithm


def twins(kind, activation):
    """Return a float64 and a float32 model with the same weights to the last bit, images for them, and labels."""
    exact, model = (
        article_net(kind, activation=activation, dtype=dtype, rng=np.random.default_rng(1))
        for dtype in (np.float64, np.float32)
    )
    for parameter, other in zip(exact.parameters(), model.parameters(), strict=True):
        parameter.value = other.value
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, 32, 32, 3)).astype(np.float32)
    return exact, model, images.astype(np.float64), images, rng.integers(0, 10, 4)


def passes(model, images, labels):
    """Return each layer's cache, dL/dy and dL/dx."""
    scores, caches = model.forward(images, training=True)
    _, dy = ac.SoftmaxCrossEntropy()(scores, labels)
    upstream, downstream = [], []
    for layer, cache in zip(reversed(model.layers), reversed(caches), strict=True):
        upstream.insert(0, dy)
        dy = layer.backward(dy, cache)
        downstream.insert(0, dy)
    return caches, upstream, downstream


def error(value, exact):
    assert value.dtype == np.float32
    return np.abs(value - exact).max() / np.abs(exact).max()


@pytest.mark.parametrize("algorithm", ["auto", "winograd"])
@pytest.mark.parametrize("kind", ["convpool", "allcnn"])
def test_float32_gradients_are_within_1e_4_of_float64_through_the_whole_network(kind, algorithm):
    exact, model, exact_images, images, labels = twins(kind, "elu")
    use(exact, "im2col")
    _, _, exact_inputs = passes(exact, exact_images, labels)
    use(model, algorithm)
    _, _, inputs = passes(model, images, labels)
    assert max(error(dx, other) for dx, other in zip(inputs, exact_inputs, strict=True)) < 1e-4
    for parameter, other in zip(model.parameters(), exact.parameters(), strict=True):
        assert error(parameter.grad, other.grad) < 1e-4, parameter.name


# At ReLU's kink a rounding turns a gradient on or off, so each layer is compared on the same input and dL/dy.
