"""The layers of small published networks: PyTorch's values and gradients, at all shapes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import allconv as ac

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
factors = st.tuples(st.integers(1, 4), st.integers(1, 4))
every_shape = settings(max_examples=60, deadline=None)


def to_torch(array):
    """Return a tensor that wants its gradient: images as NCHW, anything else in its own layout."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch.tensor(np.moveaxis(array, -1, 1).copy() if array.ndim == 4 else array.copy(), requires_grad=True)


def to_numpy(tensor):
    """Undo `to_torch`."""
    array = tensor.detach().numpy()
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array


def assert_like_torch(layer, function, x):
    """Compare y and all gradients with those of ``function(torch, tensor, *parameters)``, and the shape of y."""
    tensor, parameters = to_torch(x), [to_torch(p.value) for p in layer.parameters()]
    expected = function(pytest.importorskip("torch"), tensor, *parameters)
    y, cache = layer.forward(x, training=True)
    np.testing.assert_allclose(y, to_numpy(expected), rtol=1e-9, atol=1e-11)
    assert layer.output_shape(x.shape[1:]) == y.shape[1:]
    dy = np.random.default_rng(1).normal(size=y.shape)
    expected.backward(to_torch(dy))
    np.testing.assert_allclose(layer.backward(dy, cache), to_numpy(tensor.grad), rtol=1e-9, atol=1e-11)
    for p, parameter in zip(layer.parameters(), parameters, strict=True):
        np.testing.assert_allclose(p.grad, to_numpy(parameter.grad), rtol=1e-9, atol=1e-11, err_msg=p.name)


def images(size, channels=4):
    return np.random.default_rng(0).standard_normal((2, *size, channels))


def stirred(layer):
    """Return the layer with parameters that are neither 0 nor 1."""
    for p in layer.parameters():
        p.value = np.random.default_rng(1).uniform(0.2, 0.8, p.value.shape)
    return layer


@every_shape
@given(sizes, factors, factors, st.tuples(st.integers(1, 3), st.integers(1, 3)), st.sampled_from([1, 2]), st.data())
def test_conv_transpose_as_torch(size, kernel, stride, dilation, groups, data):
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    padding = tuple(data.draw(st.integers(0, (r - 1) // 2)) for r in reach)
    more = tuple(data.draw(st.integers(0, s - 1)) for s in stride)
    layer = ac.ConvTranspose2D(
        4, 6, kernel, stride=stride, padding=padding, output_padding=more, dilation=dilation, groups=groups,
        dtype=np.float64, rng=np.random.default_rng(0),
    )  # fmt: skip

    def theirs(torch, x, weight, bias):
        weight = weight.permute(1, 3, 0, 2)
        return torch.nn.functional.conv_transpose2d(x, weight, bias, stride, padding, more, groups, dilation)

    assert_like_torch(stirred(layer), theirs, images(size))


@pytest.mark.parametrize("padding", ["same", "same_lower"])
@given(sizes, factors, factors)
def test_conv_transpose_leads_back_from_what_the_convolution_makes_of_a_multiple_of_its_stride(
    padding, size, kernel, stride
):
    options = {"stride": stride, "padding": padding, "bias": False, "dtype": np.float64}
    up, down = ac.ConvTranspose2D(4, 6, kernel, **options), ac.Conv2D(6, 4, kernel, **options)
    down.weight.value = up.weight.value
    x = images(size)
    g = np.random.default_rng(1).standard_normal((2, size[0] * stride[0], size[1] * stride[1], 6))
    np.testing.assert_allclose((up(x) * g).sum(), (x * down(g)).sum(), rtol=1e-10, atol=1e-10)


def test_conv_transpose_refuses_a_padding_that_leaves_nothing_or_contradicts_itself():
    layer = ac.ConvTranspose2D(4, 6, 3, padding=2, dtype=np.float64)
    for call in (lambda: layer(images((2, 3))), lambda: layer.output_shape((2, 3, 4))):
        with pytest.raises(ValueError, match=r"padding must leave an output, got 2 for an input of \(2, 3\)"):
            call()
    with pytest.raises(ValueError, match="output_padding must be 0 with padding 'same', got 1"):
        ac.ConvTranspose2D(4, 6, 3, stride=2, output_padding=1)


@every_shape
@given(sizes, factors, st.sampled_from(["nearest", "bilinear"]))
def test_upsampling_as_torch(size, factor, mode):
    assert_like_torch(
        ac.Upsample2D(factor, mode),
        lambda torch, x: torch.nn.functional.interpolate(x, scale_factor=factor, mode=mode),
        images(size),
    )


@every_shape
@given(sizes, st.tuples(*[st.integers(0, 3)] * 4))
def test_padding_as_torch(size, padding):
    top, left, bottom, right = padding
    assert_like_torch(
        ac.ZeroPad2D(padding),
        lambda torch, x: torch.nn.functional.pad(x, (left, right, top, bottom)),
        images(size),
    )


@every_shape
@given(sizes, sizes)
def test_adaptive_pooling_as_torch(size, out):
    assert_like_torch(
        ac.AdaptiveAveragePool2D(out),
        lambda torch, x: torch.nn.functional.adaptive_avg_pool2d(x, out),
        images(size),
    )


SHAPES = st.sampled_from([(2, 4), (3, 5, 4), (2, 1, 1, 4), (2, 3, 5, 4)])


@every_shape
@given(SHAPES, st.sampled_from([1e-5, 0.1]), st.floats(-100, 100))
def test_layer_norm_as_torch(shape, eps, offset):
    def theirs(torch, x, weight, bias):
        rows = x.movedim(1, -1) if x.ndim == 4 else x
        y = torch.nn.functional.layer_norm(rows, (4,), weight, bias, eps)
        return y.movedim(-1, 1) if x.ndim == 4 else y

    x = np.random.default_rng(0).normal(offset, size=shape)
    assert_like_torch(stirred(ac.LayerNorm(4, eps=eps, dtype=np.float64)), theirs, x)


@every_shape
@given(sizes, st.sampled_from([1, 2, 4]), st.sampled_from([1e-5, 0.1]), st.floats(-100, 100))
def test_group_norm_as_torch(size, groups, eps, offset):
    assert_like_torch(
        stirred(ac.GroupNorm(groups, 4, eps=eps, dtype=np.float64)),
        lambda torch, x, weight, bias: torch.nn.functional.group_norm(x, groups, weight, bias, eps),
        images(size) + offset,
    )


@pytest.mark.parametrize("channels", [1, 4])
def test_prelu_as_torch(channels):
    x = images((5, 6)) * np.array([1.0, 0.0, 1e3, -1.0])
    layer = stirred(ac.PReLU(channels, dtype=np.float64))
    assert_like_torch(layer, lambda torch, x, weight: torch.nn.functional.prelu(x, weight), x)
    assert not layer.weight.decay


def test_means_over_many_positions_keep_the_digits_of_float32():
    x = np.random.default_rng(0).uniform(1.0, 2.0, (1, 300, 300, 2)).astype(np.float32)
    means = ac.AdaptiveAveragePool2D(1)(x)
    np.testing.assert_allclose(means, x.mean(axis=(1, 2), dtype=np.float64, keepdims=True), rtol=1e-7)
    y, (_, inv_std, _) = ac.GroupNorm(1, 2).forward(x)
    assert abs(y.mean(dtype=np.float64)) < 1e-6
    np.testing.assert_allclose(inv_std.item(), 1 / np.sqrt(x.var(dtype=np.float64) + 1e-5), rtol=2e-7)
