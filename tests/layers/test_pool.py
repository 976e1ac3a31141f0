"""The pooling layers: arguments, shapes, PyTorch's values."""

import numpy as np
import pytest
from helpers.numeric import numeric_input_grad
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from allconv.layers.global_average_pool import GlobalAveragePool2D
from allconv.layers.max_pool import MaxPool2D
from allconv.layers.mean_pool import MeanPool2D

pairs = st.tuples(st.integers(1, 7), st.integers(1, 7))
strides = st.tuples(st.integers(1, 3), st.integers(1, 3))
sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def against_torch(layer, pool, size, seed, few_values=False):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 3, (2, *size, 3)).astype(float) if few_values else rng.normal(size=(2, *size, 3))
    x_torch = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    try:
        y_torch = pool(torch.nn.functional, x_torch)
    except RuntimeError:
        with pytest.raises(ValueError, match="the window must fit into"):
            layer(x)
        return
    # PyTorch gives -inf for a window of nothing but padding, which raises here.
    assume(bool(torch.isfinite(y_torch).all()))
    y, cache = layer.forward(x, training=True)
    np.testing.assert_allclose(y.transpose(0, 3, 1, 2), y_torch.detach().numpy(), rtol=1e-9, atol=1e-12)
    dy = rng.normal(size=y.shape)
    y_torch.backward(torch.tensor(dy.transpose(0, 3, 1, 2).copy()))
    dx = layer.backward(dy, cache)
    np.testing.assert_allclose(dx.transpose(0, 3, 1, 2), x_torch.grad.numpy(), rtol=1e-9, atol=1e-12)
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
def test_nan_spreads_as_in_torch(layer):
    torch = pytest.importorskip("torch")
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
    np.testing.assert_allclose(layer.backward(dy, cache), numeric_input_grad(layer, x, dy), atol=1e-8)


LAYERS = [
    MeanPool2D(3, stride=2, padding="same"),
    MeanPool2D(2, stride=3, padding=1, count_padding=True, ceil_mode=True),
    MaxPool2D((2, 3), stride=2, padding=1),
    MaxPool2D(2),
    GlobalAveragePool2D(),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_gradient(layer):
    rng = np.random.default_rng(0)
    x = rng.permutation(2 * 6 * 5 * 2).reshape(2, 6, 5, 2) / 7  # no two are within h of each other
    y, cache = layer.forward(x)
    dy = rng.normal(size=y.shape)
    np.testing.assert_allclose(layer.backward(dy, cache), numeric_input_grad(layer, x, dy), atol=1e-7)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_layout_and_dtype(layer, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(-8, 8, (2, 6, 6, 4)).astype(dtype)
    y, cache = layer.forward(x)
    dx = layer.backward(y, cache)
    assert y.dtype == dx.dtype == dtype
    strided = np.repeat(x, 2, axis=3)[..., ::2]
    read_only = x.copy()
    read_only.flags.writeable = False
    for other in (np.asfortranarray(x), strided, read_only, x.astype(x.dtype.newbyteorder(">"))):
        y_other, cache = layer.forward(other)
        np.testing.assert_array_equal(y_other, y)
        assert y_other.dtype == dtype
        np.testing.assert_array_equal(layer.backward(np.asfortranarray(y), cache), dx)


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("MeanPool2D(2)", MeanPool2D((2, 2))),
        (
            "MeanPool2D((2, 3), stride=1, padding='same', count_padding=True, ceil_mode=True)",
            MeanPool2D((2, 3), stride=1, padding="same", count_padding=True, ceil_mode=True),
        ),
        (
            "MaxPool2D(3, stride=(1, 2), padding=1, dilation=2)",
            MaxPool2D(3, stride=(1, 2), padding=1, dilation=2),
        ),
        ("GlobalAveragePool2D()", GlobalAveragePool2D()),
        ("GlobalAveragePool2D(keepdims=True)", GlobalAveragePool2D(keepdims=True)),
    ],
)
def test_repr(text, layer):
    assert repr(layer) == text


POSITIVE = "must be a positive int or a pair of them, got "


@pytest.mark.parametrize("kind", [MeanPool2D, MaxPool2D])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kernel_size": 0}, ValueError, f"kernel_size {POSITIVE}0"),
        ({"kernel_size": -1}, ValueError, f"kernel_size {POSITIVE}-1"),
        ({"kernel_size": 2.0}, TypeError, f"kernel_size {POSITIVE}2.0"),
        ({"kernel_size": True}, TypeError, f"kernel_size {POSITIVE}True"),
        ({"kernel_size": None}, TypeError, f"kernel_size {POSITIVE}None"),
        ({"kernel_size": (2, 2, 2)}, ValueError, f"kernel_size {POSITIVE}(2, 2, 2)"),
        ({"stride": 0}, ValueError, f"stride {POSITIVE}0"),
        ({"stride": (1, 0)}, ValueError, f"stride {POSITIVE}(1, 0)"),
        ({"stride": float("nan")}, TypeError, f"stride {POSITIVE}nan"),
        ({"stride": "2"}, TypeError, f"stride {POSITIVE}'2'"),
        ({"padding": -1}, ValueError, "padding must be 'same'"),
        ({"padding": "full"}, ValueError, "padding must be one of 'same', 'same_lower', 'valid', got 'full'"),
        ({"padding": (1, 2, 3)}, ValueError, "padding must be 'same'"),
        ({"padding": 1.5}, TypeError, "padding must be 'same'"),
        ({"ceil_mode": 1}, TypeError, "ceil_mode must be True or False, got 1"),
    ],
)
def test_bad_arguments(kind, arguments, error, message):
    with pytest.raises(error) as caught:
        kind(**{"kernel_size": 2, **arguments})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MeanPool2D(2, count_padding=None), "count_padding must be True or False, got None"),
        (lambda: MaxPool2D(2, dilation=0), f"dilation {POSITIVE}0"),
        (lambda: MaxPool2D(2, dilation=1.5), f"dilation {POSITIVE}1.5"),
        (lambda: GlobalAveragePool2D(keepdims=1), "keepdims must be True or False, got 1"),
    ],
)
def test_bad_arguments_of_one_layer(make, message):
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((4, 4, 3)), ValueError, r"x must have shape \(N, H, W, C\), got an array of shape \(4, 4, 3\)"),
        (np.zeros((0, 4, 4, 3)), ValueError, "x must be a batch of at least one example"),
        (np.zeros((1, 4, 4, 3), int), TypeError, r"x must be an array of real floating dtype.*astype"),
        (np.zeros((1, 4, 4, 3), complex), TypeError, "x must be an array of real floating dtype"),
    ],
)
def test_bad_input(layer, x, error, message):
    with pytest.raises(error, match=message):
        layer.forward(x, training=True)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_bad_gradient(layer):
    y, cache = layer.forward(np.zeros((2, 6, 6, 3)))
    with pytest.raises(ValueError, match=r"dy must have the shape of the layer's output"):
        layer.backward(y[:1], cache)


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
