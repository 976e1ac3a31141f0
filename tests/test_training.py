import tempfile

import numpy as np
import pytest
from helpers.bits import same_with_any_threads

import allconv as ac
from allconv.article import PublishedOrder
from allconv.training.nonfinite import NonFiniteError


def images_and_labels(n=60, classes=3):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    images = rng.integers(0, 80, (n, 6, 6, 3)).astype(np.uint8)
    for k in range(classes):
        images[labels == k, :, :, k] += 100  # the class is the brightest colour
    return ac.data.Dataset(images, labels)


class Parts:
    """A small model with all that must survive a checkpoint: Skip, BatchNorm, Dropout, momentum, augmentation."""

    def __init__(self, optimizer=ac.DilatedAMSGrad, seed=0, epochs=3, loss=None):
        rng = np.random.default_rng(seed)
        self.model = ac.Sequential(
            ac.Conv2D(3, 8, 3, rng=rng),
            ac.BatchNorm(8),
            ac.ReLU(),
            ac.Skip(ac.Sequential(ac.Conv2D(8, 8, 3, rng=rng), ac.ELU())),
            ac.Dropout(0.2, rng=rng),
            ac.GlobalAveragePool2D(),
            ac.Linear(8, 3, rng=rng),
        )
        target = self.model if optimizer is ac.DilatedAMSGrad else self.model.parameters()
        self.optimizer = optimizer(target, 0.01)
        self.loss = loss or ac.SoftmaxCrossEntropy()
        self.loader = ac.data.Loader(
            images_and_labels(), 10, augment=ac.data.KeepOriginals(ac.data.article_augment()), seed=5
        )
        self.epochs = epochs

    def train(self, **options):
        schedule = ac.schedules.inverse_time(0.01, 0.5)
        return ac.train(
            self.model,
            self.loss,
            self.optimizer,
            self.loader,
            **{"epochs": self.epochs, "schedule": schedule} | options,
        )

    def bits(self):
        values = [p.value.tobytes() for p in self.model.parameters()]
        return values, {k: np.asarray(v).tobytes() for k, v in self.optimizer.state().items()}


def plain(record):
    """A record without what differs from run to run."""
    return (record.epoch, record.step, record.loss, record.accuracy, record.learning_rate, record.scale)


def test_it_learns():
    parts = Parts(epochs=12)
    last = [record.accuracy for record in parts.train()][-1]
    result = ac.evaluate(parts.model, parts.loss, ac.data.Loader(images_and_labels(), 60, shuffle=False))
    assert last > 0.8
    assert result.accuracy > 0.9
    assert result.images == 60


def test_a_record_comes_at_each_epochs_end_and_every_so_many_steps():
    parts = Parts(epochs=2)
    records = list(parts.train(report_every=4))
    assert [(r.epoch, r.step, r.epoch_ended) for r in records] == [
        (0, 4, False),
        (0, 6, True),
        (1, 4, False),
        (1, 6, True),
    ]
    assert [r.scale for r in records] == [0.8, 0.8, 0.4, 0.4]
    assert [r.learning_rate for r in records] == pytest.approx(
        [0.01 / (1 + 0.5 * e) for e in (3 / 6, 5 / 6, 1 + 3 / 6, 1 + 5 / 6)]
    )
    assert "accuracy" in str(records[0])


@pytest.mark.parametrize("stop", [1, 6, 7, 12, 16])
def test_a_resumed_run_ends_with_the_same_bits(stop, tmp_path):
    whole = Parts()
    expected = [plain(record) for record in whole.train(report_every=1)]
    first = Parts()
    run = first.train(report_every=1)
    for _ in range(stop):
        record = next(run)
    ac.checkpoint.save(tmp_path, record.state)
    second = Parts(seed=99)  # everything comes from the checkpoint
    records = [plain(record) for record in second.train(report_every=1, resume=tmp_path)]
    assert records == expected[stop:]
    assert second.bits() == whole.bits()


def test_a_checkpoints_own_file_is_resumed(tmp_path):
    whole, other = Parts(), Parts(seed=3)
    run = whole.train(report_every=1)
    for _ in range(3):
        record = next(run)
    path = ac.checkpoint.save(tmp_path, record.state)
    ac.checkpoint.save(tmp_path, next(run).state)
    rest = [plain(record) for record in run]
    again = [plain(record) for record in other.train(report_every=1, resume=path)]
    assert (again[0][:2], again[1:]) == ((0, 4), rest)
    assert other.bits() == whole.bits()


@pytest.mark.parametrize("folder", ["missing", "empty", "other"])
def test_a_folder_without_a_checkpoint_starts_over(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "plots").mkdir(parents=True)
    (tmp_path / "other" / "lock").write_bytes(b"")
    whole, other = (Parts(epochs=1).train(resume=resume) for resume in (None, tmp_path / folder))
    assert [plain(record) for record in other] == [plain(record) for record in whole]


RULE = "^resume must be a folder of checkpoints, a checkpoint's file, a state or None, got "


@pytest.mark.parametrize(
    ("resume", "error", "message"),
    [
        ("", ValueError, RULE + "''$"),
        (3, TypeError, RULE + "3$"),
        (["run"], TypeError, RULE + r"\['run'\]$"),
        ({}, ValueError, "must be the state of a training run, got one without 'epoch', 'step', 'sums', 'run', 'opti"),
        ("run/checkpoints/checkpoint-00000009.npz", ValueError, RULE + ".*00000009.npz, which is not there"),
        ("run", ValueError, RULE + "run, whose checkpoints lie in run.checkpoints$"),
        ("weights.npz", ValueError, "must be the state of a training run, got one without 'epoch', 'step', 'sums'"),
        ("log.csv", ac.checkpoint.CheckpointError, "log.csv: "),
    ],
)
def test_what_leads_to_no_checkpoint_is_refused_and_changes_nothing(resume, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ac.checkpoint.save("run/checkpoints", next(Parts().train(report_every=1)).state)
    parts = Parts()
    ac.save_weights(parts.model, "weights.npz")
    (tmp_path / "log.csv").write_text("epoch,loss\n")
    before = parts.bits()
    with pytest.raises(error, match=message):
        parts.train(resume=resume)
    assert parts.bits() == before


def test_the_state_before_the_first_record_is_the_start(tmp_path):
    whole, other = Parts(), Parts(seed=3)
    ac.checkpoint.save(tmp_path, whole.train().state)
    expected = [plain(record) for record in whole.train()]
    assert [plain(record) for record in other.train(resume=ac.checkpoint.load(tmp_path))] == expected


def test_a_record_whose_state_is_gone_says_so():
    run = Parts().train(report_every=1)
    record = next(run)
    assert record.state["step"] == 1
    next(run)
    with pytest.raises(RuntimeError, match="must be read before the next record"):
        _ = record.state


def test_the_same_bits_for_any_number_of_threads():
    def compute():
        parts = Parts(epochs=1)
        list(parts.train())
        return parts.bits()

    same_with_any_threads(compute)


def test_a_nan_is_named_by_layer_pass_and_step_and_nothing_is_changed():
    parts = Parts()
    run = parts.train(report_every=1, check_finite=True)
    next(run)
    parts.model[3].body[0].weight.value[0, 0, 0, 0] = np.nan
    before = parts.bits()
    with pytest.raises(NonFiniteError, match=r"layer 3\.body\.0: Conv2D.*forward pass, epoch 0, step 1: the output"):
        next(run)
    after = parts.bits()
    parameters = [path for path, _ in parts.model.named_parameters()]
    moved = [name for name, a, b in zip(parameters, before[0], after[0], strict=True) if a != b]
    assert all("running" in name for name in moved)
    assert before[1] == after[1]
    assert "forward" not in vars(parts.model[0])


def test_a_nan_that_backward_makes_is_named_too():
    class Bad(ac.Layer):
        def forward(self, x, *, training=False):
            return x, None

        def backward(self, dy, cache):
            return dy / np.zeros_like(dy)

    parts = Parts()
    parts.model.layers.insert(2, Bad())
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=r"layer 2: .*backward pass, epoch 0, step 0"):
        next(parts.train(check_finite=True))


def test_without_check_finite_training_goes_on():
    parts = Parts(epochs=1)
    parts.model[6].weight.value[0, 0] = np.nan
    assert np.isnan(list(parts.train())[-1].loss)


@pytest.mark.parametrize("last", [ac.Softmax(), ac.LogSoftmax()])
def test_a_model_that_ends_in_softmax_is_refused_with_softmax_cross_entropy(last):
    parts = Parts()
    parts.model.layers.append(last)
    with pytest.raises(ValueError, match="model must end in logits.*got one that ends in"):
        parts.train()
    with pytest.raises(ValueError, match="model must end in logits.*got one that ends in"):
        ac.evaluate(parts.model, parts.loss, parts.loader)


def test_labels_that_the_model_has_no_score_for_are_refused_before_any_work():
    parts = Parts()
    parts.loader.dataset.labels[59] = 3
    before = parts.bits()
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2.*got 0\.\.3"):
        parts.train()
    assert parts.bits() == before


def change_data(parts):
    images = parts.loader.dataset.images.copy()
    images[7, 3, 3, 1] ^= 1
    parts.loader.dataset = ac.data.Dataset(images, parts.loader.dataset.labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda parts: setattr(parts.loader, "batch_size", 20),
            "resume must be a checkpoint of the same run.*batch_size was 10, is 20",
        ),
        (change_data, "data was '[0-9a-f]+\\.\\.\\., is '"),
        (lambda parts: setattr(parts.loader, "augment", None), "augment was {'name': 'KeepOriginals'.*, is None"),
        (lambda parts: setattr(parts.loader, "normalize", ac.data.per_step), "normalize was None, is .*per_step"),
        (lambda parts: setattr(parts.loader, "shuffle", False), "shuffle was True, is False"),
        (lambda parts: setattr(parts.loader, "seed", 6), "seed was 5, is 6"),
        (lambda parts: setattr(parts.loader, "alternate_flip", True), "alternate_flip was False, is True"),
        (lambda parts: setattr(parts.optimizer, "eps", 1e-7), "optimizer.eps was 1e-08, is 1e-07"),
        (lambda parts: setattr(parts.loss, "label_smoothing", 0.1), "loss.label_smoothing was 0.0, is 0.1"),
        (lambda parts: setattr(parts.model.layers[4], "rate", 0.3), "model.4 was 'Dropout\\(0.2\\)', is"),
    ],
)
def test_a_resume_says_what_changed(change, message):
    state = next(Parts().train(report_every=7)).state
    parts = Parts()
    change(parts)
    before = parts.bits()
    with pytest.raises(ValueError, match=message):
        parts.train(resume=state)
    assert parts.bits() == before


def test_a_resume_of_groups_goes_on_with_the_same_bits_and_is_refused_with_other_settings():
    def parts(momentum=0.5, learning_rate=0.3):
        made = Parts()
        first, *rest = made.model.parameters()
        groups = [
            {"parameters": [first], "momentum": momentum, "learning_rate": learning_rate},
            {"parameters": rest, "weight_decay": 0.0},
        ]
        made.optimizer = ac.SGD(groups, 0.1, weight_decay=1e-3)
        return made

    whole = parts()
    list(whole.train())
    state = next(parts().train(report_every=7)).state
    resumed = parts(learning_rate=0.2)  # The rates are the checkpoint's.
    list(resumed.train(resume=state))
    assert resumed.bits() == whole.bits()
    with pytest.raises(ValueError, match=r"another groups\.0\.momentum was 0\.5, is 0\.6$"):
        parts(momentum=0.6).train(resume=state)


def test_a_resume_with_another_schedule_is_refused_where_it_had_other_rates():
    state = next(record.state for record in Parts().train() if record.epoch == 1)
    with pytest.raises(ValueError, match="rates was .*, is "):
        Parts().train(resume=state, schedule=ac.schedules.inverse_time(0.01, 0.4))
    later = ac.schedules.inverse_time(0.01, 0.5)
    Parts().train(resume=state, schedule=lambda epochs: later(epochs) if epochs < 3 else 0.001)  # in the future it may


def test_a_resume_with_another_schedule_within_the_epoch_is_refused():
    state = next(Parts().train(schedule=ac.schedules.cosine(0.1, 3), report_every=4)).state
    with pytest.raises(ValueError, match="rates_of_steps was .*, is "):
        Parts().train(resume=state, schedule=ac.schedules.step(0.1, 100, 0.5))
    end = next(Parts().train(schedule=lambda epochs: 0.1)).state
    with pytest.raises(ValueError, match="rates_of_steps was .*, is "):
        Parts().train(resume=end, schedule=lambda epochs: 0.1 if epochs == int(epochs) else 0.2)
    Parts().train(resume=end, schedule=lambda epochs: 0.1 if epochs <= 1 else 0.2)  # in the future it may


def test_a_resume_with_another_constant_rate_is_refused():
    def parts(rate):
        made = Parts()
        made.optimizer = ac.SGD(made.model.parameters(), rate)
        return made

    state = next(parts(0.1).train(schedule=None, report_every=2)).state
    with pytest.raises(ValueError, match=r"another constant_rates was \[0\.1\], is \[0\.001\]$"):
        parts(0.001).train(schedule=None, resume=state)


def modes(**options):
    """Return parts whose model has layers that nest others, and one whose repr is Python's own."""

    class Power(ac.Layer):
        def __init__(self, power):
            self.power, self.calls = power, 0

        def forward(self, x, *, training=False):
            self.calls += 1
            return x**self.power, x

        def backward(self, dy, cache):
            return self.power * cache ** (self.power - 1) * dy

    given = {"power": 1, "in_forward": True, "merge": "sum", "dtype": np.float32, "rate": 0.1} | options
    made, rng = Parts(), np.random.default_rng(0)
    made.model = ac.Sequential(
        ac.Skip(Power(given["power"]), in_forward=given["in_forward"]),
        ac.Branches(ac.ReLU(), merge=given["merge"]),
        ac.Flatten(),
        ac.Linear(108, 3, rng=rng, dtype=given["dtype"]),
    )
    weight, bias = made.model.parameters()
    weight.trainable, bias.decay = given.get("trainable", True), given.get("decay", True)
    groups = [{"parameters": [weight]}, {"parameters": [bias]}][:: given.get("order", 1)]
    made.optimizer = ac.SGD(groups, given["rate"])
    made.loader = given.get("loader", ac.data.Loader)(images_and_labels(), 10, augment=given.get("augment"))
    return made


@pytest.mark.parametrize(
    ("options", "changed", "message"),
    [
        ({}, {"in_forward": False}, r"layers\.0\.in_forward was True, is False"),
        ({}, {"merge": "concat"}, r"layers\.1\.merge was 'sum', is 'concat'"),
        ({}, {"power": 2}, r"layers\.0\.body\.power was 1, is 2"),
        ({}, {"dtype": np.float64}, r"parameters\.3\.weight was 'float32, .*, is 'float64, "),
        ({}, {"trainable": False}, r"parameters\.3\.weight was .*, is 'float32, trainable=False, "),
        ({}, {"decay": False}, r"parameters\.3\.bias was .*, is 'float32, decay=False, "),
        ({}, {"order": -1}, r"parameters\.3\.weight was 'float32, in group 0 .*, is 'float32, in group 1 "),
        ({}, {"loader": PublishedOrder}, "loader was 'Loader', is 'PublishedOrder'"),
        (
            {"augment": ac.data.Sequential([ac.data.Fliplr(0.5)])},
            {"augment": ac.data.Sequential([ac.data.RandomShift(2)])},
            r"augment\.augmenters\.0\.name was 'Fliplr', is 'RandomShift'",
        ),
        (
            {"augment": ac.data.Sequential([ac.data.Sometimes(1.0, ac.data.Sequential([ac.data.Fliplr(0.5)]))])},
            {"augment": ac.data.Sequential([ac.data.Sometimes(1.0, ac.data.Sequential([ac.data.Fliplr(0.4)]))])},
            r"another augment\.augmenters\.0\.augmenter\.augmenters\.0\.p was 0\.5, is 0\.4$",
        ),
    ],
)
def test_a_resume_looks_into_layers_parameters_and_augmenters(options, changed, message):
    state = next(modes(**options).train(schedule=None, report_every=2)).state
    modes(**options).train(schedule=None, resume=state)
    with pytest.raises(ValueError, match=message):
        modes(**options | changed).train(schedule=None, resume=state)
    for key in ("loader", "layers", "parameters", "constant_rates", "rates_of_steps"):
        del state["run"][key]
    if "augment" in changed:
        state["run"]["augment"]["augmenters"] = 1
    modes(**options | changed).train(schedule=None, resume=state)  # as a checkpoint of an earlier version


def test_settings_that_a_program_changes_during_training_do_not_hinder_a_resume():
    parts = modes()
    training = parts.train(schedule=None, report_every=2)
    next(training)
    parts.model.parameters()[0].trainable = False
    parts.model.layers[0].body.power = 2
    modes().train(schedule=None, resume=next(training).state)


class Library:
    """An augmentation of another library, whose parts note what they drew in the last call."""

    class Step:
        def __init__(self, p):
            self.p, self.last, self.whole = p, None, None

        def __repr__(self):
            return f"a Step at {id(self)}"

    def __init__(self, p=0.5):
        self.steps, self.by_name = [self.Step(p)], {"step": self.Step(p), 0: float("nan")}
        self.steps[0].whole = self

    def __call__(self, images, rng):
        self.steps[0].last = rng.random()
        return images


def storage_copy(state):
    """Return a state as a file gives it back."""
    with tempfile.TemporaryDirectory() as folder:
        return ac.checkpoint.load(ac.checkpoint.save(folder, state))


def test_what_a_call_changes_in_an_augmentation_does_not_hinder_a_resume():
    state = next(modes(augment=Library()).train(schedule=None, report_every=2)).state
    modes(augment=Library()).train(schedule=None, resume=storage_copy(state))
    with pytest.raises(ValueError, match=r"another augment\.by_name\.step\.p was 0\.5, is 0\.4; augment.steps.0.p was"):
        modes(augment=Library(0.4)).train(schedule=None, resume=state)


def test_a_rate_set_by_hand_comes_back():
    parts = Parts()
    training = parts.train(schedule=None, report_every=2)
    next(training)
    parts.optimizer.learning_rate = 0.004
    state = next(training).state
    resumed = Parts()
    resumed.train(schedule=None, resume=state)
    assert resumed.optimizer.learning_rate == 0.004


def test_the_history_goes_with_the_checkpoint():
    parts = Parts()
    training = parts.train()
    records = [next(training), next(training)]
    state = training.state
    resumed = Parts().train(resume=state)
    next(resumed)
    assert [entry["loss"] for entry in resumed.history[:2]] == [record.loss for record in records]
    assert [entry["epoch"] for entry in resumed.history] == [0, 1, 2]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optimizer", {"t": 3}, "state must"),
        ("sums", {"images": 3, "gold": 1}, "resume must have the sums"),
        ("sums", {"loss": "low", "correct": 1, "images": 3, "seconds": 1.0}, "resume\\['sums'\\]\\['loss'\\] must be"),
        ("sums", [1, 2], "resume\\['sums'\\] must be"),
    ],
)
def test_a_part_of_a_state_that_does_not_fit_changes_nothing(key, value, message):
    state = next(Parts().train(report_every=1)).state | {key: value}
    other = Parts(seed=1)
    before = other.bits()
    with pytest.raises((TypeError, ValueError), match=message):
        other.train(resume=state)
    assert other.bits() == before


def test_a_checkpoint_of_other_versions_gives_a_warning():
    state = next(Parts().train(report_every=1)).state
    state["made_with"] = {**state["made_with"], "blas": "openblas 0.1 Nehalem"}
    with pytest.warns(RuntimeWarning, match="bits may differ: blas was 'openblas 0.1 Nehalem', is"):
        Parts().train(resume=state)


def test_a_state_of_before_the_digests_is_taken():
    state = next(Parts().train(report_every=1)).state
    for key in ("history", "made_with", "learning_rate"):
        del state[key]
    state["run"] = {key: state["run"][key] for key in ("steps_per_epoch", "batch_size", "seed")}
    resumed = Parts().train(resume=state)
    assert next(resumed).epoch == 0


def test_a_layer_without_a_repr_is_the_same_layer_in_another_process():
    class Double(ac.Layer):
        def forward(self, x, *, training=False):
            return 2 * x, None

        def backward(self, dy, cache):
            return 2 * dy

    def parts():
        made = Parts()
        made.model = ac.Sequential(*made.model.layers, Double())
        made.optimizer = ac.DilatedAMSGrad(made.model, 0.01)
        return made

    state = next(parts().train(report_every=1)).state
    assert "0x" not in str(state["run"]["model"])
    assert next(parts().train(resume=state)).epoch == 0
