"""RMSprop: against the scalar reference and PyTorch."""

import numpy as np
import pytest
from helpers import optimizer_reference as scalar_reference
from helpers.trajectories import assert_close, one_weight, ours, pytorchs
from hypothesis import given
from hypothesis import strategies as st

from allconv.optimizers import RMSprop
from allconv.parameter import Parameter

VARIANTS = {
    "plain": {},
    "decay": {"weight_decay": 0.1, "decay": 0.9, "eps": 1e-3},
    "momentum": {"momentum": 0.9},
    "centered": {"centered": True},
    "all": {"centered": True, "momentum": 0.5, "weight_decay": 0.05, "decay": 0.95},
}
numbers = st.floats(-10, 10).map(lambda x: round(x, 3))


@pytest.mark.parametrize("centered", [False, True])
@given(
    w=numbers,
    gradients=st.lists(numbers, min_size=1, max_size=6),
    rate=st.floats(0, 1),
    decay=st.floats(0.5, 0.999),
    eps=st.floats(1e-4, 1),
    momentum=st.floats(0, 0.99),
    weight_decay=st.floats(0, 1),
)
def test_scalar_reference(centered, w, gradients, rate, decay, eps, momentum, weight_decay):
    options = {"decay": decay, "eps": eps, "momentum": momentum, "centered": centered, "weight_decay": weight_decay}
    expected = scalar_reference.rmsprop(w, gradients, rate=rate, **options)
    got = one_weight(lambda p: RMSprop(p, rate, **options), w, gradients)
    assert got == pytest.approx(expected, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_pytorch(options):
    pytest.importorskip("torch")
    renamed = {{"decay": "alpha"}.get(name, name): value for name, value in options.items()}
    theirs = pytorchs(lambda optim, p: optim.RMSprop(p, lr=0.003, **renamed), (20, 50))
    assert_close(ours(lambda p: RMSprop(p, 0.003, **options), (20, 50)), theirs)


def test_a_variance_that_rounds_below_zero_is_zero():
    # Of a constant gradient v and the square of the mean agree in the end but for rounding, which goes either way.
    p = Parameter(np.zeros(200))
    optimizer = RMSprop([p], 1e-12, decay=0.5, centered=True)
    below = 0
    for _ in range(300):
        p.add_grad(np.linspace(0.1, 1, 200))
        optimizer.step()
        state = optimizer.state()
        below += np.count_nonzero(state["v/0"] < state["mean/0"] ** 2)
    assert below > 0
    assert np.isfinite(p.value).all()
