"""The paper's recipe: `examples/paper.py` builds, trains, saves and resumes what it says, and its table is right."""

import csv
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp

import allconv as ac

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def paper(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import paper

    return paper


@pytest.fixture
def tiny(paper, monkeypatch):
    """The command's arguments but for --out, on a few images of 12x12 pixels: their whitening is fast."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (14, 12, 12, 3), dtype=np.uint8)
    sets = ac.data.Dataset(images[:8], np.arange(8), classes=10), ac.data.Dataset(images[8:], np.arange(6), classes=10)
    monkeypatch.setattr(paper, "read_data", lambda args: (*sets, "drawn"))
    return sets


@pytest.fixture
def paper_table():
    spec = importlib.util.spec_from_file_location("paper_table", ROOT / "experiments" / "paper" / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def log_of(folder):
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def same_values(a, b):
    assert a.keys() == b.keys()
    for key, value in a.items():
        assert np.asarray(value).tobytes() == np.asarray(b[key]).tobytes(), key


# The recipe


@pytest.mark.parametrize(
    ("net", "parameters", "pools"),
    [
        ("base-a", 839_242, 2),
        ("strided-a", 839_242, 0),
        ("convpool-a", 1_254_250, 2),
        ("all-cnn-a", 1_254_250, 0),
        ("base-b", 885_610, 2),
        ("strided-b", 885_610, 0),
        ("convpool-b", 1_300_618, 2),
        ("all-cnn-b", 1_300_618, 0),
        ("base-c", 954_730, 2),
        ("strided-c", 954_730, 0),
        ("convpool-c", 1_369_738, 2),
        ("all-cnn-c", 1_369_738, 0),
    ],
)
def test_the_networks_are_the_twelve_of_the_paper_with_its_dropout(paper, net, parameters, pools):
    assert len(paper.NETS) == 12
    for ending, size in (("6x6", 6), ("8x8", 8)):
        model = paper.build(net, ending, np.random.default_rng(0))
        assert sum(parameter.value.size for parameter in model.parameters()) == parameters
        layers = list(model.walk())
        assert sum(isinstance(layer, ac.MaxPool2D) for layer in layers) == pools
        assert [layer.rate for layer in layers if isinstance(layer, ac.Dropout)] == [0.2, 0.5, 0.5]
        shape = (32, 32, 3)
        for layer in layers[1:-1]:  # without the Sequential itself, and the global average
            shape = layer.output_shape(shape)
        assert shape == (size, size, 10)


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
    assert paper.main([*options, "--out", str(tmp_path / "new" / "out")]) == 0
    out = tmp_path / "new" / "out"
    assert {path.name for path in out.iterdir()} == {"checkpoints", "config.json", "log.csv", "model.npz"}
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert (config["net"], config["epochs"], config["ending"], config["augment"]) == ("strided-b", 2, "8x8", True)
    assert config["images"] == [8, 6]
    rows = log_of(out)
    assert list(rows[0]) == ["epoch", "learning_rate", "train_accuracy", "test_accuracy", "train_loss", "test_loss"]
    assert [(row["epoch"], row["learning_rate"]) for row in rows] == [(0, 0.01), (1, 0.01)]

    model, whiten = paper.restore(out / "model.npz")
    scores = ac.predict(model, whiten(tiny[1].images))
    assert np.mean(scores.argmax(axis=1) == tiny[1].labels) == rows[-1]["test_accuracy"]
    losses = logsumexp(scores, axis=1) - scores[np.arange(6), tiny[1].labels]
    assert losses.mean() == pytest.approx(rows[-1]["test_loss"], rel=1e-4)
    printed = capsys.readouterr().out
    assert f"strided-b: test error {1 - rows[-1]['test_accuracy']:.2%} after 2 epochs, results in {out}" in printed
    assert (
        len(re.findall(r"a step of 128 images takes \d+\.\d\d s: the 2 steps to go .*350 epochs, 136850 st", printed))
        == 1
    )


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(paper, tiny, tmp_path, monkeypatch, capsys):
    options = ["--net", "base-c", "--epochs", "3", "--batch", "3", "--rate", "0.01", "--checkpoint-every", "2"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert paper.main([*options, "--out", str(whole)]) == 0

    def stop(*args):
        if len(log_of(stopped)) == 1:
            raise KeyboardInterrupt
        return evaluate(*args)

    evaluate = ac.evaluate
    with monkeypatch.context() as patch:
        patch.setattr(ac, "evaluate", stop)
        assert paper.main([*options, "--out", str(stopped)]) == 130
    assert ac.checkpoint.load(stopped / "checkpoints")["step"] == 3 + 2  # within the second epoch
    assert "the same command with --resume goes on" in capsys.readouterr().err

    assert paper.main([*options, "--out", str(stopped), "--resume", "--seed", "1"]) == 1
    assert "resume must have the settings that" in capsys.readouterr().err
    assert paper.main([*options, "--out", str(stopped), "--resume", "--epochs", "4"]) == 1
    assert "milestones was" in capsys.readouterr().err  # another number of epochs is another schedule
    with monkeypatch.context() as patch:
        patch.setattr(ac.data.ZCA, "fit", None)  # the checkpoint holds the whitening
        assert paper.main([*options, "--out", str(stopped), "--resume"]) == 0
    a, b = (ac.checkpoint.load(folder / "checkpoints") for folder in (whole, stopped))
    for part in ("model", "optimizer", "whitening"):
        same_values(a[part], b[part])
    assert log_of(whole) == log_of(stopped)
    assert len(log_of(whole)) == 3


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


def test_a_run_that_is_complete_resumes_to_nothing(paper, tiny, tmp_path):
    options = ["--net", "strided-a", "--epochs", "1", "--out", str(tmp_path)]
    assert paper.main(options) == 0
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert paper.main([*options, "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")} == files
    assert len(log_of(tmp_path)) == 1


@pytest.mark.slow
def test_the_command_runs_on_drawn_images(tmp_path):
    command = [sys.executable, "-W", "error", str(EXAMPLES / "paper.py"), "--net", "all-cnn-c", "--quick"]
    result = subprocess.run(
        [*command, "--data", "shapes", "--out", "out"], capture_output=True, text=True, cwd=tmp_path, timeout=280
    )
    assert result.returncode == 0, result.stderr
    assert len(log_of(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "the following arguments are required: --net"),
        (["--net", "all-cnn-d"], "argument --net: invalid choice: 'all-cnn-d'"),
        (["--net", "all-cnn-c", "--rate", "0.3"], "argument --rate: invalid choice: 0.3"),
        (["--net", "all-cnn-c", "--ending", "7x7"], "argument --ending: invalid choice: '7x7'"),
        (["--net", "all-cnn-c", "--epochs", "0"], "argument --epochs: must be a positive int, got 0"),
        (["--net", "all-cnn-c", "--batch", "-1"], "argument --batch: must be a positive int, got -1"),
        (["--net", "all-cnn-c", "--limit", "x"], "argument --limit: must be a positive int, got x"),
        (["--net", "all-cnn-c", "--seed", "-1"], "argument --seed: must be a non-negative int, got -1"),
        (["--net", "all-cnn-c", "--out", "full"], "argument --out: must be empty unless --resume is given, got full"),
        (
            ["--net", "all-cnn-c", "--out", "full/log.csv"],
            "argument --out: must be a folder, got the file full/log.csv",
        ),
    ],
)
def test_the_command_line_is_checked_before_any_work(paper, options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "log.csv").write_text("kept")
    with pytest.raises(SystemExit) as caught:
        paper.main(options)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "log.csv"]


def test_data_that_is_not_there_is_an_error_and_leaves_nothing(paper, tmp_path, capsys):
    options = ["--net", "all-cnn-c", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]
    assert paper.main(options) == 1
    assert str(tmp_path / "nowhere") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_defaults_are_the_paper_s(paper, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = paper.parse(["--net", "convpool-c"])
    assert (args.epochs, args.ending, args.augment, args.out) == (350, "6x6", False, Path("runs", "paper-convpool-c"))
    assert paper.parse(["--net", "base-a", "--quick"]).epochs == 2


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


def test_the_table_sets_runs_beside_the_paper_s(paper_table, tmp_path):
    write_run(tmp_path / "paper-base-c", [0.5, 0.625, 0.6], "base-c")
    write_run(tmp_path / "paper-all-cnn-c", [0.55, 0.7], "all-cnn-c", epochs=2)
    write_run(tmp_path / "paper-augmented", [0.9], "all-cnn-c", augment=True)
    write_run(tmp_path / "paper-begun", [], "convpool-c")
    write_run(tmp_path / "paper-all-cnn-a", [0.9], "all-cnn-a")
    write_run(tmp_path / "h", [0.9], "base-c")  # not one of the paper's folders
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in paper_table.table(tmp_path).splitlines()
    )
    assert len(head) == 11
    assert rows == [
        ["base-c", "9.74", "3", "40.00", "2", "37.50", "3", "7", "10,000", "32", "0.01"],
        ["strided-c", "10.19", "4", *[""] * 8],
        ["convpool-c", "9.31", "2", *[""] * 8],
        ["all-cnn-c", "9.08", "1", "30.00", "1", "30.00", "2", "2", "10,000", "32", "0.01"],
    ]
    write_run(tmp_path / "paper-second", [0.9], "base-c")
    with pytest.raises(ValueError, match="results must hold one run of base-c, got a second in paper-second"):
        paper_table.table(tmp_path)
