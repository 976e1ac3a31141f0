"""The pooling layers: arguments, shapes, PyTorch's values."""

import numpy as np
import pytest
from helpers.torch_peer import assert_like_torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from allconv import GlobalAveragePool2D, MaxPool2D, MeanPool2D

pairs = st.tuples(st.integers(1, 7), st.integers(1, 7))
strides = st.tuples(st.integers(1, 3), st.integers(1, 3))
sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def against_torch(layer, pool, size, seed, few_values=False):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 3, (2, *size, 3)).astype(float) if few_values else rng.normal(size=(2, *size, 3))
    try:
        y_torch = pool(torch.nn.functional, torch.tensor(x.transpose(0, 3, 1, 2).copy()))
    except RuntimeError:
        with pytest.raises(ValueError, match="the window must fit into"):
            layer(x)
        return
    # PyTorch gives -inf for a window of nothing but padding, which raises here.
    assume(bool(torch.isfinite(y_torch).all()))
    y = assert_like_torch(layer, lambda torch, x: pool(torch.nn.functional, x), x)
    assert layer.output_shape(x.shape[1:]) == y.shape[1:]


@settings(max_examples=80, deadline=None)
@given(sizes, pairs, strides, st.booleans(), st.booleans(), st.data())
def test_mean_pool_as_torch(size, kernel, stride, count_padding, ceil_mode, data):
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    layer = MeanPool2D(kernel, stride=stride, padding=padding, count_padding=count_padding, ceil_mode=ceil_mode)
    against_torch(layer, lambda f, x: f.avg_pool2d(x, kernel, stride, padding, ceil_mode, count_padding), size, seed=0)


@settings(max_examples=80, deadline=None)
@given(sizes, pairs, strides, st.tuples(st.integers(1, 3), st.integers(1, 3)), st.booleans(), st.data())
def test_max_pool_as_torch(size, kernel, stride, dilation, ceil_mode, data):
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    layer = MaxPool2D(kernel, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)

    def pool(f, x):
        return f.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode)

    against_torch(layer, pool, size, seed=1, few_values=True)


@pytest.mark.parametrize("layer", [MeanPool2D(3, stride=2, padding=1), MaxPool2D(3, stride=2, padding=1)], ids=repr)
def test_nan_spreads_as_in_torch(torch, layer):
    x = np.arange(49.0).reshape(1, 7, 7, 1)
    x[0, 3, 2, 0] = np.nan
    x_torch = torch.tensor(x.transpose(0, 3, 1, 2).copy())
    if isinstance(layer, MaxPool2D):
        y_torch = torch.nn.functional.max_pool2d(x_torch, 3, 2, 1)
    else:
        y_torch = torch.nn.functional.avg_pool2d(x_torch, 3, 2, 1, count_include_pad=False)
    np.testing.assert_allclose(layer(x).transpose(0, 3, 1, 2), y_torch.numpy(), rtol=1e-12)


def test_max_pool_sends_the_gradient_of_a_nan_window_to_the_nan():
    x = np.array([[1.0, 2.0], [np.nan, 3.0]]).reshape(1, 2, 2, 1)
    layer = MaxPool2D(2)
    _, cache = layer.forward(x)
    np.testing.assert_array_equal(layer.backward(np.full((1, 1, 1, 1), 5.0), cache)[0, :, :, 0], [[0, 0], [5, 0]])


def test_max_pool_ties_go_to_the_first_row_by_row():
    layer = MaxPool2D(2, stride=1)
    _, cache = layer.forward(np.zeros((1, 3, 3, 1)))
    dx = layer.backward(np.array([[1.0, 2.0], [4.0, 8.0]]).reshape(1, 2, 2, 1), cache)
    np.testing.assert_array_equal(dx[0, :, :, 0], [[1, 2, 0], [4, 8, 0], [0, 0, 0]])


def test_max_pool_padding_never_wins():
    assert MaxPool2D(3, stride=2, padding="same")(np.full((1, 4, 4, 1), -5.0)).max() == -5.0


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
    column = MeanPool2D((3, 1), stride=(2, 1), padding=_transposed(padding))(row.swapaxes(1, 2))
    np.testing.assert_allclose(column.ravel(), expected, rtol=1e-15)


def _transposed(padding):
    if isinstance(padding, str):
        return padding
    return padding[::-1] if len(padding) == 2 else (padding[1], padding[0], padding[3], padding[2])


def test_mean_pool_count_padding_divides_by_the_whole_window_but_not_by_the_overhang():
    row = np.arange(1.0, 7.0).reshape(1, 1, 6, 1)
    y = MeanPool2D((1, 4), stride=(1, 3), padding=(0, 1, 0, 0), count_padding=True, ceil_mode=True)(row)
    # Windows over 0 1 2 3 and 3 4 5 6; with one more row of input, a third one would hang over.
    np.testing.assert_allclose(y.ravel(), [6 / 4, 18 / 4])
    row = np.arange(1.0, 8.0).reshape(1, 1, 7, 1)
    y = MeanPool2D((1, 4), stride=(1, 3), padding=(0, 1, 0, 1), count_padding=True, ceil_mode=True)(row)
    # The third window holds 6, 7 and one padding; its fourth position hangs over.
    np.testing.assert_allclose(y.ravel(), [6 / 4, 18 / 4, 13 / 3])


def test_ceil_mode_drops_a_window_that_would_start_in_the_padding():
    x = np.ones((1, 1, 4, 1))
    assert MaxPool2D((1, 1), stride=(1, 3), padding=(0, 0, 0, 0), ceil_mode=True)(x).shape == (1, 1, 2, 1)
    # Windows at -1, 2 and 5, where the padding starts at 4: the last one is dropped.
    assert MaxPool2D((1, 2), stride=(1, 3), padding=(0, 1, 0, 1), ceil_mode=True)(x).shape == (1, 1, 2, 1)
    assert MaxPool2D((1, 2), stride=(1, 3), padding=(0, 1, 0, 1), ceil_mode=True)(x[:, :, :3]).shape == (1, 1, 2, 1)


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
    for n, c in np.ndindex(3, 2):
        assert y.reshape(3, 2)[n, c] == pytest.approx(sum(x[n, :, :, c].ravel().tolist()) / 20, rel=1e-12)
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
