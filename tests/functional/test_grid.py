"""A grid of convolutions against PyTorch: every kernel from 1 to 7 with every stride from 1 to 3.

`test_conv.py` draws its cases and compares with the definition; here none is missed.
"""

import itertools

import numpy as np
import pytest

import allconv as ac
from allconv.functional.padding import resolve_padding

SIZES = [(13, 14), (14, 13)]
PADDINGS = ["valid", "same", "same_lower", 1, (2, 1), (0, 1, 2, 3)]
DILATIONS_AND_GROUPS = [(1, 1), (2, 1), (1, 2), (1, 4), ((2, 1), 2)]


def compare(torch, layer, size):
    """Compare value and gradients of a layer in float64 with PyTorch's, for zeros padded beforehand."""
    rng = np.random.default_rng(0)
    layer.bias.value = rng.normal(size=layer.out_channels)
    x = rng.normal(size=(2, *size, layer.in_channels))
    y, cache = layer.forward(x)
    dy = rng.normal(size=y.shape)
    dx = layer.backward(dy, cache)
    rows, columns = resolve_padding(layer.padding, size, layer.kernel_size, layer.stride, layer.dilation)
    padded = np.pad(x, ((0, 0), rows, columns, (0, 0)))
    tensors = [
        torch.tensor(np.ascontiguousarray(array), requires_grad=True)
        for array in (padded.transpose(0, 3, 1, 2), layer.weight.value.transpose(3, 2, 0, 1), layer.bias.value)
    ]
    options = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
    expected = torch.nn.functional.conv2d(*tensors, **options)
    expected.backward(torch.tensor(np.ascontiguousarray(dy.transpose(0, 3, 1, 2))))
    inside = (slice(None), slice(rows[0], rows[0] + size[0]), slice(columns[0], columns[0] + size[1]))
    for name, got, wanted in (
        ("y", y, expected.detach().numpy().transpose(0, 2, 3, 1)),
        ("dx", dx, tensors[0].grad.numpy().transpose(0, 2, 3, 1)[inside]),
        ("dW", layer.weight.grad, tensors[1].grad.numpy().transpose(2, 3, 1, 0)),
        ("db", layer.bias.grad, tensors[2].grad.numpy()),
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9, err_msg=f"{name} of {layer} on {size}")


@pytest.mark.parametrize("s", range(1, 4))
@pytest.mark.parametrize("k", range(1, 8))
def test_values_and_gradients_are_pytorchs(torch, k, s):
    shapes = [(k, s), ((k, 8 - k), (s, 1 + s % 3))]  # the second of two different numbers, both ways
    for (kernel, stride), size, padding, (dilation, groups) in itertools.product(
        shapes, SIZES, PADDINGS, DILATIONS_AND_GROUPS
    ):
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        layer = ac.Conv2D(4, 4, kernel, **options, dtype=np.float64, rng=np.random.default_rng(1))
        compare(torch, layer, size)


@pytest.mark.parametrize("s", [1, 2])
@pytest.mark.parametrize("k", range(3, 8))
def test_the_bilinear_algorithms_too(torch, k, s):
    for size, padding in itertools.product(SIZES, PADDINGS):
        options = {"stride": s, "padding": padding, "algorithm": "winograd"}
        layer = ac.Conv2D(3, 5, k, **options, dtype=np.float64, rng=np.random.default_rng(1))
        compare(torch, layer, size)
