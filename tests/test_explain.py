"""Pictures of what a network sees: against numeric differences, slow references and the definitions."""

import numpy as np
import pytest
from helpers.meeting import meeting
from helpers.numeric import numeric_gradient
from helpers.unchanged import unchanged

import allconv as ac
from allconv import explain

F8 = np.float64
METHODS = [explain.saliency, explain.deconvnet, explain.guided_backprop]


def tiny(activation=ac.ReLU, seed=0):
    """Return a network with a shortcut, and three images."""
    rng = np.random.default_rng(seed)
    model = ac.Sequential(
        ac.Conv2D(2, 4, 3, dtype=F8, rng=rng), activation(),
        ac.Skip(ac.Sequential(ac.Conv2D(4, 4, 3, dtype=F8, rng=rng), activation()), scale=0.5),
        ac.Conv2D(4, 5, 3, stride=2, dtype=F8, rng=rng), activation(),
        ac.Dropout(0.5, rng=rng),
        ac.GlobalAveragePool2D(),
    )  # fmt: skip
    for parameter in model.parameters():
        parameter.value += 0.1 * rng.standard_normal(parameter.value.shape)
    model[3].bias.value += 1  # no score is 0 everywhere
    return model, rng.standard_normal((3, 4, 4, 2))


def reference(model, x, dy, rule):
    """Return what comes back from dy through convolutions, rectifiers and Skips, by Jacobians and the rule's words."""
    if isinstance(model, ac.Sequential):
        inputs = [x]
        for layer in model:
            inputs.append(layer(inputs[-1]))
        for layer, entered in zip(reversed(list(model)), reversed(inputs[:-1]), strict=True):
            dy = reference(layer, entered, dy, rule)
        return dy
    if isinstance(model, ac.Skip):
        return reference(model.body, x, dy, rule) + model.scale * dy
    if isinstance(model, ac.ReLU):
        dx = np.zeros_like(dy)
        for place in np.ndindex(x.shape):
            below, above = x[place] > 0, dy[place] > 0
            passes = {"saliency": below, "deconvnet": above, "guided_backprop": below and above}[rule]
            dx[place] = dy[place] if passes else 0
        return dx
    return numeric_gradient(lambda x: float((model(x) * dy).sum()), x)  # linear: exact but for rounding


@pytest.mark.parametrize("activation", [ac.ReLU, ac.ELU])
def test_saliency_is_the_numeric_gradient_of_the_score(activation):
    model, images = tiny(activation)
    found = explain.saliency(model, images, [4, 0, 2])
    expected = numeric_gradient(lambda x: model(x)[[0, 1, 2], [4, 0, 2]].sum(), images)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert (abs(found).reshape(3, -1).max(axis=1) > 0).all()


@pytest.mark.parametrize("position", [(3, 1), (0, 2)])
@pytest.mark.parametrize("layer", ["0", "2", "2.body", "2.body.0"])
def test_saliency_of_a_unit_inside(layer, position):
    model, images = tiny(ac.ELU)
    first, second = model[0], model[2].body
    forward = {
        "0": first,
        "2": lambda x: second(model[1](first(x))) + 0.5 * model[1](first(x)),
        "2.body": lambda x: second(model[1](first(x))),
        "2.body.0": lambda x: second[0](model[1](first(x))),
    }[layer]
    found = explain.saliency(model, images, 1, layer=layer, position=position)
    expected = numeric_gradient(lambda x: forward(x)[:, *position, 1].sum(), images)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", [None, "4", "2.body.1"])
def test_each_method_is_its_definition(method, layer):
    model, images = tiny()
    part = {
        None: model,
        "4": ac.Sequential(*model.layers[:5]),
        "2.body.1": ac.Sequential(*model.layers[:2], model[2].body),
    }[layer]
    y = part(images)
    dy = np.zeros_like(y)
    if layer is None:
        dy[:, 3] = 1
        found = method(model, images, 3)
    else:
        dy[:, 1, 0, 3] = 1
        found = method(model, images, 3, layer=layer, position=(1, 0))
    np.testing.assert_allclose(found, reference(part, images, dy, method.__name__), rtol=1e-6, atol=1e-9)
    assert abs(found).max() > 0


def test_guided_on_an_elu_multiplies_the_positive_part_by_the_derivative():
    model = ac.Sequential(ac.Flatten(), ac.ELU(), ac.Linear(3, 1, dtype=F8))
    model[2].weight.value = np.array([[2.0], [-3.0], [5.0]])
    images = np.array([1.0, 1.0, -1.0]).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(explain.guided_backprop(model, images).ravel(), [2, 0, 5 * np.exp(-1)])
    np.testing.assert_array_equal(explain.deconvnet(model, images).ravel(), [2, 0, 5])
    np.testing.assert_allclose(explain.saliency(model, images).ravel(), [2, -3, 5 * np.exp(-1)])


@pytest.mark.parametrize("method", METHODS)
def test_what_is_left_out_is_the_highest(method):
    model, images = tiny(seed=3)
    np.testing.assert_array_equal(method(model, images), method(model, images, model(images).argmax(axis=1)))
    y = ac.Sequential(*model.layers[:4])(images)
    for n, maps in enumerate(y):
        image = images[n : n + 1]
        row, column, channel = np.unravel_index(maps.argmax(), maps.shape)
        expected = method(model, image, channel, layer="3", position=(row, column))
        np.testing.assert_array_equal(method(model, image, layer="3"), expected)
        row, column = np.unravel_index(maps[..., 2].argmax(), maps.shape[:2])
        expected = method(model, image, 2, layer="3", position=(row, column))
        np.testing.assert_array_equal(method(model, image, 2, layer="3"), expected)
        channel = maps[1, 1].argmax()
        expected = method(model, image, channel, layer="3", position=(1, 1))
        np.testing.assert_array_equal(method(model, image, layer="3", position=(1, 1)), expected)


def test_each_image_by_itself_gives_the_same():
    model, images = tiny()
    for method in (*METHODS, explain.class_activation_map):
        single = np.concatenate([method(model, images[n : n + 1], 1) for n in range(3)])
        np.testing.assert_allclose(method(model, images, 1), single, rtol=1e-12, atol=1e-15)


class Careless(ac.Linear):
    """Adds a gradient whether or not the weight is trainable, and counts what it is asked."""

    def backward(self, dy, cache):
        self.weight.add_grad(np.ones_like(self.weight.value))
        return super().backward(dy, cache)


def test_nothing_of_the_model_is_changed():
    rng = np.random.default_rng(0)
    model = ac.Sequential(
        ac.Conv2D(2, 3, 3, dtype=F8, rng=rng), ac.BatchNorm(3, dtype=F8), ac.ReLU(), ac.Dropout(0.5, rng=rng),
        ac.GlobalAveragePool2D(), Careless(3, 4, dtype=F8, rng=rng),
    )  # fmt: skip
    images = rng.standard_normal((2, 4, 4, 2))
    y, cache = model.forward(images, training=True)
    model.backward(np.ones_like(y), cache)
    model[5].bias.trainable, model[0].weight.name = False, "a name"

    kept = images.copy()
    with unchanged(model):
        for method in (*METHODS, explain.class_activation_map):
            method(model, images)
        for method in METHODS:
            method(model, images, 0, layer="3")
            with pytest.raises(ValueError, match="target"):
                method(model, images, 9)
    np.testing.assert_array_equal(images, kept)
    assert not ac.rules.active_rules(model)


def test_two_threads_look_at_one_model():
    inside, images = tiny()
    model = ac.Sequential(inside, ac.ReLU())
    expected = explain.saliency(model, images, 3), explain.guided_backprop(model, images, 3)
    with meeting(ac.ReLU) as meet:
        model[1] = meet.layer
        found = meet.run(lambda: explain.saliency(model, images, 3), lambda: explain.guided_backprop(model, images, 3))
    assert [dx.tobytes() for dx in found] == [dx.tobytes() for dx in expected]
    assert all(parameter.trainable for parameter in model.parameters())


def test_the_callers_rules_and_observers_hold():
    model, images = tiny()
    seen = []

    def watch(call, x):
        seen.append(call.path)
        return call(x)

    expected = explain.saliency(model, images, 3)
    doubled = ac.rules.override_backward(model, {"4": ac.rules.scaled(2.0)})
    with doubled, ac.gradcheck.guard_caches(model), ac.observe([("4", model[4])], forward=watch):
        np.testing.assert_array_equal(explain.saliency(model, images, 3), 2 * expected)
    assert seen == ["4"]
    np.testing.assert_array_equal(explain.saliency(model, images, 3), expected)


def test_an_observer_that_calls_for_a_picture_does_not_see_it():
    model, images = tiny()
    pictures = []

    def look(call, x):
        pictures.append(explain.saliency(model, images, 3))
        return call(x)

    expected = explain.saliency(model, images, 3)
    with ac.observe([("6", model[6])], forward=look):
        model(images)
    np.testing.assert_array_equal(pictures, [expected])


class TestClassActivationMap:
    def test_it_is_the_last_map_and_its_mean_the_score(self):
        model, images = tiny()
        maps = ac.Sequential(*model.layers[:5])(images)
        found = explain.class_activation_map(model, images, [1, 4, 0])
        np.testing.assert_array_equal(found, [maps[0, ..., 1], maps[1, ..., 4], maps[2, ..., 0]])
        np.testing.assert_allclose(found.mean(axis=(1, 2)), model(images)[[0, 1, 2], [1, 4, 0]], rtol=1e-12)
        best = model(images).argmax(axis=1)
        np.testing.assert_array_equal(
            explain.class_activation_map(model, images), explain.class_activation_map(model, images, best)
        )

    @pytest.mark.parametrize("keepdims", [False, True])
    def test_a_linear_layer_weights_the_maps(self, keepdims):
        rng = np.random.default_rng(0)
        body, linear = ac.Sequential(ac.Conv2D(2, 6, 3, dtype=F8, rng=rng), ac.ReLU()), ac.Linear(6, 4, dtype=F8)
        linear.bias.value = rng.standard_normal(4)
        model = ac.Sequential(body, ac.GlobalAveragePool2D(keepdims=keepdims), ac.Flatten(), linear)
        images = rng.standard_normal((2, 5, 3, 2))
        found = explain.class_activation_map(model, images, 2)
        expected = np.zeros((2, 5, 3))
        for k in range(6):
            expected += linear.weight.value[k, 2] * body(images)[..., k]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
        scores = found.mean(axis=(1, 2)) + linear.bias.value[2]
        np.testing.assert_allclose(scores, model(images)[:, 2], rtol=1e-12)
        with_softmax = ac.Sequential(*model, ac.Softmax())
        np.testing.assert_array_equal(
            explain.class_activation_map(with_softmax, images), explain.class_activation_map(model, images)
        )

    def test_the_images_themselves_may_be_the_maps(self):
        images = np.random.default_rng(0).standard_normal((2, 3, 3, 4))
        found = explain.class_activation_map(ac.Sequential(ac.GlobalAveragePool2D()), images, 3)
        np.testing.assert_array_equal(found, images[..., 3])

    @pytest.mark.parametrize(
        ("model", "error", "got"),
        [
            (ac.ReLU(), TypeError, r"got ReLU\(\)"),
            (ac.Sequential(ac.ReLU()), ValueError, "got one without"),
            (ac.Sequential(ac.GlobalAveragePool2D(), ac.ReLU()), ValueError, "got ReLU"),
            (
                ac.Sequential(ac.GlobalAveragePool2D(), ac.Linear(2, 2), ac.Linear(2, 2)),
                ValueError,
                "got Linear, Linear",
            ),
        ],
    )
    def test_another_model_is_refused(self, model, error, got):
        with pytest.raises(error, match=f"model must .*GlobalAveragePool2D.*{got}"):
            explain.class_activation_map(model, np.zeros((1, 2, 2, 2)))


class Pair(ac.Layer):
    """Two layers, but no Sequential."""

    def __init__(self):
        self.first, self.second = ac.ReLU(), ac.Flatten()

    def forward(self, x, *, training=False):
        return self.second.forward(self.first.forward(x)[0])


class Rows(ac.Layer):
    """An output of rank 3."""

    def forward(self, x, *, training=False):
        return x[..., 0], None


def test_models_that_do_not_fit():
    images = np.ones((1, 2, 2, 1))
    with pytest.raises(ValueError, match=r"position must be None where the output is \(N, K\), got \(0, 0\)"):
        explain.saliency(*tiny(), position=(0, 0))
    for method in METHODS[1:]:
        with pytest.raises(ValueError, match=r"model must have a rectifier \(ReLU, .*got Flatten"):
            method(ac.Flatten(), images)
    nested = ac.Sequential(Pair())
    with pytest.raises(
        ValueError, match=r"layer must lie in Sequential, Skip and Branches layers, got '0.first', in a Pair"
    ):
        explain.saliency(nested, images, layer="0.first")
    with pytest.raises(ValueError, match=r"layer must have an output \(N, K\) or \(N, h, w, K\), got .*\(1, 2, 2\)"):
        explain.saliency(Rows(), images)
