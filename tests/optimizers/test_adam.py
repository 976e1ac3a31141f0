"""Adam and AdamW: by hand, against the scalar reference, PyTorch, and TensorFlow's formula."""

import math

import pytest
from helpers import optimizer_reference as scalar_reference
from helpers.trajectories import assert_close, one_weight, ours, pytorchs, start
from hypothesis import given
from hypothesis import strategies as st

from allconv.optimizers import Adam, AdamW
from allconv.parameter import Parameter

numbers = st.floats(-10, 10).map(lambda x: round(x, 3))
betas = st.tuples(st.floats(0, 0.99), st.floats(0, 0.9999))


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("epsilon_hat", [False, True])
@given(
    w=numbers,
    gradients=st.lists(numbers, min_size=1, max_size=6),
    rate=st.floats(0, 1),
    betas=betas,
    eps=st.floats(1e-8, 1),
    weight_decay=st.floats(0, 1),
)
def test_scalar_reference(decoupled, epsilon_hat, w, gradients, rate, betas, eps, weight_decay):
    options = {"eps": eps, "weight_decay": weight_decay, "epsilon_hat": epsilon_hat}
    expected = scalar_reference.adam(
        w, gradients, rate=rate, beta1=betas[0], beta2=betas[1], decoupled=decoupled, **options
    )
    cls = AdamW if decoupled else Adam
    got = one_weight(lambda p: cls(p, rate, betas=betas, **options), w, gradients)
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_place_of_eps_by_hand():
    # With g = 1 at the first step m / (1 - beta1) = v / (1 - beta2) = 1, and sqrt(v) = sqrt(0.001).
    eps = 0.5
    algorithm_1 = one_weight(lambda p: Adam(p, 1.0, eps=eps), 0.0, [1.0])
    keras = one_weight(lambda p: Adam(p, 1.0, eps=eps, epsilon_hat=True), 0.0, [1.0])
    assert algorithm_1 == pytest.approx(-1 / 1.5, rel=1e-12)
    assert keras == pytest.approx(-math.sqrt(0.001) / (math.sqrt(0.001) + 0.5), rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"betas": (0.5, 0.9), "eps": 1e-3}, {"weight_decay": 0.1}])
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_pytorch(name, options):
    pytest.importorskip("torch")
    theirs = pytorchs(lambda optim, p: getattr(optim, name)(p, lr=0.01, **options), (20, 50))
    cls = {"Adam": Adam, "AdamW": AdamW}[name]
    assert_close(ours(lambda p: cls(p, 0.01, **options), (20, 50)), theirs)


def test_the_default_weight_decay():
    parameters = [Parameter(w) for w in start()]
    assert AdamW(parameters).weight_decay == 0.01
    assert Adam(parameters).weight_decay == 0
