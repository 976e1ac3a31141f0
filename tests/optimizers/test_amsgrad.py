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


@pytest.mark.parametrize("variant", ["after_max", "before_max", "none"])
def test_only_the_tensor_maximum_lets_a_weight_leap(variant):
    """The first maximum has a large element beside a zero, and the weight at the zero then has its first gradient."""
    gradients = np.concatenate([[[1e3, 0.0], [0.0, 1.0]], np.random.default_rng(7).standard_normal((100, 2)) ** 3])
    farthest = {}
    for maximum in ("elementwise", "tensor"):
        p = Parameter(np.zeros(2))
        optimizer = AMSGrad([p], 0.1, betas=(0.9, 0.9), bias_correction=variant, maximum=maximum)
        moves = []
        for g in gradients:
            before = p.value.copy()
            p.add_grad(g)
            optimizer.step()
            moves.append(abs(p.value - before).max() / 0.1)
        farthest[maximum] = max(moves)
    assert farthest["elementwise"] <= 1 + 1e-9
    assert farthest["tensor"] > 1e6
