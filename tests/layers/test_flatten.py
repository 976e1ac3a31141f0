"""Flatten."""

import numpy as np
import pytest

from allconv import Flatten


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3), (3,)])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
def test_the_last_axis_varies_fastest(shape, layout):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    layer = Flatten()
    y, cache = layer.forward(layout(x), training=True)
    np.testing.assert_array_equal(y, [row.ravel().tolist() for row in x])
    assert layer.output_shape(shape[1:]) == y.shape[1:]
    dx = layer.backward(y * 2, cache)
    assert dx.dtype == np.float32
    np.testing.assert_array_equal(dx, x * 2)
