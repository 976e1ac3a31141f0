"""Observers: what they see, in which order, what they may change, and that nothing of them stays."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.unchanged import unchanged

import allconv as ac
from allconv.layers.intercept import rules_in_force

X = np.arange(6.0).reshape(2, 3) - 2


def net():
    rng = np.random.default_rng(0)
    return ac.Sequential(
        ac.Linear(3, 3, dtype=np.float64, rng=rng),
        ac.Skip(ac.Sequential(ac.ReLU(), ac.Linear(3, 3, dtype=np.float64, rng=rng))),
        ac.ELU(),
    )


class Recorder:
    """Observers that write down what they see, and pass it on."""

    def __init__(self, name=""):
        self.name, self.calls = name, []

    def forward(self, call, x):
        y, cache = call(x)
        self.calls.append((self.name + call.path, call.method, call.training))
        return y, cache

    def backward(self, call, dy, cache):
        dx = call(dy, cache)
        self.calls.append((self.name + call.path, call.method, dx is None))
        return dx


def test_each_layer_is_seen_where_it_ends():
    model, seen = net(), Recorder()
    with ac.observe(model, forward=seen.forward, backward=seen.backward):
        y, cache = model.forward(X, training=True)
        forward, seen.calls = seen.calls, []
        model.backward_parameters(np.ones_like(y), cache, release=True)
    inside = ["1.body.0", "1.body.1", "1.body", "1"]
    assert forward == [(path, "forward", True) for path in ["0", *inside, "2", ""]]
    back = [("2", "backward", False), *((path, "backward", False) for path in ["1.body.1", "1.body.0", "1.body", "1"])]
    assert seen.calls == [*back, ("0", "backward_parameters", True), ("", "backward_parameters", True)]
    assert cache == []


@pytest.mark.parametrize("method", ["backward", "backward_parameters"])
def test_calls_between_a_layers_own_methods_are_not_seen(method):
    # Layer.backward_parameters calls backward, and Linear.backward calls backward_parameters.
    for layer in (ac.Linear(3, 3, dtype=np.float64), ac.BatchNorm(3, dtype=np.float64)):
        seen = Recorder()
        with ac.observe(layer, forward=seen.forward, backward=seen.backward):
            y, cache = layer.forward(X)
            getattr(layer, method)(y, cache)
        assert [call[1] for call in seen.calls] == ["forward", method]
        assert layer.weight.grad is not None


def test_a_layer_in_several_places_is_seen_once_a_call_under_its_first_path():
    shared, seen = ac.ELU(), Recorder()
    model = ac.Sequential(shared, ac.Skip(shared), ac.Tanh())
    with ac.observe(model.leaves(), forward=seen.forward, backward=seen.backward):
        y, cache = model.forward(X)
        model.backward(y, cache)
    assert [call[0] for call in seen.calls] == ["0", "0", "2", "2", "0", "0"]


def test_the_observer_opened_last_is_the_first_to_see_a_call():
    layer, order = ac.ELU(), []

    def named(name):
        def forward(call, x):
            order.append(f"{name} in")
            result = call(x)
            order.append(f"{name} out")
            return result

        return forward

    with ac.observe(layer, forward=named("a")), ac.observe(layer, forward=named("b")):
        layer(X)
    assert order == ["b in", "a in", "a out", "b out"]


def test_an_observer_may_change_what_goes_through():
    layer = ac.ReLU()

    def forward(call, x):
        y, cache = call(x + 10)
        return -y, ("mine", cache)

    def backward(call, dy, cache):
        word, own = cache
        assert word == "mine"
        return call(2 * dy, own)

    with ac.observe(layer, forward=forward, backward=backward):
        y, cache = layer.forward(X)
        np.testing.assert_array_equal(y, -(X + 10))
        np.testing.assert_array_equal(layer.backward(np.ones_like(X), cache), 2 * np.ones_like(X))


def test_observers_may_close_in_any_order():
    layer, a, b = ac.ReLU(), Recorder("a"), Recorder("b")
    first, second = ac.observe(layer, forward=a.forward), ac.observe(layer, forward=b.forward)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    layer(X)
    second.__exit__(None, None, None)
    layer(X)
    assert (len(a.calls), len(b.calls)) == (0, 1)
    assert vars(layer) == {}


@pytest.mark.parametrize("where", ["block", "forward", "backward"])
def test_everything_is_put_back_after_an_error(where):
    model = net()
    for p in model.parameters():
        p.trainable = False  # so that the block itself changes nothing

    def fails(call, *arrays):
        raise ZeroDivisionError

    def block():
        y, cache = model.forward(X)
        model.backward(y, cache)
        raise ZeroDivisionError

    functions = {"forward": lambda call, x: call(x), "backward": lambda call, dy, cache: call(dy, cache)}
    functions |= {where: fails} if where in functions else {}
    with unchanged(model), pytest.raises(ZeroDivisionError), ac.observe(model, **functions):
        block()


def test_after_an_error_in_a_call_the_next_call_is_seen_again():
    layer, seen = ac.Linear(3, 2, dtype=np.float64), Recorder()
    with ac.observe(layer, forward=seen.forward):
        with pytest.raises(ValueError, match="x must have shape"):
            layer(np.ones((2, 4)))
        layer(X)
    assert len(seen.calls) == 1


def test_a_method_that_was_set_on_the_instance_is_observed_and_comes_back():
    layer, seen = ac.ReLU(), Recorder()
    layer.backward = own = lambda dy, cache: -dy
    with ac.observe(layer, forward=seen.forward, backward=seen.backward):
        y, cache = layer.forward(X)
        np.testing.assert_array_equal(layer.backward(y, cache, release=True), -y)
    assert [call[1] for call in seen.calls] == ["forward", "backward"]
    assert vars(layer) == {"backward": own}


def test_backward_parameters_still_calls_a_backward_that_was_set_on_the_instance():
    layer, called = ac.BatchNorm(3, dtype=np.float64), []
    layer.backward = lambda dy, cache: called.append(dy)
    with ac.observe(layer, backward=Recorder().backward):
        y, cache = layer.forward(X)
        layer.backward_parameters(y, cache)
    assert len(called) == 1


def test_inside_an_observer_the_layer_is_its_own():
    layer, seen = ac.ELU(), Recorder()

    def twice(call, dy, cache):
        return call.layer.backward(dy, cache) + call.layer.backward(dy, cache)

    y, cache = layer.forward(X)
    once = layer.backward(y, cache)
    with ac.observe(layer, backward=seen.backward), ac.observe(layer, backward=twice):
        np.testing.assert_array_equal(layer.backward(y, cache), 2 * once)
    assert seen.calls == []


def test_copies_and_pickles_are_not_observed():
    model, seen = net(), Recorder()
    with ac.observe(model, forward=seen.forward):
        copies = [copy.deepcopy(model), copy.copy(model[2]), pickle.loads(pickle.dumps(model))]
        assert [set(vars(copies[0][2])), set(vars(copies[1]))] == [{"alpha"}, {"alpha"}]
        copies[0](X)
        copies[2](X)
        assert seen.calls == []
        model(X)
    assert [call[0] for call in seen.calls] == ["0", "1.body.0", "1.body.1", "2"]


def test_two_threads_are_seen_each():
    layer, seen, barrier = ac.ReLU(), [], threading.Barrier(2, timeout=10)

    def forward(call, x):
        barrier.wait()  # both are inside at the same time
        seen.append(threading.get_ident())
        return call(x)

    with ac.observe(layer, forward=forward), ThreadPoolExecutor(2) as threads:
        list(threads.map(layer, [X, X]))
    assert len(set(seen)) == 2


def test_a_call_may_be_handed_to_another_thread():
    layer, seen = ac.ELU(), Recorder()
    with ThreadPoolExecutor(1) as pool:

        def elsewhere(call, x):
            return pool.submit(call, x).result()

        with ac.observe(layer, forward=elsewhere):
            assert layer(X).tobytes() == layer(X).tobytes()
        with ac.observe(layer, forward=seen.forward):
            pool.submit(layer, X).result()
    assert len(seen.calls) == 1


def test_the_context_is_a_decorator_too():
    layer, seen = ac.ReLU(), Recorder()

    @ac.observe(layer, forward=seen.forward)
    def run():
        layer(X)

    run()
    layer(X)
    run()
    assert len(seen.calls) == 2


def test_a_rule_has_its_name_in_the_summary():
    model = net()
    with ac.observe([("2", model[2])], backward=lambda call, dy, cache: dy, rule="identity"):
        assert ac.rules.active_rules(model) == rules_in_force(model) == {"2": "identity"}
        assert str(model.summary((3,))).endswith("backward of 2 follows the rule identity")
        with ac.observe(model, forward=Recorder().forward):
            assert rules_in_force(model) == {"2": "identity"}
    assert rules_in_force(model) == {}


@pytest.mark.parametrize("bad", [{"backward": "guided"}, {"rule": 1}, {"layers": [("0", ac.ReLU()), ("0", "1")]}])
def test_bad_arguments_are_refused_before_anything_is_changed(bad):
    layer = ac.ReLU()
    with pytest.raises(TypeError, match="must be"):
        ac.observe(**{"layers": layer, "forward": Recorder().forward} | bad)
    assert vars(layer) == {}


def test_a_method_set_during_the_observation_stays():
    layer, seen = ac.ReLU(), Recorder()
    with ac.observe(layer, forward=seen.forward):
        layer.forward = own = lambda x, training=False: (x, None)
        layer(X)
    assert seen.calls == []
    assert vars(layer) == {"forward": own}
