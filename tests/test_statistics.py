"""The statistics of layers against plain sums over lists and central differences of the loss."""

import math

import numpy as np
import pytest
from helpers.meeting import meeting
from helpers.numeric import numeric_gradient
from helpers.unchanged import unchanged

import allconv as ac

LABELS = np.array([2, 0, 1])


def rng():
    return np.random.default_rng(5)


def images():
    return rng().standard_normal((3, 4, 5, 2))


def network():
    """A small network whose filter 1 cannot fire, and whose filter 2 is below what its Skip's ELU can tell apart."""
    float64 = {"dtype": np.float64, "rng": rng()}
    norm = ac.BatchNorm(3, dtype=np.float64)
    norm.running_mean.value, norm.running_var.value = np.array([0.3, 0.2, 0.1]), np.array([2.0, 1.0, 0.5])
    norm.bias.value[2] = -60
    conv = ac.Conv2D(2, 3, 3, **float64)
    conv.bias.value[1] = -40
    return ac.Sequential(
        conv,
        ac.ReLU(),
        ac.Skip(ac.Sequential(norm, ac.ELU(alpha=0.5)), scale=0.7),
        ac.Dropout(0.5, rng=rng()),
        ac.GlobalAveragePool2D(),
        ac.Linear(3, 4, bias=False, **float64),
    )


PATHS = ["0", "1", "2.body.0", "2.body.1", "3", "4", "5"]


def outputs(model, x, at=None, shift=0.0):
    """Evaluate the network in plain sight; `shift` is added to the output at the path `at`."""
    found = {}

    def seen(path, y):
        found[path] = y + shift if path == at else y
        return found[path]

    conv, relu, skip, _, pool, linear = model.layers
    norm, elu = skip.body.layers
    x = seen("1", relu(seen("0", conv(x))))
    x = seen("2.body.1", elu(seen("2.body.0", norm(x)))) + 0.7 * x
    seen("5", linear(seen("4", pool(seen("3", x)))))
    return found


def value(scores):
    return ac.SoftmaxCrossEntropy()(scores, LABELS)[0]


def rms(array):
    numbers = array.ravel().tolist()
    return math.sqrt(sum(number**2 for number in numbers) / len(numbers))


def observed(model):
    return ac.layer_statistics(model, ac.SoftmaxCrossEntropy(), images(), LABELS)


def test_the_outputs_have_the_statistics_of_their_definition():
    model = network()
    rows, expected = observed(model), outputs(model, images())
    assert [row.path for row in rows] == PATHS
    assert [row.layer for row in rows][:3] == [repr(model[0]), "ReLU()", repr(model[2].body[0])]
    for row in rows:
        y = expected[row.path]
        numbers = y.ravel().tolist()
        mean = sum(numbers) / len(numbers)
        assert row.channels == y.shape[-1]
        assert row.mean == pytest.approx(mean, rel=1e-12, abs=1e-12)
        assert row.std == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in numbers) / len(numbers)), rel=1e-12)
        assert row.zeros == pytest.approx(numbers.count(0.0) / len(numbers), abs=1e-12)
        assert row.dead == sum(len(set(y[..., c].ravel().tolist())) == 1 for c in range(y.shape[-1]))


def test_the_gradients_are_central_differences():
    model = network()
    rows = {row.path: row for row in observed(model)}
    found = outputs(model, images())
    for path, row in rows.items():
        shape = found[path].shape
        dy = numeric_gradient(lambda d, at=path: value(outputs(model, images(), at, d)["5"]), np.zeros(shape))
        assert row.gradient_rms == pytest.approx(rms(dy), rel=1e-6), path
    for path, layer in model.named_layers():
        expected = {}
        for name, parameter in vars(layer).items():
            if isinstance(parameter, ac.Parameter) and parameter.trainable:
                before = parameter.value.copy()

                def loss_at(new, parameter=parameter):
                    parameter.value = new
                    return value(outputs(model, images())["5"])

                expected[name] = pytest.approx(rms(numeric_gradient(loss_at, before)), rel=1e-5, abs=1e-9)
                parameter.value = before
        if path in rows:
            assert rows[path].parameter_gradient_rms == expected, path
        else:
            assert not expected
    assert set(rows["2.body.0"].parameter_gradient_rms) == {"weight", "bias"}


def test_a_dead_filter_is_counted_after_its_activation():
    rows = {row.path: row for row in observed(network())}
    assert rows["0"].dead == 0  # the convolution's own output varies
    assert rows["1"].dead == 1
    assert rows["1"].zeros >= 1 / 3
    assert rows["2.body.1"].dead == 2  # of filter 2 the ELU makes -alpha everywhere
    model = network()
    model[0].bias.value[1] = 0
    assert {row.path: row.dead for row in observed(model)}["1"] == 0
    model[0].weight.value[..., 1] = 0
    assert {row.path: row.dead for row in observed(model)}["0"] == 1
    model[0].weight.value[:] = 0
    model[0].bias.value[:] = -1
    assert {row.path: row.dead for row in observed(model)}["1"] == 3


def test_one_place_that_differs_is_a_sign_of_life():
    x = np.zeros((4, 3, 3, 2))
    x[2, 1, 2, 1] = 1e-30
    (row,) = ac.layer_statistics(ac.ReLU(), ac.MeanSquaredError(), x, np.zeros_like(x))
    assert (row.path, row.dead, row.zeros) == ("", 1, 71 / 72)
    row_of_vectors, row_of_one_image = (
        ac.layer_statistics(ac.ReLU(), ac.MeanSquaredError(), x, np.zeros_like(x))[0]
        for x in (np.ones((2, 3)), np.ones((1, 3)))
    )
    assert row_of_vectors.dead == 3
    assert row_of_one_image.dead is None  # one value a channel


def test_scalars_are_one_channel():
    class FirstOf(ac.Layer):
        def forward(self, x, *, training=False):
            return x[:, 0], x.shape

        def backward(self, dy, cache):
            dx = np.zeros(cache)
            dx[:, 0] = dy
            return dx

    (row,) = ac.layer_statistics(FirstOf(), ac.MeanSquaredError(), np.ones((4, 3)), np.zeros(4))
    assert (row.channels, row.dead, row.mean, row.gradient_rms) == (1, 1, 1.0, 0.5)


def test_nothing_of_the_model_is_changed():
    model = network()
    for k, parameter in enumerate(model.parameters()):
        parameter.add_grad(np.full_like(parameter.value, k))
    for layer in (model[0], model[5]):
        layer.weight.name = "named by its owner"
    model[0].weight.trainable = False
    x, labels = images(), LABELS.copy()
    with unchanged(model):
        rows = ac.layer_statistics(model, ac.SoftmaxCrossEntropy(), x, labels)
    assert model[0].weight.name == model[5].weight.name == "named by its owner"
    assert set(rows[0].parameter_gradient_rms) == {"bias"}  # of the frozen weight there is none
    np.testing.assert_array_equal(x, images())
    np.testing.assert_array_equal(labels, LABELS)
    # What was in the gradients does not enter the statistics either.
    fresh = network()
    fresh[0].weight.trainable = False
    assert rows == observed(fresh)


def test_nothing_is_changed_where_the_loss_fails():
    model = network()
    with unchanged(model), pytest.raises(ValueError, match="target must be labels in 0 to 3, got 7"):
        ac.layer_statistics(model, ac.SoftmaxCrossEntropy(), images(), np.array([0, 7, 1]))


def test_two_threads_look_at_one_model():
    loss = ac.SoftmaxCrossEntropy()
    with meeting(ac.ReLU) as meet:
        model = ac.Sequential(meet.layer, network())
        look = lambda: ac.layer_statistics(model, loss, images(), LABELS)  # noqa: E731
        first, second = meet.run(look, look)
    assert first == second
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_layer_in_several_places_has_a_row_for_each():
    relu, linear = ac.ReLU(), ac.Linear(3, 3, dtype=np.float64, rng=rng())
    model = ac.Sequential(linear, relu, ac.Skip(linear), relu, ac.Linear(3, 2, dtype=np.float64, rng=rng()))
    x, labels = rng().standard_normal((5, 3)), np.array([0, 1, 1, 0, 1])
    rows = ac.layer_statistics(model, ac.SoftmaxCrossEntropy(), x, labels)
    assert [row.path for row in rows] == ["0", "1", "2.body", "3", "4"]
    y0 = linear(x)
    y1 = np.maximum(y0, 0)
    y2 = linear(y1)
    y3 = np.maximum(y2 + y1, 0)
    for row, y in zip(rows, (y0, y1, y2, y3), strict=False):
        assert row.mean == pytest.approx(y.mean())
    _, dy4 = ac.SoftmaxCrossEntropy()(model[4](y3), labels)
    dy3 = dy4 @ model[4].weight.value.T
    dy2 = dy3 * (y3 > 0)
    dy1 = dy2 + dy2 @ linear.weight.value.T
    dy0 = dy1 * (y1 > 0)
    for row, dy in zip(rows, (dy0, dy1, dy2, dy3, dy4), strict=True):
        assert row.gradient_rms == pytest.approx(rms(dy))
    both = pytest.approx(rms(x.T @ dy0 + y1.T @ dy2))
    assert [rows[k].parameter_gradient_rms["weight"] for k in (0, 2)] == [both, both]


def test_rules_are_followed():
    model = network()
    with ac.rules.override_backward(model, {"2": ac.rules.scaled(0), ac.GlobalAveragePool2D: ac.rules.scaled(3)}):
        ruled = observed(model)
    plain = observed(model)
    assert [row.gradient_rms for row in ruled[:2]] == [0, 0]
    assert ruled[4].gradient_rms == pytest.approx(3 * plain[4].gradient_rms)
    assert ruled[-1] == plain[-1]


def test_a_layer_that_no_gradient_reaches_has_nan():
    class Stop(ac.Sequential):
        def backward(self, dy, cache, *, release=False):
            return dy

    inner, last = ac.layer_statistics(
        ac.Sequential(Stop(ac.ReLU()), ac.ELU()), ac.MeanSquaredError(), np.ones((2, 3)), np.zeros((2, 3))
    )
    assert math.isnan(inner.gradient_rms)
    assert last.gradient_rms > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_not_finite_is_shown_and_not_raised(dtype):
    class Spoiled(ac.Layer):
        def forward(self, x, *, training=False):
            return x + np.array([np.nan, np.inf, 0], dtype), None

        def backward(self, dy, cache):
            return dy

    def loss(scores, target):
        return 0.0, np.full_like(scores, np.finfo(dtype).max)

    (row,) = ac.layer_statistics(Spoiled(), loss, np.ones((2, 3), dtype), np.zeros(2))
    assert math.isnan(row.mean)
    assert math.isnan(row.std)
    assert row.dead == 2  # what is infinite everywhere is constant, NaN is not equal to itself
    assert row.gradient_rms == (pytest.approx(np.finfo(np.float32).max) if dtype == np.float32 else math.inf)
