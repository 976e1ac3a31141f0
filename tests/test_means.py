"""The means of `evaluate` and of the records: what counts, by what weight, for any batch size, as PyTorch has them."""

import math

import numpy as np
import pytest

import allconv as ac
from allconv.training.evaluation import count_correct

LABELS = [9, 9, 9, 0, 1, 1]
SIZES = range(1, 7)


def model(outputs=3):
    rng = np.random.default_rng(0)
    return ac.Sequential(ac.Flatten(), ac.Linear(12, outputs, rng=rng, dtype=np.float64))


def loader(labels, batch_size, **options):
    images = np.random.default_rng(1).integers(0, 256, (len(labels), 2, 2, 3), dtype=np.uint8)
    return ac.data.Loader(ac.data.Dataset(images, np.array(labels)), batch_size, **{"shuffle": False} | options)


def torchs(labels, **options):
    """Return PyTorch's mean loss and the accuracy of all images together."""
    torch = pytest.importorskip("torch")
    images, labels = next(loader(labels, len(labels)).epoch(0))
    scores = model()(images)
    kept = labels != options.get("ignore_index", -100)
    value = torch.nn.functional.cross_entropy(torch.tensor(scores), torch.tensor(labels), **options)
    return value.item(), np.mean((scores.argmax(axis=1) == labels)[kept])


@pytest.mark.parametrize("batch_size", SIZES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (LABELS, {"ignore_index": 9}),
        ([0, 2, 1, 2, 0, 1], {"class_weight": [1.0, 1.0, 10.0]}),
        ([9, 2, 9, 2, 0, 1], {"class_weight": [1.0, 0.0, 10.0], "ignore_index": 9}),
        ([0, 2, 1, 2, 0, 1], {"label_smoothing": 0.1}),
    ],
)
def test_an_evaluation_does_not_depend_on_the_batch_size(labels, options, reduction, batch_size):
    torch = pytest.importorskip("torch")
    theirs = {name: value for name, value in options.items() if name != "class_weight"}
    if "class_weight" in options:
        theirs["weight"] = torch.tensor(options["class_weight"], dtype=torch.float64)
    value, accuracy = torchs(labels, **theirs)
    found = ac.evaluate(model(), ac.SoftmaxCrossEntropy(**options, reduction=reduction), loader(labels, batch_size))
    assert found.loss == pytest.approx(value, rel=1e-9)
    assert found.accuracy == pytest.approx(accuracy)
    assert found.images == 6


@pytest.mark.parametrize("batch_size", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_record_does_not_depend_on_the_batch_size(batch_size, reduction):
    labels = [9, 0, 9, 0, 1, 1]
    value, accuracy = torchs(labels, ignore_index=9)
    net = model()
    loss = ac.SoftmaxCrossEntropy(ignore_index=9, reduction=reduction)
    *_, record = ac.train(net, loss, ac.SGD(net.parameters(), 0.0), loader(labels, batch_size), epochs=1)
    assert record.loss == pytest.approx(value, rel=1e-9)
    assert record.accuracy == pytest.approx(accuracy)


def test_where_nothing_counts():
    loss, summed = (ac.SoftmaxCrossEntropy(ignore_index=9, reduction=reduction) for reduction in ("mean", "sum"))
    for each in (loss, summed):
        found = ac.evaluate(model(), each, loader([9, 9], 1))
        assert math.isnan(found.loss)
        assert math.isnan(found.accuracy)
        assert found.images == 2
    net = model()
    record = next(ac.train(net, summed, ac.SGD(net.parameters(), 0.1), loader([9, 9], 1), epochs=1, report_every=1))
    assert math.isnan(record.loss)
    with pytest.raises(ValueError, match="target must hold a label that is not ignored"):
        next(ac.train(net, loss, ac.SGD(net.parameters(), 0.1), loader([9, 9], 1), epochs=1))


def test_a_class_of_weight_zero_counts_in_the_accuracy():
    found = ac.evaluate(model(), ac.SoftmaxCrossEntropy(class_weight=[0, 1, 1]), loader([0, 0, 1], 2))
    net, (images, labels) = model(), next(loader([0, 0, 1], 3).epoch(0))
    assert found.accuracy == pytest.approx(np.mean(net(images).argmax(axis=1) == labels))
    assert found.loss == pytest.approx(ac.SoftmaxCrossEntropy()(net(images)[2:], labels[2:])[0])


@pytest.mark.parametrize("batch_size", SIZES)
def test_a_plain_function_is_a_mean_over_the_batch(batch_size):
    def loss(scores, labels):
        return ac.SoftmaxCrossEntropy()(scores, labels)

    labels = [0, 2, 1, 2, 0, 1]
    whole = ac.evaluate(model(), ac.SoftmaxCrossEntropy(), loader(labels, 6))
    assert ac.evaluate(model(), loss, loader(labels, batch_size)).loss == pytest.approx(whole.loss, rel=1e-9)


def test_a_loss_of_ones_own_may_tell_its_divisor():
    class Weighted:
        ignore_index = 2

        def divisor(self, labels):
            return float(labels.sum())

        def __call__(self, scores, labels):
            return (labels * scores[:, 0]).sum() / labels.sum(), np.zeros_like(scores)

    labels = [1, 2, 1, 0, 0, 2]
    values = [ac.evaluate(model(), Weighted(), loader(labels, size)) for size in SIZES]
    assert [value.loss for value in values] == pytest.approx(6 * [values[-1].loss])
    assert len({value.accuracy for value in values}) == 1


# Weights of the examples


LOSSES = [
    ac.SoftmaxCrossEntropy(class_weight=[1.0, 2.0, 5.0], label_smoothing=0.1),
    ac.SoftmaxCrossEntropy(ignore_index=1),
    ac.SoftmaxCrossEntropy(reduction="sum"),
    ac.MeanSquaredError(),
    ac.Huber(delta=0.3),
]


@pytest.mark.parametrize("batch_size", [2, 5, 6])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_weight_of_two_counts_as_two_examples(loss, batch_size):
    """In the means of an evaluation and of a record, in the accuracy, and in the update of a step."""
    labels, weights = np.array([0, 2, 1, 2, 0, 1]), np.array([2, 0, 1, 3, 1, 1])
    targets = labels if isinstance(loss, ac.SoftmaxCrossEntropy) else np.random.default_rng(3).normal(size=(6, 3))
    inputs, each = np.random.default_rng(4).normal(size=(6, 12)), np.repeat(np.arange(6), weights)
    weighted, repeated = (inputs, targets, weights), (inputs[each], targets[each])
    found, expected = (
        ac.evaluate(model(), loss, data, batch_size=size) for data, size in ((weighted, batch_size), (repeated, 8))
    )
    assert found.loss == pytest.approx(expected.loss, rel=1e-12)
    assert found.accuracy == (None if expected.accuracy is None else pytest.approx(expected.accuracy, rel=1e-12))
    after = []
    for data in (weighted, repeated):
        net = model()
        record = next(ac.train(net, loss, ac.SGD(net.parameters(), 0.1), data, batch_size=8, epochs=1))
        after.append(net[1].weight.value)
        assert record.loss == pytest.approx(expected.loss, rel=1e-12)
    np.testing.assert_allclose(*after, rtol=1e-12)


def test_a_batch_without_weight_is_left_out_of_an_evaluation_and_refused_in_training():
    data = np.ones((4, 12)), np.ones((4, 3)), np.array([0.0, 0.0, 1.0, 1.0])
    net = model()
    assert ac.evaluate(net, ac.MeanSquaredError(), data, batch_size=2).loss == pytest.approx(
        ac.MeanSquaredError()(net(data[0]), data[1])[0]
    )
    with pytest.raises(ValueError, match="weights must hold a number above 0, to take the mean, got 4 zeros"):
        next(ac.train(net, ac.MeanSquaredError(), ac.SGD(net.parameters(), 0.1), (*data[:2], np.zeros(4)), epochs=1))
    with pytest.raises(ValueError, match="target must hold a label .* whose own weight is not 0"):
        ac.SoftmaxCrossEntropy()(np.ones((2, 3)), np.array([0, 1]), np.zeros(2))


def test_a_function_is_told_the_weights_or_refused():
    data = np.ones((2, 12)), np.ones((2, 3)), np.array([1.0, 3.0])

    def own(scores, target, weights):
        return float(weights @ scores[:, 0]) / weights.sum(), np.zeros_like(scores)

    net = model()
    assert ac.evaluate(net, own, data, batch_size=1).loss == pytest.approx(net(data[0])[0, 0])
    with pytest.raises(TypeError, match=r"loss must take the weights of the examples, loss\(scores, target, weights\)"):
        ac.evaluate(net, lambda scores, target: (0.0, scores), data)


def test_weights_of_images_count_for_each_of_their_pixels():
    rng = np.random.default_rng(0)
    scores, weights = rng.normal(size=(3, 2, 2, 4)), np.array([2, 0, 1])
    for target in (rng.integers(0, 4, (3, 2, 2)), rng.dirichlet(np.ones(4), (3, 2, 2))):
        loss, each = ac.SoftmaxCrossEntropy(), [0, 0, 2]
        value, gradient = loss(scores, target, weights)
        expected, parts = loss(scores[each], target[each])
        assert value == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(gradient, np.stack([parts[0] + parts[1], 0 * parts[0], parts[2]]), atol=1e-15)
        assert count_correct(loss, scores, target, weights) == count_correct(loss, scores[each], target[each])


# Regressions


class Targets(ac.data.Loader):
    """A loader whose targets are given, one row an image."""

    targets = None

    def epoch(self, epoch, start=0):
        for step, (images, _) in enumerate(super().epoch(epoch, start)):
            yield images, self.targets[step * self.batch_size :][: len(images)]


@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [2, 4, 6])
def test_a_regression_has_no_accuracy(outputs, batch_size):
    noise = np.random.default_rng(2).random((6, outputs))
    net, each = model(outputs), loader([0] * 6, batch_size)
    each.__class__, each.targets = Targets, noise
    images, _ = next(loader([0] * 6, 6).epoch(0))
    found = ac.evaluate(net, ac.MeanSquaredError(), each)
    assert found.accuracy is None
    assert found.loss == pytest.approx(np.mean((net(images) - noise) ** 2), rel=1e-9)
    assert ac.evaluate(net, lambda s, t: ac.MeanSquaredError()(s, t), each).accuracy is None
    *_, record = ac.train(net, ac.MeanSquaredError(), ac.SGD(net.parameters(), 0.0), each, epochs=1)
    assert record.accuracy is None
    assert record.loss == pytest.approx(found.loss)


def test_what_counts_as_right():
    cross_entropy, own = ac.SoftmaxCrossEntropy(ignore_index=2), lambda s, t: (0.0, s)
    scores = np.eye(3)[[0, 1, 2, 0]]
    labels = np.array([0, 0, 2, 0])
    assert count_correct(own, scores, labels) == (3, 4)
    assert count_correct(cross_entropy, scores, labels) == (2, 3)
    assert count_correct(cross_entropy, scores.reshape(2, 1, 2, 3), labels.reshape(2, 1, 2)) == (2, 3)
    assert count_correct(ac.SoftmaxCrossEntropy(), scores, np.eye(3)[labels]) == (3, 4)
    assert count_correct(own, scores, np.eye(3)[labels]) is None
    assert count_correct(ac.MeanSquaredError(), scores, np.eye(3)[labels]) is None
    assert count_correct(own, scores[:, :1], np.zeros(4, int)) is None  # one output: a count, or a logit
    assert count_correct(own, scores[:, 0], labels) is None


def test_a_checkpoint_from_before_the_divisors_is_resumed():
    def run():
        net = model()
        optimizer = ac.SGD(net.parameters(), 0.1)
        return net, optimizer, loader([0, 2, 1, 2, 0, 1], 2)

    net, optimizer, data = run()
    training = ac.train(net, ac.SoftmaxCrossEntropy(), optimizer, data, epochs=1, report_every=1)
    state = next(training).state
    expected = [record.loss for record in training]
    for name in ("weight", "counted"):
        del state["sums"][name]
    net, optimizer, data = run()
    resumed = ac.train(net, ac.SoftmaxCrossEntropy(), optimizer, data, epochs=1, report_every=1, resume=state)
    assert [record.loss for record in resumed] == expected


# What is no loss, model or loader


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda s, t: 0.5, r"loss must return \(value, gradient\), got 0\.5"),
        (lambda s, t: None, r"loss must return \(value, gradient\), got None"),
        (lambda s, t: (0.5, s, s), r"loss must return \(value, gradient\), got \("),
        (lambda s, t: (np.ones(len(s)), s), "loss must return a number as its value, got an array"),
        (lambda s, t: ("0.5", s), "loss must return a number as its value, got '0.5'"),
        (lambda s, t: (0.5, None), "the loss's gradient must be an array of real floating dtype, got None"),
        (lambda s, t: (0.5, s[0]), r"loss must return a gradient of the shape of the scores, \(2, 3\), got"),
        (ac.SoftmaxCrossEntropy(reduction="none"), "loss must return a number as its value, .*reduction='none'"),
        (ac.SoftmaxCrossEntropy, r"loss must be an object, such as SoftmaxCrossEntropy\(\), got the class"),
        (0.5, "loss must be callable, got 0.5"),
        (None, "loss must be callable, got None"),
    ],
)
def test_what_is_no_loss_is_named(loss, message):
    net = model()
    before = [p.value.copy() for p in net.parameters()]
    with pytest.raises((TypeError, ValueError), match=message):
        ac.evaluate(net, loss, loader([0, 1], 2))
    with pytest.raises((TypeError, ValueError), match=message):
        list(ac.train(net, loss, ac.SGD(net.parameters(), 0.1), loader([0, 1], 2), epochs=1))
    for parameter, value in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.value, value)
