"""AMSGrad's variants: against the scalar reference, PyTorch, and the article's formula."""

import numpy as np
import pytest
from helpers import optimizer_reference as scalar_reference
from helpers.trajectories import assert_close, gradient, one_weight, ours, pytorchs, start
from hypothesis import given
from hypothesis import strategies as st

from allconv.optimizers import AMSGrad, pieces
from allconv.parameter import Parameter

VARIANTS = [("after_max", False), ("after_max", True), ("before_max", False), ("none", False), ("none", True)]
numbers = st.floats(-10, 10).map(lambda x: round(x, 3))


@pytest.mark.parametrize(("variant", "epsilon_hat"), VARIANTS)
@given(
    w=numbers,
    gradients=st.lists(numbers, min_size=1, max_size=8),
    rate=st.floats(0, 1),
    betas=st.tuples(st.floats(0, 0.99), st.floats(0, 0.9999)),
    eps=st.floats(1e-8, 1),
    weight_decay=st.floats(0, 1),
)
def test_scalar_reference(variant, epsilon_hat, w, gradients, rate, betas, eps, weight_decay):
    expected = scalar_reference.amsgrad(
        w,
        gradients,
        rate=rate,
        beta1=betas[0],
        beta2=betas[1],
        eps=eps,
        weight_decay=weight_decay,
        variant=variant,
        epsilon_hat=epsilon_hat,
    )
    options = {"eps": eps, "weight_decay": weight_decay, "epsilon_hat": epsilon_hat, "bias_correction": variant}
    for maximum in ("elementwise", "tensor"):  # one element: the two are the same
        got = one_weight(lambda p: AMSGrad(p, rate, betas=betas, maximum=maximum, **options), w, gradients)  # noqa: B023
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("options", [{}, {"betas": (0.5, 0.9), "eps": 1e-3}, {"weight_decay": 0.1}])
def test_pytorch(options):
    pytest.importorskip("torch")
    theirs = pytorchs(lambda optim, p: optim.Adam(p, lr=0.01, amsgrad=True, **options), (20, 50))
    assert_close(ours(lambda p: AMSGrad(p, 0.01, **options), (20, 50)), theirs)


@pytest.mark.parametrize("slice_elements", [1 << 16, 7])
def test_the_articles(slice_elements, monkeypatch):
    monkeypatch.setattr(pieces, "SLICE_ELEMENTS", slice_elements)
    expected = []
    for w in start():
        # The gradients depend on the weights, so the reference starts anew for each number of steps.
        weights, gradients = w.ravel().tolist(), []
        for t in range(1, 51):
            gradients.append(gradient(np.reshape(weights, w.shape), t).ravel().tolist())
            weights = scalar_reference.article_amsgrad(w.ravel().tolist(), gradients, rate=0.01)
        expected.append(np.reshape(weights, w.shape))
    got = ours(
        lambda p: AMSGrad(p, 0.01, betas=(0.9, 0.9), bias_correction="none", maximum="tensor"),
        (50,),
    )
    assert_close(got, [expected])


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


def test_the_step_size_never_grows_again():
    p = Parameter(np.zeros(1))
    optimizer = AMSGrad([p], betas=(0.0, 0.9), bias_correction="none")
    moves = []
    for g in [10.0] + 50 * [0.1]:
        before = p.value.copy()
        p.add_grad(np.array([g]))
        optimizer.step()
        moves.append(float((before - p.value)[0]) / g)
    np.testing.assert_allclose(moves, moves[0], rtol=1e-12)
