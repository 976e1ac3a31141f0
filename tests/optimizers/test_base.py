"""The contract that all optimizers share."""

import numpy as np
import pytest

from allconv.optimizers import SGD, Adam, AMSGrad
from allconv.parameter import Parameter


def test_a_step_applies_and_clears_the_gradients():
    p = Parameter(np.array([1.0, 2.0]))
    p.add_grad(np.array([10.0, 0.0]))
    value = p.value
    SGD([p], 0.01).step()
    assert p.value is value
    np.testing.assert_allclose(p.value, [0.9, 2.0], rtol=1e-15)
    assert p.grad is None


@pytest.mark.parametrize("cls", [SGD, Adam, AMSGrad])
def test_a_missing_gradient_is_named_and_nothing_changes(cls):
    p, q = Parameter(np.ones(2)), Parameter(np.ones(3))
    q.name = "3.body.0.weight"
    optimizer = cls([p, q], 0.1)
    p.add_grad(np.ones(2))
    with pytest.raises(RuntimeError, match=r"3\.body\.0\.weight"):
        optimizer.step()
    assert p.grad is not None
    assert optimizer.step_count == 0
    np.testing.assert_array_equal(p.value, 1)
