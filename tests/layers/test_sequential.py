import numpy as np
import pytest

import allconv as ac


def net(rng=None, dtype=np.float64):
    rng = rng or np.random.default_rng(0)
    return ac.Sequential(
        ac.Conv2D(3, 4, 3, rng=rng, dtype=dtype),
        ac.ReLU(),
        ac.Skip(ac.Sequential(ac.Conv2D(4, 4, 3, rng=rng, dtype=dtype), ac.ELU())),
        ac.Flatten(),
        ac.Linear(36 * 4, 2, rng=rng, dtype=dtype),
    )


def images(n=2):
    return np.random.default_rng(1).standard_normal((n, 6, 6, 3))


def test_paths_are_positions_and_attribute_names():
    assert [path for path, _ in net().named_parameters()] == [
        "0.weight",
        "0.bias",
        "2.body.0.weight",
        "2.body.0.bias",
        "4.weight",
        "4.bias",
    ]
    assert [p.name for p in net().parameters()][2] == "2.body.0.weight"


def test_a_layer_used_twice_shares_its_parameters_and_adds_its_gradients():
    shared = ac.Linear(3, 3, dtype=np.float64, rng=np.random.default_rng(0))
    model = ac.Sequential(shared, ac.Tanh(), shared)
    assert len(model.parameters()) == 2
    ac.gradcheck.check(model, np.random.default_rng(1).standard_normal((4, 3))).raise_if_failed()


def test_release_frees_each_cache_after_its_use():
    model, x = net(), images()
    y, cache = model.forward(x, training=True)
    kept = model.backward(np.ones_like(y), cache)
    assert len(cache) == 5
    released = model.backward(np.ones_like(y), cache, release=True)
    assert cache == []
    assert kept.tobytes() == released.tobytes()


def test_the_training_backward_stops_above_frozen_layers(monkeypatch):
    model, x = net(), images()
    model[0].weight.trainable = model[0].bias.trainable = False

    def never(*args, **kwargs):
        raise AssertionError("a frozen first layer needs no backward pass")

    monkeypatch.setattr(model[0], "backward", never)
    monkeypatch.setattr(model[0], "backward_parameters", never)
    monkeypatch.setattr(model[1], "backward", never)
    y, cache = model.forward(x, training=True)
    model.backward_parameters(np.ones_like(y), cache, release=True)
    assert model[2].body[0].weight.grad is not None


@pytest.mark.parametrize(
    ("layers", "error"),
    [
        ((), ValueError),
        ((ac.ReLU,), TypeError),
        (([ac.ReLU()],), TypeError),
        ((None,), TypeError),
        ((ac.ReLU(), "ReLU"), TypeError),
        ((lambda x: x,), TypeError),
    ],
)
def test_what_is_no_layer_is_refused(layers, error):
    with pytest.raises(error, match="layers must be .*, got"):
        ac.Sequential(*layers)


def test_a_slice_shares_its_layers_and_counts_from_0():
    model = net()
    part = model[2:-1]
    assert isinstance(part, ac.Sequential)
    assert list(part) == list(model)[2:4]
    assert [path for path, _ in part.named_parameters()] == ["0.body.0.weight", "0.body.0.bias"]
    np.testing.assert_array_equal(model[4](part(model[:2](images()))), model(images()))
    with pytest.raises(ValueError, match="layers must be at least one Layer, got none"):
        model[2:2]


def test_what_replaces_a_layer_takes_its_name_and_what_is_appended_the_next():
    model = net()
    before = dict(model.named_parameters())
    model[-1] = ac.Linear(36 * 4, 3, dtype=np.float64)
    model.append(ac.Linear(3, 2, dtype=np.float64))
    after = dict(model.named_parameters())
    assert [*after] == [*before, "5.weight", "5.bias"]
    assert {path for path in before if before[path] is not after[path]} == {"4.weight", "4.bias"}
    assert model(images()).shape == (2, 2)
    for change in (lambda: model.append([ac.ReLU()]), lambda: model.__setitem__(0, None)):
        with pytest.raises(TypeError, match="layers must be Layer objects, got"):
            change()
    with pytest.raises(TypeError, match=r"index must be an int, .* got slice\(None, 1, None\)"):
        model[:1] = model  # a Sequential in the place of a row of layers
    model[np.int64(0)] = ac.Flatten()
    assert repr(model[0]) == "Flatten()"


def test_summary_lists_shapes_parameters_and_multiply_adds():
    summary = net().summary((6, 6, 3))
    assert [row.path for row in summary.rows] == ["0", "1", "2.body.0", "2.body.1", "3", "4"]
    assert [row.output_shape for row in summary.rows] == [(6, 6, 4)] * 4 + [(144,), (2,)]
    assert [row.parameters for row in summary.rows] == [112, 0, 148, 0, 0, 290]
    assert [row.multiply_adds for row in summary.rows] == [36 * 108, 0, 36 * 144, 0, 0, 288]
    assert (summary.parameters, summary.trainable) == (550, 550)
    lines = str(summary).splitlines()
    assert lines[0].split() == ["path", "layer", "output", "shape", "parameters", "multiply-adds"]
    assert lines[-1].split() == ["total", "550", f"{summary.multiply_adds:,}"]


def test_summary_says_what_is_not_trained():
    model = net()
    model[4].bias.trainable = False
    assert str(model.summary((6, 6, 3))).endswith("2 of the parameters are not trained")


def test_the_repr_indents_nested_layers():
    assert repr(ac.Sequential(ac.ReLU(), ac.Sequential(ac.Tanh()))) == (
        "Sequential(\n    ReLU(),\n    Sequential(\n        Tanh(),\n    ),\n)"
    )


@pytest.mark.parametrize("method", ["backward", "backward_parameters"])
def test_a_cache_of_another_form_is_refused(method):
    model = net()
    y, cache = model.forward(images(), training=True)
    for wrong in (None, tuple(cache), y):
        with pytest.raises(TypeError, match="cache must be the list that forward returned, .* each of 5 layers, got"):
            getattr(model, method)(y, wrong)
    model.backward(np.ones_like(y), cache, release=True)
    with pytest.raises(ValueError, match="got 0 caches; backward with release=True uses a cache up"):
        getattr(model, method)(y, cache)
