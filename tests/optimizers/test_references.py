"""Every optimizer beside its scalar reference, for any gradients and options. `test_matching.py` has the peers."""

import pytest
from helpers import optimizer_reference as scalar_reference
from helpers.trajectories import one_weight
from hypothesis import assume, given
from hypothesis import strategies as st

from allconv.optimizers import SGD, AdaGrad, Adam, AdamW, AMSGrad, RMSprop

numbers = st.floats(-10, 10).map(lambda x: round(x, 3))
OPTIONS = {
    "beta1": st.floats(0, 0.99),
    "beta2": st.floats(0, 0.9999),
    "eps": st.floats(1e-8, 1),
    "weight_decay": st.floats(0, 1),
    "momentum": st.floats(0, 0.99),
    "dampening": st.just(0.0) | st.floats(0, 1),
    "decay": st.floats(0.5, 0.999),
    "initial_accumulator": st.floats(0, 10),
    **dict.fromkeys(["nesterov", "epsilon_hat", "centered"], st.booleans()),
    "bias_correction": st.sampled_from(["after_max", "before_max", "none"]),
    "maximum": st.sampled_from(["elementwise", "tensor"]),  # of one element: the two are the same
}
ADAM = ["beta1", "beta2", "eps", "weight_decay", "epsilon_hat"]
CASES = {
    "SGD": (SGD, scalar_reference.sgd, ["momentum", "dampening", "nesterov", "weight_decay"], 1e-12),
    "Adam": (Adam, scalar_reference.adam, ADAM, 1e-9),
    "AdamW": (AdamW, scalar_reference.adamw, ADAM, 1e-9),
    "AMSGrad": (AMSGrad, scalar_reference.amsgrad, [*ADAM, "bias_correction", "maximum"], 1e-9),
    "RMSprop": (RMSprop, scalar_reference.rmsprop, ["decay", "eps", "momentum", "centered", "weight_decay"], 1e-7),
    "AdaGrad": (AdaGrad, scalar_reference.adagrad, ["eps", "initial_accumulator", "weight_decay"], 1e-9),
}


@pytest.mark.parametrize(("cls", "reference", "names", "tolerance"), CASES.values(), ids=CASES)
@given(w=numbers, gradients=st.lists(numbers, min_size=1, max_size=8), rate=st.floats(0, 1), data=st.data())
def test_scalar_reference(cls, reference, names, tolerance, w, gradients, rate, data):
    options = data.draw(st.fixed_dictionaries({name: OPTIONS[name] for name in names}))
    assume(not options.get("nesterov") or (options["momentum"] > 0 and options["dampening"] == 0))
    assume(not options.get("epsilon_hat") or options.get("bias_correction") != "before_max")
    if cls is RMSprop:
        options["eps"] = max(options["eps"], 1e-4)
    expected = reference(w, gradients, rate=rate, **options)
    if "beta1" in options:
        options["betas"] = (options.pop("beta1"), options.pop("beta2"))
    got = one_weight(lambda p: cls(p, rate, **options), w, gradients)
    assert got == pytest.approx(expected, rel=tolerance, abs=tolerance)


def test_the_first_step_is_not_dampened():
    # u = g at first, and then 0.9 u + 0.5 g: gradients 1, 1 make u 1, 1.4.
    after = one_weight(lambda p: SGD(p, 0.1, momentum=0.9, dampening=0.5), 1.0, [1.0, 1.0])
    assert after == pytest.approx(1 - 0.1 * (1 + 1.4), rel=1e-15)
