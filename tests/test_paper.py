"""The paper's recipe: `examples/paper.py` builds, trains, saves and resumes what it says, and its table is right."""

import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from helpers.programs import ROOT, load, log_of, run
from helpers.states import differing
from scipy.special import logsumexp

import allconv as ac


@pytest.fixture(scope="module")
def paper():
    return load("paper")


@pytest.fixture
def tiny(paper, monkeypatch):
    """The command's arguments but for --out, on a few images of 12x12 pixels: their whitening is fast."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (14, 12, 12, 3), dtype=np.uint8)
    sets = ac.data.Dataset(images[:8], np.arange(8), classes=10), ac.data.Dataset(images[8:], np.arange(6), classes=10)
    monkeypatch.setattr(paper, "read_data", lambda args: (*sets, "drawn"))
    return sets


# The recipe


@pytest.mark.parametrize("kind", "abc")
@pytest.mark.parametrize("name", ["base", "strided", "convpool", "all-cnn"])
def test_the_networks_are_the_twelve_of_the_paper_with_its_dropout(paper, kind, name):
    for ending in ("6x6", "8x8"):
        model = paper.build(f"{name}-{kind}", ending, np.random.default_rng(0))
        variant = name.replace("-", "")
        expected = ac.models.all_cnn(kind.upper(), variant, unpadded_last=ending == "6x6", dropout=True)
        assert repr(model) == repr(expected)


def test_the_initial_weights_are_normal_and_only_the_last_biases_not_0(paper):
    model = paper.build("all-cnn-a", "6x6", np.random.default_rng(0))
    layers = [layer for layer in model.walk() if isinstance(layer, ac.Conv2D)]
    for layer in layers:
        count = layer.weight.value.size
        assert abs(layer.weight.value.mean()) < 5 * 0.05 / count**0.5
        assert abs(layer.weight.value.std() / 0.05 - 1) < 5 / (2 * count) ** 0.5
    assert not any(layer.bias.value.any() for layer in layers[:-1])
    np.testing.assert_array_equal(layers[-1].bias.value, np.ones(10))


@pytest.mark.parametrize(("epochs", "steps"), [(350, (200, 250, 300)), (7, (4, 5, 6)), (35, (20, 25, 30))])
def test_the_rate_falls_at_the_paper_s_fractions_of_the_run(paper, epochs, steps):
    rate = paper.schedule(0.1, epochs)
    assert rate(0) == 0.1
    for step, before, after in zip(steps, (0.1, 0.01, 0.001), (0.01, 0.001, 0.0001), strict=True):
        assert rate(step - 1e-6) == pytest.approx(before)
        assert rate(step) == pytest.approx(after)


def test_the_augmentation_shifts_by_whole_pixels_and_flips_half(paper):
    image = np.zeros((32, 32, 1), np.uint8)
    image[16, 12] = 200  # mirrored, it lies in column 19
    moved = paper.paper_augment()(np.repeat(image[None], 20_000, axis=0), np.random.default_rng(0))
    assert set(np.unique(moved)) == {0, 200}
    number, row, column, _ = np.nonzero(moved)
    np.testing.assert_array_equal(number, np.arange(20_000))
    counts = np.bincount(row - 11)
    assert len(counts) == 11
    assert abs(counts / 20_000 - 1 / 11).max() < 0.01  # its standard deviation is 0.002
    counts = np.bincount(column - 7, minlength=18)  # 7 to 17 from 12, and 14 to 24 from 19
    expected = np.convolve(np.r_[1, np.zeros(6), 1] / 2, np.ones(11) / 11)
    np.testing.assert_allclose(counts / 20_000, expected, atol=0.01)


def test_two_steps_are_momentum_and_weight_decay_by_hand(paper, tiny, tmp_path):
    assert paper.main(["--net", "all-cnn-a", "--epochs", "2", "--seed", "5", "--out", str(tmp_path)]) == 0
    trained, whiten = paper.restore(tmp_path / "model.npz")

    model, loss = paper.build("all-cnn-a", "6x6", np.random.default_rng(5)), ac.SoftmaxCrossEntropy()
    fitted = ac.data.ZCA.fit(tiny[0].images, contrast=ac.data.GlobalContrast(55.0), bias=0.1)
    np.testing.assert_array_equal(whiten.matrix, fitted.matrix)  # of the training images alone
    np.testing.assert_array_equal(whiten.mean, fitted.mean)
    loader = ac.data.Loader(tiny[0], 128, normalize=fitted, seed=5)
    velocity = [0.0 for _ in model.parameters()]
    for epoch in range(2):
        for images, labels in loader.epoch(epoch):
            scores, cache = model.forward(images, training=True)
            model.backward(loss(scores, labels)[1], cache)
        for index, parameter in enumerate(model.parameters()):
            velocity[index] = 0.9 * velocity[index] + parameter.grad + 0.001 * parameter.value
            parameter.value -= 0.05 * velocity[index]
            parameter.grad = None
    for found, expected in zip(trained.parameters(), model.parameters(), strict=True):
        np.testing.assert_allclose(found.value, expected.value, rtol=1e-5, atol=1e-7)


# The command


def test_a_run_leaves_a_log_settings_and_a_model_that_predicts(paper, tiny, tmp_path, capsys):
    options = ["--net", "strided-b", "--epochs", "2", "--ending", "8x8", "--rate", "0.01", "--augment"]
    out = tmp_path / "new" / "out"
    assert paper.main([*options, "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"checkpoints", "config.json", "log.csv", "model.npz"}
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    names = ("net", "epochs", "ending", "augment", "images")
    assert [config[name] for name in names] == ["strided-b", 2, "8x8", True, [8, 6]]
    rows = [{name: float(text) for name, text in row.items()} for row in log_of(out)]
    assert list(rows[0]) == ["epoch", "learning_rate", "train_accuracy", "test_accuracy", "train_loss", "test_loss"]
    assert [(row["epoch"], row["learning_rate"]) for row in rows] == [(0, 0.01), (1, 0.01)]

    model, whiten = paper.restore(out / "model.npz")
    scores = ac.predict(model, whiten(tiny[1].images))
    assert np.mean(scores.argmax(axis=1) == tiny[1].labels) == rows[-1]["test_accuracy"]
    losses = logsumexp(scores, axis=1) - scores[np.arange(6), tiny[1].labels]
    assert losses.mean() == pytest.approx(rows[-1]["test_loss"], rel=1e-4)
    printed = capsys.readouterr().out
    assert f"strided-b: test error {1 - rows[-1]['test_accuracy']:.2%} after 2 epochs, results in {out}" in printed
    estimate = r"a step of 128 images takes \d+\.\d\d s: the 2 steps to go .*350 epochs, 136850 st"
    assert len(re.findall(estimate, printed)) == 1


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(paper, tiny, tmp_path, monkeypatch, capsys):
    options = ["--net", "base-c", "--epochs", "2", "--batch", "3", "--rate", "0.01", "--checkpoint-every", "2"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert paper.main([*options, "--out", str(whole)]) == 0
    assert paper.main([*options, "--out", str(stopped), "--until-step", "5"]) == 0
    assert paper.main([*options, "--out", str(stopped), "--resume", "--epochs", "4"]) == 1
    assert "milestones was" in capsys.readouterr().err  # another number of epochs is another schedule
    monkeypatch.setattr(ac.data.ZCA, "fit", None)  # the checkpoint holds the whitening
    assert paper.main([*options, "--out", str(stopped), "--resume"]) == 0
    a, b = (ac.checkpoint.load(folder / "checkpoints") for folder in (whole, stopped))
    assert differing(a, b) == []
    assert log_of(whole) == log_of(stopped)


def test_a_loss_that_is_no_number_ends_the_run_and_is_not_saved(paper, tiny, tmp_path, monkeypatch, capsys):
    class Diverging(ac.SoftmaxCrossEntropy):
        def __call__(self, scores, labels):
            value, gradient = super().__call__(scores, labels)
            return (np.nan if len(list((tmp_path / "checkpoints").glob("*.npz"))) == 2 else value), gradient

    monkeypatch.setattr(ac, "SoftmaxCrossEntropy", Diverging)
    options = ["--net", "base-a", "--epochs", "2", "--batch", "2", "--rate", "0.01", "--checkpoint-every", "1"]
    assert paper.main([*options, "--out", str(tmp_path)]) == 1
    assert "the loss is nan in epoch 0: --rate must be lower than 0.01" in capsys.readouterr().err
    saved = ac.checkpoint.load(tmp_path / "checkpoints")
    assert saved["step"] == 1
    assert np.isfinite(saved["sums"]["loss"])


@pytest.mark.scripts
def test_the_command_runs_on_drawn_images(tmp_path):
    run("paper.py", "--net", "all-cnn-c", "--quick", "--data", "shapes", "--out", "out", cwd=tmp_path)
    assert len(log_of(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "the following arguments are required: --net"),
        (["--net", "all-cnn-d"], "argument --net: invalid choice: 'all-cnn-d'"),
        (["--net", "all-cnn-c", "--rate", "0.3"], "argument --rate: invalid choice: 0.3"),
        (["--net", "all-cnn-c", "--ending", "7x7"], "argument --ending: invalid choice: '7x7'"),
        (["--net", "all-cnn-c", "--batch", "-1"], "argument --batch: must be a positive int, got -1"),
    ],
)
def test_the_command_line_is_checked_before_any_work(paper, options, message, capsys):
    """The options that all programs share are tested with the experiment."""
    with pytest.raises(SystemExit) as caught:
        paper.main(options)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_the_defaults_are_the_paper_s(paper, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = paper.parse(["--net", "convpool-c"])
    assert (args.epochs, args.ending, args.augment, args.out) == (350, "6x6", False, Path("runs", "paper-convpool-c"))
    assert (args.batch, args.rate, paper.parse(["--net", "base-a", "--quick"]).epochs) == (128, 0.05, 2)


def test_the_times_are_in_units_that_fit(paper):
    text = paper.estimate(0.5, 100, 60)
    assert "a step of 100 images takes 0.50 s: the 60 steps to go 30 s" in text
    assert "350 epochs, 175000 steps, 24.3 hours" in text
    assert "the 900 steps to go 7.5 minutes" in paper.estimate(0.5, 100, 900)


# The table


def write_run(folder, accuracies, net, **config):
    folder.mkdir(parents=True)
    settings = {"net": net, "epochs": 7, "augment": False, "images": [10_000, 10_000], "batch": 32, "rate": 0.01}
    (folder / "config.json").write_text(json.dumps(settings | config))
    rows = "".join(f"{epoch},{accuracy}\n" for epoch, accuracy in enumerate(accuracies))
    (folder / "log.csv").write_text("epoch,test_accuracy\n" + rows)


def test_the_table_sets_runs_beside_the_paper_s(tmp_path):
    table = runpy.run_path(str(ROOT / "experiments" / "paper" / "table.py"))["table"]
    write_run(tmp_path / "paper-base-c", [0.5, 0.625, 0.6], "base-c")
    write_run(tmp_path / "paper-all-cnn-c", [0.55, 0.7], "all-cnn-c", epochs=2)
    write_run(tmp_path / "paper-augmented", [0.9], "all-cnn-c", augment=True)
    write_run(tmp_path / "paper-begun", [], "convpool-c")
    write_run(tmp_path / "paper-all-cnn-a", [0.9], "all-cnn-a")
    write_run(tmp_path / "h", [0.9], "base-c")  # not one of the paper's folders
    _, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table(tmp_path).splitlines())
    assert rows == [
        ["base-c", "9.74", "3", "40.00", "2", "37.50", "3", "7", "10,000", "32", "0.01"],
        ["strided-c", "10.19", "4", *[""] * 8],
        ["convpool-c", "9.31", "2", *[""] * 8],
        ["all-cnn-c", "9.08", "1", "30.00", "1", "30.00", "2", "2", "10,000", "32", "0.01"],
    ]
    write_run(tmp_path / "paper-second", [0.9], "base-c")
    with pytest.raises(ValueError, match="results must hold one run of base-c, got a second in paper-second"):
        table(tmp_path)
