"""Gradient descent: by hand, against the scalar reference, against PyTorch."""

import numpy as np
import pytest
from helpers import optimizer_reference as scalar_reference
from helpers.trajectories import assert_close, one_weight, ours, pytorchs
from hypothesis import given
from hypothesis import strategies as st

from allconv.optimizers import SGD
from allconv.parameter import Parameter

numbers = st.floats(-10, 10)
VARIANTS = {
    "plain": {},
    "decay": {"weight_decay": 0.1},
    "momentum": {"momentum": 0.9},
    "dampening": {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.05},
    "nesterov": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
    "full dampening": {"momentum": 0.5, "dampening": 1.0},
}


def test_the_articles_momentum_by_hand():
    # u = 0.9 u + g, w -= rate u: gradients 1, 1, -2 make u 1, 1.9, -0.29
    assert one_weight(lambda p: SGD(p, 0.1, momentum=0.9), 1.0, [1.0, 1.0, -2.0]) == pytest.approx(
        1 - 0.1 * (1 + 1.9 - 0.29), rel=1e-15
    )


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@given(
    w=numbers,
    gradients=st.lists(numbers, min_size=1, max_size=6),
    rate=st.floats(0, 1),
    scale=st.floats(0, 1),
)
def test_scalar_reference(options, w, gradients, rate, scale):
    options = {name: value if isinstance(value, bool) else value * scale for name, value in options.items()}
    if options.get("nesterov") and options["momentum"] == 0:
        options["nesterov"] = False
    expected = scalar_reference.sgd(w, gradients, rate=rate, **options)
    got = one_weight(lambda p: SGD(p, rate, **options), w, gradients)
    assert got == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_pytorch(options):
    pytest.importorskip("torch")
    theirs = pytorchs(lambda optim, p: optim.SGD(p, lr=3e-4, **options), (20, 50))
    assert_close(ours(lambda p: SGD(p, 3e-4, **options), (20, 50)), theirs)


def test_dampening_goes_on_after_a_resume():
    options = {"momentum": 0.9, "dampening": 0.5}
    p, q = Parameter(np.array([1.0])), Parameter(np.array([1.0]))
    first = SGD([p], 0.1, **options)
    p.add_grad(np.array([1.0]))
    first.step()
    second = SGD([q], 0.1, **options)
    q.value = p.value
    second.load_state(first.state())
    q.add_grad(np.array([1.0]))
    second.step()
    assert q.value[0] == pytest.approx(1 - 0.1 * 1 - 0.1 * (0.9 * 1 + 0.5 * 1), rel=1e-15)
