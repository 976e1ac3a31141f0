"""AMSGrad's maxima by hand, of elements and of whole tensors."""

import numpy as np
import pytest

from allconv.optimizers import AMSGrad
from allconv.parameter import Parameter


def test_the_tensor_maximum_takes_whole_tensors_and_v_goes_on_without_it():
    p = Parameter(np.zeros(2))
    optimizer = AMSGrad([p], 1.0, betas=(0.0, 0.5), bias_correction="none", maximum="tensor")
    for g in ([4.0, 0.0], [0.0, 2.0], [0.0, 4.0]):
        p.add_grad(np.array(g))
        optimizer.step()
        state = optimizer.state()
        if g == [0.0, 2.0]:  # v = (4, 2): a smaller sum than (8, 0), though an element grew
            np.testing.assert_array_equal(state["v/0"], [4, 2])
            np.testing.assert_array_equal(state["vmax/0"], [8, 0])
    np.testing.assert_array_equal(state["v/0"], [2, 9])  # the sum grew, though an element shrank
    np.testing.assert_array_equal(state["vmax/0"], [2, 9])


@pytest.mark.parametrize("variant", ["after_max", "before_max"])
def test_the_tensor_maximum_with_bias_correction(variant):
    """Gradients that grow in every element: the sums grow with them, so both kinds of maximum agree."""
    results = []
    for maximum in ("elementwise", "tensor"):
        p = Parameter(np.zeros(3))
        optimizer = AMSGrad([p], 0.1, bias_correction=variant, maximum=maximum)
        for t in range(1, 11):
            p.add_grad(np.array([1.0, 2.0, -3.0]) * t)
            optimizer.step()
        results.append(p.value)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-12)
