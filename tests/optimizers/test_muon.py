"""Muon beside a slow reference and PyTorch, and optimizers that are combined."""

import math

import numpy as np
import pytest
from helpers.bits import same_with_any_threads
from helpers.optimizers import assert_same
from helpers.trajectories import gradient

from allconv.layers.linear import Linear
from allconv.layers.skip import Skip
from allconv.optimizers import SGD, AdamW, Combined, DilatedAMSGrad, Muon
from allconv.optimizers.orthogonalize import QUINTIC, newton_schulz, polar_factor
from allconv.parameter import Parameter

SHAPES = [(3, 3, 2, 4), (5, 3), (4, 7), (3, 3, 4, 40)]


def make_parameters(dtype=np.float64, shapes=SHAPES):
    rng = np.random.default_rng(0)
    parameters = [Parameter(rng.normal(size=shape).astype(dtype)) for shape in shapes]
    for index, parameter in enumerate(parameters):
        parameter.name = f"{index}.weight"
    return parameters


def take_step(optimizer, t):
    for p in optimizer.parameters:
        p.add_grad(gradient(p.value, t).astype(p.value.dtype))
    optimizer.step()


def slow_muon(w, steps, *, rate, momentum, nesterov, decay, orthogonal, scale, normalize):
    """The update of one weight, by the singular values themselves."""
    outputs = w.shape[-1]
    velocity = np.zeros_like(w)
    for t in range(1, steps + 1):
        g = gradient(w, t)
        velocity = momentum * velocity + g
        u = g + momentum * velocity if nesterov else velocity
        left, s, right = np.linalg.svd(u.reshape(-1, outputs), full_matrices=False)
        direction = (left * orthogonal(s)) @ right
        if normalize:
            w = w * math.sqrt(outputs) / math.sqrt((w**2).sum())
        w = w - rate * decay * w - rate * scale(*direction.shape) * direction.reshape(w.shape)
    return w


def quintic(iterations):
    def mapped(s):
        a, b, c = QUINTIC
        s = s / (math.sqrt((s**2).sum()) + 1e-7)
        for _ in range(iterations):
            s = a * s + b * s**3 + c * s**5
        return s

    return mapped


SCALES = {
    "shape": lambda rows, columns: max(1, columns / rows) ** 0.5,
    "rms": lambda rows, columns: 0.2 * max(rows, columns) ** 0.5,
    "none": lambda *_: 1,
}


@pytest.mark.parametrize("scaling", SCALES)
@pytest.mark.parametrize(("exact", "nesterov", "normalize"), [(True, True, False), (False, False, True)])
def test_a_slow_reference(exact, nesterov, normalize, scaling):
    parameters = make_parameters()
    start = [p.value.copy() for p in parameters]
    options = {"exact": exact, "nesterov": nesterov, "normalize_weights": normalize, "scaling": scaling}
    optimizer = Muon(parameters, 0.1, momentum=0.6, weight_decay=0.2, iterations=3, **options)
    for t in range(1, 5):
        take_step(optimizer, t)
    for p, w in zip(parameters, start, strict=True):
        expected = slow_muon(
            w, 4, rate=0.1, momentum=0.6, nesterov=nesterov, decay=0.2, normalize=normalize,
            orthogonal=np.ones_like if exact else quintic(3), scale=SCALES[scaling],
        )  # fmt: skip
        np.testing.assert_allclose(p.value, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("scaling", "theirs", "nesterov"), [("shape", "original", True), ("rms", "match_rms_adamw", False)]
)
def test_pytorch_within_its_bfloat16(scaling, theirs, nesterov):
    torch = pytest.importorskip("torch")
    parameters = make_parameters(np.float32, [(5, 3), (4, 7), (20, 20)])
    tensors = [torch.nn.Parameter(torch.from_numpy(p.value.T.copy())) for p in parameters]
    start = [p.value.copy() for p in parameters]
    peer = torch.optim.Muon(tensors, lr=0.1, momentum=0.6, nesterov=nesterov, adjust_lr_fn=theirs)
    optimizer = Muon(parameters, 0.1, momentum=0.6, nesterov=nesterov, scaling=scaling)
    for t in range(1, 4):
        for p, tensor, w in zip(parameters, tensors, start, strict=True):
            g = gradient(w, t).astype(np.float32)
            p.add_grad(g)
            tensor.grad = torch.from_numpy(g.T.copy())
        optimizer.step()
        peer.step()
    for p, tensor, w in zip(parameters, tensors, start, strict=True):
        moved = np.linalg.norm(p.value - w)
        assert np.linalg.norm(tensor.detach().numpy().T - p.value) < 0.02 * moved


@pytest.mark.parametrize(("value", "mapped"), [(0.01, 0.40), (0.03, 1.01), (0.05, 1.20), (0.1, 0.71), (0.5, 0.82)])
def test_three_iterations_map_singular_values_as_published(value, mapped):
    rest = math.sqrt(1 - value**2)
    result = newton_schulz(np.array([[0.0, value, 0.0], [rest, 0.0, 0.0]]), 3, QUINTIC)
    assert result[0, 1] == pytest.approx(mapped, abs=0.005)
    np.testing.assert_allclose(newton_schulz(result.T, 2, QUINTIC), newton_schulz(result, 2, QUINTIC).T, rtol=1e-12)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5)])
def test_the_polar_factor_is_orthonormal(shape):
    q = polar_factor(np.random.default_rng(1).normal(size=shape))
    small = q @ q.T if shape[0] < shape[1] else q.T @ q
    np.testing.assert_allclose(small, np.eye(min(shape)), atol=1e-12)


@pytest.mark.parametrize("exact", [False, True])
def test_a_gradient_of_zeros_moves_nothing(exact):
    p = Parameter(np.zeros((3, 2)))
    optimizer = Muon([p], 0.1, exact=exact, normalize_weights=True)
    p.add_grad(np.zeros((3, 2)))
    optimizer.step()
    np.testing.assert_array_equal(p.value, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_exact_step_with_a_gradient_that_is_not_finite_changes_nothing(bad):
    parameters = make_parameters(np.float32)
    parameters[0].trainable = False
    optimizer = Combined([Muon(parameters[:1]), Muon(parameters[1:], exact=True)])
    for p in parameters:
        p.add_grad(gradient(p.value, 1).astype(np.float32))
    gradients = [p.grad for p in parameters]
    parameters[2].grad[0, 1] = bad
    state, values = list(optimizer.state().items()), [p.value.copy() for p in parameters]
    with pytest.raises(FloatingPointError, match="gradients must be finite with exact=True, got .* for 2.weight"):
        optimizer.step()
    assert_same(state, list(optimizer.state().items()))
    assert_same(values, [p.value for p in parameters])
    assert all(p.grad is g for p, g in zip(parameters, gradients, strict=True))


def test_an_exact_step_whose_velocity_overflows_shows_it():
    p = Parameter(np.zeros((2, 2), np.float32))
    optimizer = Muon([p], exact=True)
    for _ in range(2):
        p.add_grad(np.full((2, 2), 3e38, np.float32))
        optimizer.step()
    assert np.isnan(p.value).all()


@pytest.mark.parametrize("shape", [(2, 3), (600, 500)])
@pytest.mark.parametrize("size", [1e20, 3e38])
def test_the_size_of_a_gradient_does_not_matter(size, shape):
    direction = np.random.default_rng(2).uniform(-1, 1, size=shape).astype(np.float32)
    large, usual = Parameter(np.zeros(shape, np.float32)), Parameter(np.zeros(shape, np.float32))
    for p, g in ((large, np.float32(size) * direction), (usual, direction)):
        p.add_grad(g)
        Muon([p], 0.1, nesterov=False).step()
    np.testing.assert_allclose(large.value, usual.value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size", [1e-40, 1e-25, 1, 1e25, 3e38])
def test_weights_of_any_size_are_normalized(size):
    p = Parameter(np.full((2, 3), size, np.float32))
    p.add_grad(np.zeros((2, 3)))
    Muon([p], 0.1, weight_decay=0.0, normalize_weights=True).step()
    np.testing.assert_allclose(p.value, math.sqrt(1 / 2), rtol=1e-6)


def test_what_is_frozen_or_does_not_decay_stays():
    frozen, kept, shrunk = (Parameter(np.ones((2, 2)), decay=index == 2) for index in range(3))
    frozen.trainable = False
    optimizer = Muon([frozen, kept, shrunk], 0.1, weight_decay=0.5)
    for p in optimizer.parameters:
        p.add_grad(np.zeros((2, 2)))
    optimizer.step()
    assert [float(p.value[0, 0]) for p in (frozen, kept, shrunk)] == [1, 1, 0.95]


def test_the_same_bits_for_any_number_of_threads():
    def train():
        parameters = make_parameters(np.float32, [(3, 3, 40, 80), (300, 200), (3, 3, 80, 80)])
        optimizer = Muon(parameters, 0.1, normalize_weights=True)
        for t in range(1, 3):
            take_step(optimizer, t)
        return [p.value for p in parameters]

    same_with_any_threads(train)


# Combined


def combined(weights, others):
    return Combined(
        [
            Muon(weights, 0.24, momentum=0.6, weight_decay=0.0),
            SGD([{"parameters": others[:1], "learning_rate": 0.5}, {"parameters": others[1:]}], 0.1, momentum=0.9),
        ]
    )


def test_combined_optimizers_step_as_each_would_alone():
    parameters, twins = make_parameters(), make_parameters()
    together, muon = combined(parameters[:2], parameters[2:]), Muon(twins[:2], 0.24, momentum=0.6, weight_decay=0.0)
    sgd = SGD([{"parameters": twins[2:3], "learning_rate": 0.5}, {"parameters": twins[3:]}], 0.1, momentum=0.9)
    for t in range(1, 5):
        together.learning_rate, muon.learning_rate, sgd.learning_rate = 1 / t, 0.24 / t, 0.1 / t
        for optimizer in (together, muon, sgd):
            take_step(optimizer, t)
    assert (together.step_count, together.groups[0].step_count) == (4, 4)
    for p, q in zip(parameters, twins, strict=True):
        np.testing.assert_allclose(p.value, q.value, rtol=1e-12)


def test_combined_optimizers_resume_with_the_same_bits():
    parameters = [make_parameters() for _ in range(2)]
    whole, second = (combined(p[:2], p[2:]) for p in parameters)
    for t in (1, 2):
        take_step(whole, t)
    whole.groups[1].learning_rate = 0.7
    state = whole.state()
    assert {key for key in state if "/" in key} == {f"velocity/{i}.weight" for i in range(4)}
    second.load_state(state)
    for p, q in zip(*parameters, strict=True):
        q.value = p.value
    for optimizer in (whole, second):
        take_step(optimizer, 3)
    assert_same([p.value for p in parameters[0]], [p.value for p in parameters[1]])
    assert second.groups[1].learning_rate == 0.7


def test_a_setting_of_one_optimizer_is_not_that_of_the_others():
    parameters = make_parameters()
    optimizers = [SGD(parameters[:1], 0.1, momentum=0.9), SGD(parameters[1:], 0.1, momentum=0.9)]
    together = Combined(optimizers)
    optimizers[0].momentum = 0.5
    assert [group.momentum for group in together.groups] == [0.5, 0.9]
    for change in (lambda: setattr(together, "weight_decay", 0.1), lambda: together.weight_decay):
        with pytest.raises(AttributeError, match="weight_decay must be read and assigned in the optimizers that are"):
            change()
    with pytest.raises(AttributeError, match="'Combined' object has no attribute 'momentum'"):
        _ = together.momentum
    with pytest.raises(RuntimeError, match="must be called on the whole optimizer"):
        optimizers[0].step()


def test_combined_optimizers_start_their_epochs():
    skip = Skip(Linear(2, 2), scale=0.8)
    bias = Parameter(np.zeros(2))
    Combined([DilatedAMSGrad(skip), AdamW([bias])]).start_epoch(1)
    assert skip.scale == 0.4


def test_optimizers_that_cannot_be_combined_are_refused():
    p, q, r, s = make_parameters()
    used = SGD([p], 0.1)
    take_step(used, 1)
    inner = SGD([q], 0.1)
    Combined([inner])
    for optimizer in (used, inner):
        with pytest.raises(ValueError, match="which has taken a step or belongs to another"):
            Combined([SGD([r], 0.1), optimizer])
    s.name = r.name
    with pytest.raises(ValueError, match="distinct names"):
        Combined([SGD([r], 0.1), SGD([s], 0.1)])
