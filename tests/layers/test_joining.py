"""An activation joined with its neighbour: the bits and the caches of two passes, and no join where somebody looks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import allconv as ac
from allconv.layers import relu
from allconv.layers.joining import Overwriting, in_backward_order, in_forward_order

ACTIVATIONS = {
    "ReLU": ac.ReLU,
    "ReLU6": ac.ReLU6,
    "ELU": ac.ELU,
    "ELU(alpha=0.5)": lambda: ac.ELU(0.5),
    "ELU(alpha=3.3)": lambda: ac.ELU(3.3),
    "LeakyReLU": ac.LeakyReLU,
    "LeakyReLU(2.0)": lambda: ac.LeakyReLU(2.0),
}


def rng(seed=0):
    return np.random.default_rng(seed)


def conv(channels=8, kernel=3, **options):
    return ac.Conv2D(channels, channels, kernel, rng=rng(2), **options)


def skip(**options):
    return ac.Skip(conv(), scale=options.pop("scale", 1.0), **options)


NEIGHBOURS = {
    "winograd": lambda: conv(algorithm="winograd"),
    "winograd, stride 2": lambda: conv(stride=2, algorithm="winograd"),
    "banded": lambda: conv(algorithm="banded"),
    "im2col": lambda: conv(algorithm="im2col"),
    "1x1": lambda: conv(kernel=1),
    "depthwise": lambda: conv(groups=8),
    "BatchNorm": lambda: ac.BatchNorm(8),
    "Skip": skip,
    "Skip, half": lambda: skip(scale=0.5),
    "Skip, cut": lambda: skip(scale=0.0),
    "Skip, projection": lambda: skip(shortcut=conv(kernel=1)),
    "Skip, not in forward": lambda: skip(in_forward=False),
    "Skip, not in backward": lambda: skip(in_backward=False),
    "Skip whose body keeps its output": lambda: ac.Skip(ac.Sequential(conv(), ac.Tanh()), scale=0.0),
}


def passes(model, x, dy=None):
    """Return the output, the gradient at the input and those of the parameters, as bytes."""
    for parameter in model.parameters():
        parameter.grad = None
    y, cache = model.forward(x, training=True)
    dy = rng(3).standard_normal(y.shape, dtype=np.float32) if dy is None else dy
    kept = dy.copy()
    dx = model.backward(dy, cache)
    assert np.array_equal(dy, kept)
    gradients = [parameter.grad.tobytes() for parameter in model.parameters() if parameter.grad is not None]
    return [y.tobytes(), dx.tobytes(), *gradients]


def apart(model, x):
    """Return what `passes` does, with every layer observed: none is joined with another."""
    with ac.observe(model, forward=lambda call, x: call(x), backward=lambda call, dy, cache: call(dy, cache)):
        return passes(model, x)


def joined(order):
    return [
        (type(layer).__name__, None if activation is None else type(activation).__name__) for layer, activation in order
    ]


@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_the_bits_are_those_of_two_passes(neighbour, activation, frozen):
    model = ac.Sequential(NEIGHBOURS[neighbour](), ACTIVATIONS[activation](), NEIGHBOURS[neighbour]())
    for parameter in model.parameters() if frozen else ():
        parameter.trainable = False
    x = rng(1).standard_normal((9, 12, 12, 8), dtype=np.float32)
    assert len(list(in_forward_order(model.layers))) == 2
    assert passes(model, x) == apart(model, x)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("pool", [ac.MeanPool2D(2), ac.MaxPool2D(2), ac.MaxPool2D(3, stride=2)], ids=repr)
def test_a_pool_joins_the_activation_before_it(pool, activation):
    model = ac.Sequential(ACTIVATIONS[activation](), pool)
    x = rng(1).standard_normal((9, 12, 12, 8), dtype=np.float32)
    assert joined(in_backward_order(model.layers)) == [(type(pool).__name__, type(model[0]).__name__)]
    assert passes(model, x) == apart(model, x)


@pytest.mark.parametrize("shape", [(40, 20, 20, 32), (1, 80, 80, 32)], ids=["many images", "a large image"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_bits_are_the_same_for_any_number_of_threads(threads, shape):
    model = ac.Sequential(conv(32), ac.ReLU(), conv(32), ac.BatchNorm(32), ac.ReLU(), ac.Skip(conv(32)), ac.ReLU())
    x = rng(1).standard_normal(shape, dtype=np.float32)
    before, wanted = ac.get_num_threads(), apart(model, x)
    try:
        ac.set_num_threads(threads)
        assert passes(model, x) == wanted
    finally:
        ac.set_num_threads(before)


def test_the_activation_passes_over_no_array_of_its_own(monkeypatch):
    model = ac.Sequential(conv(), ac.ReLU(), conv(), ac.BatchNorm(8), ac.ReLU(), skip(), ac.ReLU(), conv(), ac.ReLU())
    x = rng(1).standard_normal((2, 8, 8, 8), dtype=np.float32)
    wanted = apart(model, x)
    calls, own = [], relu.elementwise_into
    monkeypatch.setattr(relu, "elementwise_into", lambda *given: calls.append(len(given)) or own(*given))
    assert passes(model, x) == wanted
    assert calls == [3]  # a function, dy and y: the backward pass of the last layer, which has no neighbour behind it


def test_the_caches_are_those_of_the_layers():
    model = ac.Sequential(conv(), ac.ReLU(), conv())
    y, caches = model.forward(rng(1).standard_normal((2, 8, 8, 8), dtype=np.float32))
    assert len(caches) == 3
    assert caches[1] is caches[2]  # the output of the activation is the input of the next convolution
    assert (caches[1] >= 0).all()
    assert model.backward(np.ones_like(y), caches, release=True).shape == (2, 8, 8, 8)
    assert caches == []


def test_which_layers_are_joined():
    c, b, relu, last = conv(), ac.BatchNorm(8), ac.ReLU(), ac.Tanh()
    assert joined(in_forward_order([c, relu, b, relu, relu, last])) == [
        ("Conv2D", "ReLU"),
        ("BatchNorm", "ReLU"),
        ("ReLU", None),
        ("Tanh", None),
    ]
    assert joined(in_backward_order([relu, c, relu, b, last, c])) == [
        ("Conv2D", None),
        ("Tanh", None),
        ("BatchNorm", None),
        ("ReLU", None),
        ("Conv2D", "ReLU"),
    ]
    assert joined(in_forward_order([])) == []


class DoubledReLU(ac.ReLU):
    def forward(self, x, *, training=False):
        y, _ = super().forward(x, training=training)
        return 2 * y, y

    def backward(self, dy, cache):
        return super().backward(2 * dy, cache)


class ShiftedConv(ac.Conv2D):
    def forward(self, x, *, training=False):
        y, cache = super().forward(x, training=training)
        return y + 1, cache


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [conv(dtype=np.float64), DoubledReLU(), conv(dtype=np.float64)],
        lambda: [ShiftedConv(8, 8, 3, rng=rng(), dtype=np.float64), ac.ReLU()],
    ],
    ids=["activation", "neighbour"],
)
def test_a_subclass_with_a_pass_of_its_own_is_not_joined(layers):
    model = ac.Sequential(*layers())
    assert all(activation is None for _, activation in in_forward_order(model.layers))
    ac.gradcheck.check(model, rng(1).standard_normal((2, 5, 5, 8))).raise_if_failed()


def test_an_observer_sees_the_output_before_the_activation():
    model = ac.Sequential(conv(), ac.ReLU())
    seen = []
    with ac.observe([("0", model[0])], forward=lambda call, x: seen.append(call(x)) or seen[-1]):
        y = model.forward(rng(1).standard_normal((2, 8, 8, 8), dtype=np.float32))[0]
    assert (seen[0][0] < 0).any()
    assert (y >= 0).all()


def test_a_rule_replaces_the_gradient_of_an_activation():
    model = ac.Sequential(ac.ReLU(), conv())
    x = rng(1).standard_normal((2, 8, 8, 8), dtype=np.float32)
    y, cache = model.forward(x)
    with ac.rules.override_backward(model, {ac.ReLU: ac.rules.straight_through}):
        through = model.backward(np.ones_like(y), cache)
    assert np.array_equal(through, model[1].backward(np.ones_like(y), cache[1]))


@pytest.mark.parametrize("layer_class", [ac.Conv2D, ac.ReLU])
@pytest.mark.parametrize("name", ["forward", "backward"])
def test_a_method_that_a_program_has_put_into_a_class_is_called(layer_class, name, monkeypatch):
    model, calls, own = ac.Sequential(conv(), ac.ReLU(), conv(), ac.ReLU(), conv()), [], getattr(layer_class, name)
    monkeypatch.setattr(layer_class, name, lambda *given, **options: calls.append(name) or own(*given, **options))
    y, cache = model.forward(rng(1).standard_normal((2, 8, 8, 8), dtype=np.float32))
    model.backward(np.ones_like(y), cache)
    assert len(calls) == sum(type(layer) is layer_class for layer in model)


def test_a_method_that_a_program_has_put_into_an_instance_is_called():
    model = ac.Sequential(conv(), ac.ReLU())
    model[1].forward = lambda x, *, training=False: (x, x)
    x = rng(1).standard_normal((2, 8, 8, 8), dtype=np.float32)
    assert np.array_equal(model.forward(x)[0], model[0].forward(x)[0])


def test_the_cache_of_other_images_is_refused():
    model = ac.Sequential(ac.ReLU(), conv(), ac.ReLU(), skip())
    x = rng(1).standard_normal((2, 8, 8, 8), dtype=np.float32)
    for position in (0, 2):
        y, caches = model.forward(x)
        caches[position] = caches[position][:1]
        with pytest.raises(ValueError, match=r"dy must have the shape of the layer's output, \(1, 8, 8, 8\), got"):
            model.backward(np.ones_like(y), caches)


@given(st.sampled_from(sorted(ACTIVATIONS)), st.integers(0, 2**32 - 1), st.sampled_from(["f4", "f8", "f2"]))
def test_an_activation_can_overwrite_what_it_reads(name, seed, dtype):
    layer, draw = ACTIVATIONS[name](), rng(seed)
    x = draw.choice([-np.inf, -7.5, -1.0, -0.0, 0.0, 0.3, 6.0, 7.5, np.inf, np.nan], (3, 5)).astype(dtype)
    dy = draw.choice([-np.inf, -2.0, -0.0, 0.0, 3.0, np.inf, np.nan], (3, 5)).astype(dtype)
    with np.errstate(all="ignore"):
        y, dx = np.empty_like(x), np.empty_like(x)
        layer.write(x, y)
        layer.write_gradient(dy, y, dx)
        layer.write(x, x)
        layer.write_gradient(dy, y, dy)
    assert (x.tobytes(), dy.tobytes()) == (y.tobytes(), dx.tobytes())


def test_every_activation_that_overwrites_is_tested():
    assert {layer.__name__ for layer in Overwriting.__subclasses__()} == {
        type(make()).__name__ for make in ACTIVATIONS.values()
    }
