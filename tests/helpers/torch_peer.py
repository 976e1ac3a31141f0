"""A layer beside PyTorch's function."""

import numpy as np
import pytest


def to_torch(array):
    """Return a tensor that wants its gradient: images as NCHW, anything else as it is."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch.tensor(np.moveaxis(array, -1, 1).copy() if array.ndim == 4 else array.copy(), requires_grad=True)


def to_numpy(tensor):
    """Undo `to_torch`."""
    array = tensor.detach().numpy()
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array


def assert_like_torch(layer, function, x, training=False):
    """Compare y and dL/dx with those of ``function(torch, tensor)``, and return y."""
    tensor = to_torch(x)
    expected = function(pytest.importorskip("torch"), tensor)
    y, cache = layer.forward(x, training=training)
    np.testing.assert_allclose(y, to_numpy(expected), rtol=1e-9, atol=1e-12)
    dy = np.random.default_rng(1).normal(size=y.shape)
    expected.backward(to_torch(dy))
    np.testing.assert_allclose(layer.backward(dy, cache), to_numpy(tensor.grad), rtol=1e-9, atol=1e-12)
    return y
