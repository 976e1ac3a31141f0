"""What `train` and `evaluate` take as data beside a Loader: arrays, data sets, and batches of one's own."""

import numpy as np
import pytest
from helpers.ranks import on_ranks

import allconv as ac

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4)).astype(np.float32)
Y = (X @ RNG.normal(size=(4, 3))).argmax(axis=1)


class Run:
    """A small net and its optimizer, whose moments a resume must bring back."""

    def __init__(self, seed=0):
        self.model = ac.Linear(4, 3, rng=np.random.default_rng(seed))
        self.optimizer = ac.Adam(self.model.parameters(), 0.05)

    def train(self, data, **options):
        return ac.train(self.model, ac.SoftmaxCrossEntropy(), self.optimizer, data, **{"epochs": 3} | options)

    def bits(self):
        return [p.value.tobytes() for p in self.model.parameters()]


def batches(size=8, data=(X, Y)):
    return [tuple(array[i : i + size] for array in data) for i in range(0, len(data[0]), size)]


def figures(records):
    return [(r.epoch, r.step, r.epoch_ended, r.loss, r.accuracy, r.learning_rate) for r in records]


class Anew:
    """An object whose iter() starts anew, without a length."""

    def __iter__(self):
        return iter(batches())


# Arrays


def test_arrays_are_a_shuffled_loader_whose_last_batch_is_kept():
    arrays, loader = Run(), Run()
    expected = figures(loader.train(ac.data.Loader(ac.data.Dataset(X, Y), 8, seed=5), report_every=1))
    assert figures(arrays.train((X, Y), batch_size=8, seed=5, report_every=1)) == expected
    assert arrays.bits() == loader.bits()
    assert len(expected) == 3 * 7
    other = Run()
    assert figures(other.train(ac.data.Dataset(X, Y), batch_size=8, seed=6, report_every=1)) != expected


@pytest.mark.parametrize("stop", [2, 7, 9])
def test_a_run_on_arrays_is_resumed_in_the_middle_of_an_epoch(stop):
    data = X, Y, RNG.random(50)
    whole, first, second = Run(), Run(), Run(seed=9)
    expected = figures(whole.train(data, batch_size=8, report_every=1))
    training = first.train(data, batch_size=8, report_every=1)
    state = [next(training) for _ in range(stop)][-1].state
    assert figures(second.train(data, batch_size=8, report_every=1, resume=state)) == expected[stop:]
    assert second.bits() == whole.bits()
    with pytest.raises(ValueError, match="another data was"):
        Run().train((X, Y, np.ones(50)), batch_size=8, resume=state)


def test_an_evaluation_of_arrays_keeps_their_order():
    seen = []

    class Seen(ac.Layer):
        def forward(self, x, *, training=False):
            seen.append(x)
            return x[:, :3], None

    ac.evaluate(Seen(), ac.SoftmaxCrossEntropy(), (X, Y), batch_size=8)
    np.testing.assert_array_equal(np.concatenate(seen[1:]), X)  # The first one is the check of the model.
    assert [len(x) for x in seen[1:]] == [8] * 6 + [2]


def test_uint8_images_are_divided_by_255_wherever_they_come_from():
    images, labels = RNG.integers(0, 256, (20, 2, 2, 1), dtype=np.uint8), np.arange(20) % 3
    model = ac.Sequential(ac.Flatten(), ac.Linear(4, 3, rng=np.random.default_rng(0)))
    scores = model(images / np.float32(255))
    np.testing.assert_allclose(ac.predict(model, images, batch_size=7), scores, rtol=1e-6)
    expected = ac.SoftmaxCrossEntropy()(scores, labels)[0]
    for data in ((images, labels), [(images, labels)]):
        assert ac.evaluate(model, ac.SoftmaxCrossEntropy(), data).loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "data", [(X, Y, np.arange(50.0)), batches(data=(X, Y, np.arange(50.0)))], ids=["arrays", "own"]
)
def test_ranks_share_any_data_and_its_weights(data):
    def train(group=None):
        run = Run()
        records = list(run.train(data, validation=data))
        return run.model.weight.value, [(r.loss, r.accuracy, r.validation.loss, r.validation.accuracy) for r in records]

    weight, figures_of_one = train()
    for other, found in on_ranks(2, train):
        np.testing.assert_allclose(other, weight, rtol=1e-4)
        np.testing.assert_allclose(found, figures_of_one, rtol=1e-5)


# Batches of one's own


@pytest.mark.parametrize("data", [batches(), Anew(), lambda: iter(batches())], ids=["list", "iterable", "function"])
def test_batches_of_ones_own_are_taken_as_they_come(data):
    own, by_hand = Run(), Run()
    records = list(own.train(data, report_every=3))
    assert [(r.epoch, r.step, r.epoch_ended) for r in records] == [
        (epoch, step, step == 7) for epoch in range(3) for step in (3, 6, 7)
    ]
    assert {r.steps for r in records if r.epoch_ended} == {7}
    assert {r.steps for r in records if not r.epoch_ended} == ({7} if isinstance(data, list) else {None})
    assert "step 3" in str(records[0])
    for _ in range(3):
        for x, y in batches():
            scores, cache = by_hand.model.forward(x, training=True)
            by_hand.model.backward(ac.SoftmaxCrossEntropy()(scores, y)[1], cache)
            by_hand.optimizer.step()
    assert own.bits() == by_hand.bits()
    found = ac.evaluate(own.model, ac.SoftmaxCrossEntropy(), data)
    expected = ac.evaluate(own.model, ac.SoftmaxCrossEntropy(), (X, Y))
    assert (found.images, found.accuracy) == (50, expected.accuracy)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)


def test_a_source_may_write_each_batch_to_the_same_memory():
    def filled():
        x, y = np.empty((10, 4), np.float32), np.empty(10, int)
        for start in range(0, 50, 10):
            x[:], y[:] = X[start : start + 10], Y[start : start + 10]
            yield x, y

    own, listed = Run(), Run()
    assert figures(own.train(filled)) == figures(listed.train(batches(10)))
    assert own.bits() == listed.bits()


@pytest.mark.parametrize("data", [batches(), Anew()], ids=["list", "iterable"])
def test_batches_of_ones_own_resume_at_the_end_of_an_epoch_and_say_so_elsewhere(data, tmp_path):
    whole, first, second = Run(), Run(), Run(seed=9)
    expected = figures(whole.train(data, report_every=1))
    training = first.train(data, report_every=1)
    for record in training:
        if record.epoch_ended:
            ac.checkpoint.save(tmp_path, record.state)
            break
        with pytest.raises(
            RuntimeError, match="loader must be a Loader or arrays for a state in the middle of an epoch"
        ):
            _ = record.state
    assert figures(second.train(data, report_every=1, resume=tmp_path)) == expected[7:]
    assert second.bits() == whole.bits()
    assert second.train(data).state["step"] == 0
    with pytest.raises(ValueError, match="data was None, is '"):
        Run().train((X, Y), resume=tmp_path)


def test_after_an_error_in_the_middle_of_batches_of_ones_own_training_says_that_it_cannot_go_on():
    def broken():
        yield from batches()[:2]
        raise OSError("the disk is gone")

    training = Run().train(lambda: broken(), report_every=1)
    next(training)
    with pytest.raises(OSError, match="the disk is gone"):
        next(training)
    with pytest.raises(
        ValueError, match="to go on in the middle of an epoch, here at step 1 of epoch 0, got <function"
    ):
        next(training)


def test_a_generator_is_good_for_one_epoch():
    once, listed = Run(), Run()
    assert figures(once.train((batch for batch in batches()), epochs=1)) == figures(listed.train(batches(), epochs=1))
    with pytest.raises(
        TypeError, match="loader must start anew for each of 2 epochs, got <generator.*a list of its batch"
    ):
        Run().train((batch for batch in batches()), epochs=2)
    with pytest.raises(TypeError, match="validation must start anew for each of 3 epochs"):
        Run().train((X, Y), validation=iter(batches()))
    iterator = iter(batches())
    with pytest.raises(
        ValueError, match="loader must give at least one batch an epoch, got none in epoch 1 from <function"
    ):
        list(Run().train(lambda: iterator))


def test_a_schedule_needs_a_length():
    rates = [
        r.learning_rate for r in Run().train(batches(), schedule=lambda epochs: 0.1 / (1 + epochs), report_every=7)
    ]
    assert rates == pytest.approx([0.1 / (1 + epoch + 6 / 7) for epoch in range(3)])
    with pytest.raises(
        TypeError, match=r"loader must have a length, len\(loader\), where a schedule .*, got <function"
    ):
        Run().train(lambda: iter(batches()), schedule=lambda epochs: 0.1)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([X, Y], TypeError, r"loader must give batches \(inputs, targets\) or .*as a tuple \(inputs, targets\)"),
        (X, TypeError, r"loader must give batches \(inputs, targets\) or"),
        ([(X,)], TypeError, r"loader must give batches \(inputs, targets\) or"),
        ([(X.astype(int), Y)], TypeError, "inputs must be uint8 images .* or a floating array"),
        ([(X, Y[:3])], ValueError, "targets must be one for each of 50 inputs, got"),
        ([(X, Y, -np.ones(50))], ValueError, "weights must be non-negative finite numbers, got -1 at index 0"),
        ([], ValueError, r"loader must give at least one batch an epoch, got none in epoch 0 from \[\]"),
    ],
)
def test_what_is_no_batch_is_named(data, error, message):
    with pytest.raises(error, match=message):
        next(Run().train(data))
    with pytest.raises(error, match=message):
        ac.evaluate(Run().model, ac.SoftmaxCrossEntropy(), data)


@pytest.mark.parametrize("option", ["batch_size", "seed"])
def test_an_option_of_arrays_is_refused_elsewhere(option):
    for data in (ac.data.Loader(ac.data.Dataset(X, Y), 5), batches()):
        with pytest.raises(ValueError, match=f"{option} must be left out unless loader is arrays or a Dataset, got 4"):
            Run().train(data, **{option: 4})


def test_a_run_that_is_saved_in_the_middle_of_epochs_refuses_batches_of_ones_own(tmp_path):
    with ac.open_run(tmp_path, {}, columns=["epoch"], progress=False) as run:
        training = Run().train(batches(), report_every=1)
        with pytest.raises(TypeError, match="training must be on a Loader or arrays"):
            next(run.steps(training))


def test_pytorchs_loader_gives_batches():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    theirs, ours = Run(), Run()
    records = figures(theirs.train(torch.utils.data.DataLoader(data, batch_size=8)))
    assert records == figures(ours.train(batches()))
    assert theirs.bits() == ours.bits()


# Validation


@pytest.mark.parametrize("kind", [tuple, list], ids=["arrays", "batches"])
def test_each_epochs_record_has_the_evaluation_of_the_weights_after_it(kind):
    validation = (X[:20], Y[:20]) if kind is tuple else batches(8, (X[:20], Y[:20]))
    run, plain = Run(), Run()
    training = run.train((X, Y), report_every=1, validation=validation)
    for record in training:
        if not record.epoch_ended:
            assert record.validation is None
            continue
        expected = ac.evaluate(run.model, ac.SoftmaxCrossEntropy(), validation)
        assert (record.validation.loss, record.validation.accuracy) == (expected.loss, expected.accuracy)
        assert f"validation loss {expected.loss:.4f}  validation accuracy {expected.accuracy:.4f}" in str(record)
        assert training.history[-1]["validation_loss"] == expected.loss
    list(plain.train((X, Y)))
    assert run.bits() == plain.bits()


def test_after_an_error_in_the_validation_the_record_is_made_again():
    fails = [True]

    def validation():
        if fails.pop() if fails else False:
            raise OSError("the disk is gone")
        yield X, Y

    run, plain = Run(), Run()
    training = run.train((X, Y), validation=validation)
    with pytest.raises(OSError, match="the disk is gone"):
        next(training)
    state = training.state
    assert figures(training) == figures(plain.train((X, Y)))
    assert run.bits() == plain.bits()
    again = Run(seed=3)
    assert len(list(again.train((X, Y), validation=(X, Y), resume=state))) == 3
    assert again.bits() == plain.bits()


def test_a_validation_that_does_not_fit_the_model_is_refused_before_any_work():
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2, the model's scores, got 3\.\.3"):
        Run().train((X, Y), validation=(X, np.full(50, 3)))


# What a beginner meets


def net(outputs=1):
    return ac.Linear(4, outputs, rng=np.random.default_rng(0))


BYTES = np.zeros((6, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("loss", "model", "data", "hint"),
    [
        (ac.SoftmaxCrossEntropy(), net(3), (X, Y.astype(float)), r"labels are integers, target\.astype\(np\.int64\)"),
        (ac.SoftmaxCrossEntropy(), net(3), (X, Y + 1), r"got 1\.\.3; classes count from 0, and each needs a score"),
        (
            ac.SoftmaxCrossEntropy(),
            net(3),
            (X, Y - 1),
            "classes count from 0, and numbers of a regression are",
        ),
        (ac.MeanSquaredError(), net(), (X, X[:, 0]), r"give it the axis of the single score: target\[\.\.\., None\]"),
        (ac.MeanSquaredError(), net(), (X, Y[:, None]), r"pass targets\[:, 0\]"),
        (ac.MeanSquaredError(), net(), (X, Y), r"convert it first, e\.g\. target\.astype\(np\.float32\)"),
        (ac.MeanSquaredError(), ac.Linear(1, 1), (X[:, 0], X[:, :1]), r"N single numbers are x\[:, None\]"),
        (
            ac.BinaryCrossEntropy(),
            ac.Sequential(net(), ac.Sigmoid()),
            (X, X[:, :1]),
            "model must end in logits",
        ),
        (ac.SoftmaxCrossEntropy(), net(3), (BYTES[0], Y[:8]), r"this looks like one image: pass inputs\[None\]"),
    ],
)
def test_an_error_of_the_first_minutes_says_what_to_do(loss, model, data, hint):
    with pytest.raises((TypeError, ValueError), match=hint):
        next(ac.train(model, loss, ac.SGD(model.parameters(), 0.1), data, epochs=1))


@pytest.mark.parametrize(
    ("loss", "model", "data", "message"),
    [
        (ac.MeanSquaredError(), net(), (X, X[:, 0]), r"give it the axis of the single score"),
        (ac.BinaryCrossEntropy(), net(), (X, 2 + X[:, :1]), r"target must hold numbers in \[0, 1\]"),
        (ac.SoftmaxCrossEntropy(), net(3), (X, Y.astype(float)), "labels are integers"),
        (ac.SoftmaxCrossEntropy(), ac.Conv2D(4, 3, 1), (X[:, None, None], Y[:, None, None] + 1), r"got 1\.\.3; "),
    ],
)
def test_targets_that_do_not_fit_are_refused_before_any_work(loss, model, data, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ac.train(model, loss, ac.SGD(model.parameters(), 0.1), data, epochs=1)
    with pytest.raises((TypeError, ValueError), match=message):
        ac.evaluate(model, loss, data)


def rows_net(**options):
    return ac.Sequential(net(3), ac.BatchNorm(3, **options))


def image_net():
    return ac.Sequential(ac.Conv2D(3, 3, 3), ac.BatchNorm(3), ac.GlobalAveragePool2D())


def twice(inputs, rng):
    return np.concatenate([inputs, inputs])


def alone(model, size, **options):
    """Train on as many examples that the last step has one of them."""
    inputs = BYTES if isinstance(model[0], ac.Conv2D) else X[:9]
    inputs = inputs[: len(inputs) // size * size + 1]
    loader = ac.data.Loader(ac.data.Dataset(inputs, Y[: len(inputs)]), size, **options)
    return ac.train(model, ac.SoftmaxCrossEntropy(), ac.SGD(model.parameters(), 0.1), loader, epochs=1)


@pytest.mark.parametrize("size", [1, 4])
def test_a_last_step_that_batchnorm_cannot_train_on_is_refused_before_any_work(size):
    message = (
        r"loader must have more than one example in each step, since BatchNorm can't train on a single one, got 9 "
        rf"examples in steps of {size} for 1; change batch_size, or take a Loader with drop_last=True"
    )
    with pytest.raises(ValueError, match=message):
        alone(rows_net(), size)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (rows_net(), {"drop_last": True}),
        (rows_net(), {"augment": twice}),
        (rows_net(frozen=True), {}),
        (image_net(), {}),
        (ac.Sequential(net(3)), {}),
    ],
)
def test_a_last_step_of_one_example_is_taken_elsewhere(model, options):
    list(alone(model, 4, **options))


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: net()(X[0]), r"one example is x\[None\]"),
        (lambda: ac.Conv2D(3, 2, 3)(BYTES), r"e\.g\. x\.astype\(np\.float32\) / 255$"),
        (lambda: ac.data.Loader((X, Y), 8), r"make one: Dataset\(inputs, targets\)"),
        (lambda: ac.data.split((X, Y), (0.5, 0.5), seed=0), r"make one: Dataset\(inputs, targets\)"),
        (
            lambda: ac.data.Fliplr()(BYTES / 255, None),
            "a Loader augments uint8 images before it scales them",
        ),
    ],
)
def test_so_does_an_error_of_a_single_call(call, hint):
    with pytest.raises((TypeError, ValueError), match=hint):
        call()


def test_a_training_that_nobody_iterates_over_says_so():
    assert repr(Run().train((X, Y))) == "Training(0 of 3 epochs done; iterate over it to train)"
