"""The pooling layers: arguments and shapes; `functional/test_pool.py` compares the values with the definition."""

import numpy as np
import pytest
from helpers.reference_pool import max_pool_reference, mean_pool_reference

from allconv import GlobalAveragePool2D, MaxPool2D, MeanPool2D


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_the_layers_pass_their_arguments_on(ceil_mode, training):
    rng = np.random.default_rng(0)
    x, windows = rng.normal(size=(2, 9, 7, 3)), ((3, 2), (2, 1), ((1, 1), (0, 1)))
    options = {"stride": (2, 1), "padding": (1, 0, 1, 1), "ceil_mode": ceil_mode}
    for layer, (y, dy, dx) in (
        (
            MaxPool2D((3, 2), dilation=(1, 2), **options),
            max_pool_reference(x, lambda shape: rng.normal(size=shape), *windows, (1, 2), ceil_mode),
        ),
        (
            MeanPool2D((3, 2), count_padding=True, **options),
            mean_pool_reference(x, lambda shape: rng.normal(size=shape), *windows, True, ceil_mode),
        ),
    ):
        got, cache = layer.forward(x, training=training)
        assert layer.output_shape(x.shape[1:]) == y.shape[1:]
        np.testing.assert_allclose(got, y, rtol=1e-12)
        np.testing.assert_allclose(layer.backward(dy, cache), dx, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("padding", "expected"),
    [  # of the row 1 2 3 4 5 6, kernel 3, stride 2
        ("valid", [2.0, 4.0]),
        ("same", [2.0, 4.0, 5.5]),
        ("same_lower", [1.5, 3.0, 5.0]),
        ((0, 0, 0, 1), [2.0, 4.0, 5.5]),
        ((0, 1), [1.5, 3.0, 5.0]),
        ((0, 1, 0, 0), [1.5, 3.0, 5.0]),
    ],
)
def test_mean_pool_leaves_padding_out_of_the_divisor(padding, expected):
    row = np.arange(1.0, 7.0).reshape(1, 1, 6, 1)
    y = MeanPool2D((1, 3), stride=(1, 2), padding=padding)(row)
    np.testing.assert_allclose(y.ravel(), expected, rtol=1e-15)


def test_the_stride_is_the_kernel_size_by_default():
    assert MeanPool2D((2, 3)).stride == (2, 3)
    assert MaxPool2D(4)(np.zeros((1, 9, 9, 1))).shape == (1, 2, 2, 1)


@pytest.mark.parametrize("keepdims", [False, True])
def test_global_average_pool(keepdims):
    rng = np.random.default_rng(0)
    layer = GlobalAveragePool2D(keepdims=keepdims)
    x = rng.normal(size=(3, 4, 5, 2))
    y, cache = layer.forward(x)
    assert y.shape == ((3, 1, 1, 2) if keepdims else (3, 2))
    assert layer.output_shape((4, 5, 2)) == y.shape[1:]
    np.testing.assert_allclose(y.reshape(3, 2), np.einsum("nhwc->nc", x) / 20, rtol=1e-12)
    dy = rng.normal(size=y.shape)
    expected = np.broadcast_to(dy.reshape(3, 1, 1, 2) / 20, x.shape)
    np.testing.assert_allclose(layer.backward(dy, cache), expected, rtol=1e-12)


def test_a_window_larger_than_the_input_says_so():
    for call in (lambda: MeanPool2D(5)(np.zeros((1, 4, 4, 1))), lambda: MaxPool2D(5).output_shape((4, 4, 1))):
        with pytest.raises(ValueError, match=r"window must fit into the padded input: kernel \(5, 5\)"):
            call()


@pytest.mark.parametrize("kind", [MeanPool2D, MaxPool2D])
def test_a_window_of_padding_alone_says_so(kind):
    layer = kind(2, padding=2)
    for call in (lambda: layer(np.zeros((1, 4, 4, 1))), lambda: layer.output_shape((4, 4, 1))):
        with pytest.raises(
            ValueError, match=r"padding must leave an input in every window .* got \(\(2, 2\), \(2, 2\)\)"
        ):
            call()
