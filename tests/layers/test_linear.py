"""The fully connected layer against its definition, for batches small and large."""

import numpy as np
import pytest
from helpers.bits import same_with_any_threads

from allconv import Linear

# Of the second, all three products are cut into blocks; of the third, X^T dY alone has too few rows for that.
SHAPES = [(5, 4, 3), (1031, 97, 80), (3001, 9, 160)]


@pytest.mark.parametrize(("n", "inputs", "outputs"), SHAPES)
def test_by_the_definition(n, inputs, outputs):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(n, inputs)), rng.normal(size=(n, outputs))
    layer = Linear(inputs, outputs, dtype=np.float64, rng=rng)
    layer.bias.value = rng.normal(size=outputs)
    weight, bias = layer.weight.value, layer.bias.value

    def compute():
        layer.weight.grad = layer.bias.grad = None
        y, cache = layer.forward(x)
        return y, layer.backward(dy, cache), layer.weight.grad, layer.bias.grad

    y, dx, weight_grad, bias_grad = same_with_any_threads(compute, (1, 2, 3, 8))
    np.testing.assert_allclose(y, np.einsum("ni,io->no", x, weight) + bias, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(dx, np.einsum("no,io->ni", dy, weight), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(weight_grad, np.einsum("ni,no->io", x, dy), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(bias_grad, np.einsum("no->o", dy), rtol=1e-11, atol=1e-11)
