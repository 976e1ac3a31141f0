"""Groups of parameters with settings of their own: beside PyTorch, in checkpoints, and what is refused."""

import copy
import pickle

import numpy as np
import pytest
from helpers.optimizers import assert_same, each_variant, make_parameters, snapshot, take_step
from helpers.trajectories import gradient

from allconv.optimizers import SGD, AdaGrad, Adam, AdamW, AMSGrad, Optimizer, RMSprop


def in_groups(*settings):
    """Return three parameters, and as many groups as there are settings; the last group has the rest of them."""
    parameters = make_parameters()
    parts = [parameters[:1], parameters[1:]] if len(settings) == 2 else [[p] for p in parameters]
    return parameters, [{"parameters": part, **own} for part, own in zip(parts, settings, strict=True)]


PEERS = {
    "SGD": (SGD, "SGD", {"momentum": 0.9}, {"momentum": 0.0}),
    "SGD, a momentum in one group": (SGD, "SGD", {"momentum": 0.0}, {"momentum": 0.5, "nesterov": True}),
    "Adam": (Adam, "Adam", {}, {"betas": (0.8, 0.9), "eps": 1e-3}),
    "AdamW": (AdamW, "AdamW", {}, {"betas": (0.5, 0.9)}),
    "RMSprop": (RMSprop, "RMSprop", {"momentum": 0.5}, {"momentum": 0.0, "centered": True}),
    "AdaGrad": (AdaGrad, "Adagrad", {}, {"eps": 1e-3}),
}


@pytest.mark.parametrize(("ours", "theirs", "settings", "own"), PEERS.values(), ids=PEERS)
def test_each_group_steps_as_pytorchs_with_the_rate_of_a_schedule(ours, theirs, settings, own):
    torch = pytest.importorskip("torch")
    parameters, groups = in_groups({"learning_rate": 0.05, "weight_decay": 0.0, **own}, {})
    optimizer = ours(groups, 0.01, weight_decay=0.1, **settings)
    tensors = [torch.nn.Parameter(torch.from_numpy(p.value.copy())) for p in parameters]
    peer = getattr(torch.optim, theirs)(
        [{"params": tensors[:1], "lr": 0.05, "weight_decay": 0.0, **own}, {"params": tensors[1:]}],
        lr=0.01,
        weight_decay=0.1,
        **settings,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(peer, lambda t: 1 / (1 + t))
    for t in range(6):
        optimizer.learning_rate = 0.01 / (1 + t)
        for p, tensor in zip(parameters, tensors, strict=True):
            p.add_grad(gradient(p.value, t))
            tensor.grad = torch.from_numpy(gradient(tensor.detach().numpy(), t))
        optimizer.step()
        peer.step()
        schedule.step()
    for p, tensor in zip(parameters, tensors, strict=True):
        np.testing.assert_allclose(p.value, tensor.detach().numpy(), rtol=1e-9, atol=1e-9)


@each_variant
def test_groups_without_settings_of_their_own_change_no_bit(make):
    plain, grouped = make(make_parameters(), weight_decay=0.1), make(in_groups({}, {})[1], weight_decay=0.1)
    for t in range(1, 5):
        take_step(plain, t)
        take_step(grouped, t)
    state = grouped.state()
    np.testing.assert_array_equal(state.pop("rate_factors"), [1, 1])
    assert state.keys() == plain.state().keys()
    assert_same(
        [p.value for p in plain.parameters] + list(plain.state().values()),
        [p.value for p in grouped.parameters] + [state[key] for key in plain.state()],
    )


def test_each_group_has_a_maximum_of_a_kind_of_its_own():
    _, groups = in_groups({"maximum": "tensor"}, {})
    mixed = AMSGrad(groups, 0.1)
    alone = [AMSGrad(mixed_parameters, 0.1, maximum=kind) for mixed_parameters, kind in (
        (make_parameters(), "tensor"), (make_parameters(), "elementwise"))]  # fmt: skip
    for t in range(1, 9):
        for optimizer in (mixed, *alone):
            take_step(optimizer, t)
    for index, optimizer in enumerate((alone[0], alone[1], alone[1])):
        np.testing.assert_array_equal(mixed.parameters[index].value, optimizer.parameters[index].value)


def test_each_group_starts_its_sum_of_squares_from_a_value_of_its_own():
    _, groups = in_groups({"initial_accumulator": 0.5}, {})
    state = AdaGrad(groups, initial_accumulator=0.1).state()
    assert [state[f"squares/{i}.weight"].flat[0] for i in range(3)] == [0.5, 0.1, 0.1]


# Assignments


def test_an_assignment_reaches_the_groups_without_a_value_of_their_own():
    _, groups = in_groups({"momentum": 0.5, "learning_rate": 0.2}, {})
    optimizer = SGD(groups, 0.1, momentum=0.9)
    first, second = optimizer.groups
    optimizer.momentum = 0.7
    assert (first.momentum, second.momentum) == (0.5, 0.7)
    second.momentum = 0.1
    optimizer.momentum = 0.2
    assert (first.momentum, second.momentum) == (0.5, 0.1)
    optimizer.learning_rate = 0.05
    assert (first.learning_rate, second.learning_rate) == (0.1, 0.05)
    first.learning_rate = 0.01
    optimizer.learning_rate = 0.5
    assert (first.learning_rate, second.learning_rate) == (pytest.approx(0.1), 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o: setattr(o.groups[0], "momentum", 1.5), r"momentum must be a number in \[0, 1\), got 1\.5"),
        (lambda o: setattr(o, "momentum", 0.0), "nesterov must be False without a momentum"),
        (lambda o: setattr(o.groups[0], "learning_rate", -1), "learning_rate must be a non-negative number, got -1"),
        (lambda o: setattr(o, "learning_rate", 1e308), r"learning_rate must be at most 1\.8e\+308.* got inf"),
    ],
)
def test_a_refused_assignment_changes_no_group(change, message):
    _, groups = in_groups({"momentum": 0.5, "learning_rate": 1.0}, {"nesterov": True})
    optimizer = SGD(groups, 0.1, momentum=0.9)
    take_step(optimizer, 1)
    before = [(group.momentum, group.learning_rate) for group in optimizer.groups], snapshot(optimizer)
    with pytest.raises(ValueError, match=message):
        change(optimizer)
    assert [(group.momentum, group.learning_rate) for group in optimizer.groups] == before[0]
    assert_same(before[1], snapshot(optimizer))


def test_a_group_has_no_rate_while_the_whole_optimizer_has_none():
    _, groups = in_groups({}, {})
    optimizer = SGD(groups, 0.0)
    with pytest.raises(ValueError, match=r"learning_rate of a group must be 0 while .* got 0\.1"):
        optimizer.groups[0].learning_rate = 0.1
    optimizer.groups[0].learning_rate = 0
    optimizer.learning_rate = 0.1
    assert [group.learning_rate for group in optimizer.groups] == [0, 0.1]


def test_a_group_finds_the_plain_attributes_of_an_optimizer_of_ones_own():
    class Signs(Optimizer):
        def __init__(self, parameters, learning_rate):
            super().__init__(parameters, learning_rate)
            self.size = 2.0

        def update(self, w, g):
            w -= self.size * self.learning_rate * np.sign(g)

    parameters, groups = in_groups({"learning_rate": 0.3}, {})
    before = [p.value.copy() for p in parameters]
    optimizer = Signs(groups, 0.1)
    for p in parameters:
        p.add_grad(np.ones(p.value.shape))
    optimizer.step()
    for p, w, rate in zip(parameters, before, (0.3, 0.1, 0.1), strict=True):
        np.testing.assert_allclose(p.value, w - 2 * rate)
    with pytest.raises(AttributeError, match="'Signs' object has no attribute 'width'"):
        _ = optimizer.groups[0].width


# State


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_of_an_optimizer_with_groups_goes_on_by_itself(duplicate):
    optimizer = RMSprop(in_groups({"learning_rate": 0.3}, {"momentum": 0.5})[1], 0.1)
    take_step(optimizer, 1)
    twin = duplicate(optimizer)
    take_step(twin, 2)
    assert (optimizer.step_count, twin.step_count) == (1, 2)
    assert [group.learning_rate for group in twin.groups] == pytest.approx([0.3, 0.1])
    take_step(optimizer, 2)
    assert_same([p.value for p in optimizer.parameters], [p.value for p in twin.parameters])


def test_a_resume_takes_up_rates_that_were_assigned():
    def make():
        return SGD(in_groups({"learning_rate": 0.3}, {"momentum": 0.5, "dampening": 0.5}, {})[1], 0.1)

    whole, first, second = make(), make(), make()
    for optimizer in (whole, first):
        take_step(optimizer, 1)
        optimizer.groups[0].learning_rate = 0.05
        take_step(optimizer, 2)
    second.load_state(first.state())
    for p, q in zip(second.parameters, first.parameters, strict=True):
        p.value = q.value
    take_step(whole, 3)
    take_step(second, 3)
    assert_same(snapshot(whole), snapshot(second))


def test_a_state_without_groups_fits_an_optimizer_with_groups_but_not_the_reverse():
    plain, grouped = Adam(make_parameters(), 0.1), Adam(in_groups({}, {})[1], 0.1)
    take_step(plain, 1)
    grouped.load_state(plain.state())
    assert grouped.step_count == 1
    np.testing.assert_array_equal(grouped.state()["m/1.weight"], plain.state()["m/1.weight"])
    with pytest.raises(ValueError, match="missing: none; unexpected: rate_factors"):
        plain.load_state(grouped.state())
    with pytest.raises(ValueError, match=r"rate_factors must have shape \(2,\), got"):
        grouped.load_state(grouped.state() | {"rate_factors": np.ones(3)})


@pytest.mark.parametrize("call", [lambda g: g.step(), lambda g: g.load_state(g.state())])
def test_a_group_takes_no_step_alone(call):
    optimizer = SGD(in_groups({}, {})[1], 0.1)
    with pytest.raises(RuntimeError, match="must be called on the whole optimizer, got a call on one of its groups"):
        call(optimizer.groups[1])


# Bad groups


def test_bad_groups_are_refused():
    p, q, r = make_parameters()
    for groups, error, message in [
        (
            [{"params": [p]}],
            ValueError,
            "a group must be a dict with 'parameters' and perhaps dampening, learning_rate, ",
        ),
        ([{"parameters": [p], "lr": 1}], ValueError, "nesterov, weight_decay, got one with parameters, lr at 0"),
        ([{"parameters": [p]}, {}], ValueError, "got one with nothing at 1"),
        ([{"parameters": []}], ValueError, "parameters must be a non-empty iterable"),
        ([{"parameters": [p, q]}, {"parameters": [r, p]}], ValueError, "twice, at 0 and 3"),
        ([{"parameters": [p]}, q], TypeError, "distinct Parameters, got {"),
        ([{"parameters": [p], "momentum": 2}], ValueError, r"momentum must be a number in \[0, 1\), got 2"),
        ([{"parameters": [p], "learning_rate": "x"}], TypeError, "learning_rate must be a non-negative number"),
        ([{"parameters": [p], "nesterov": True}], ValueError, "nesterov must be False without a momentum"),
    ]:
        with pytest.raises(error, match=message):
            SGD(groups, 0.1)


def test_the_repr_counts_the_groups():
    assert repr(SGD(in_groups({}, {})[1], 0.1)) == "SGD(3 parameters in 2 groups, learning_rate=0.1)"
