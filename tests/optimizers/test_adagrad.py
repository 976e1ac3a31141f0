"""AdaGrad: against the scalar reference and PyTorch."""

import pytest
from helpers import optimizer_reference as scalar_reference
from helpers.trajectories import assert_close, one_weight, ours, pytorchs
from hypothesis import given
from hypothesis import strategies as st

from allconv.optimizers import AdaGrad

numbers = st.floats(-10, 10).map(lambda x: round(x, 3))


@given(
    w=numbers,
    gradients=st.lists(numbers, min_size=1, max_size=6),
    rate=st.floats(0, 1),
    eps=st.floats(1e-10, 1),
    initial_accumulator=st.floats(0, 10),
    weight_decay=st.floats(0, 1),
)
def test_scalar_reference(w, gradients, rate, eps, initial_accumulator, weight_decay):
    options = {"eps": eps, "initial_accumulator": initial_accumulator, "weight_decay": weight_decay}
    expected = scalar_reference.adagrad(w, gradients, rate=rate, **options)
    got = one_weight(lambda p: AdaGrad(p, rate, **options), w, gradients)
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("options", [{}, {"initial_accumulator": 0.1, "eps": 1e-3, "weight_decay": 0.1}])
def test_pytorch(options):
    pytest.importorskip("torch")
    renamed = {
        {"initial_accumulator": "initial_accumulator_value"}.get(name, name): value for name, value in options.items()
    }
    theirs = pytorchs(lambda optim, p: optim.Adagrad(p, lr=0.1, **renamed), (20, 50))
    assert_close(ours(lambda p: AdaGrad(p, 0.1, **options), (20, 50)), theirs)
