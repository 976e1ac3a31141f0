"""The experiment's command: what it refuses, and that a killed run resumes as if nothing had happened."""

import csv
import io
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import allconv as ac

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
COMMAND = [sys.executable, str(EXAMPLES / "cifar10_allcnn.py")]
SMALL = ["--case", "h", "--quick", "--limit", "50", "--data", "shapes", "--augment", "none", "--checkpoint-every", "1"]


@pytest.fixture
def article_log(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import article_log

    return article_log


@pytest.fixture
def experiment(article_log):
    import cifar10_allcnn

    return cifar10_allcnn


def without_seconds(folder):
    with (folder / "log.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    def run(*options):
        subprocess.run([*COMMAND, *SMALL, *options], check=True, capture_output=True, cwd=tmp_path, timeout=250)

    run("--out", "whole", "--epochs", "3")
    process = subprocess.Popen([*COMMAND, *SMALL, "--out", "killed", "--epochs", "3"], cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not any((tmp_path / "killed" / "checkpoints").glob("checkpoint-*1.npz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run("--out", "killed", "--epochs", "3", "--resume")

    whole, killed = (ac.checkpoint.load(tmp_path / name / "checkpoints") for name in ("whole", "killed"))
    for part in ("model", "optimizer"):
        assert whole[part].keys() == killed[part].keys()
        for key, value in whole[part].items():
            assert np.asarray(value).tobytes() == np.asarray(killed[part][key]).tobytes(), key
    assert without_seconds(tmp_path / "whole") == without_seconds(tmp_path / "killed")
    assert len(without_seconds(tmp_path / "killed")) == 3

    # Another seed is another run; and a folder whose checkpoints are gone starts over.
    refused = subprocess.run(
        [*COMMAND, *SMALL, "--out", "killed", "--resume", "--seed", "1"], capture_output=True, text=True, cwd=tmp_path
    )
    assert refused.returncode == 1
    assert "resume must have the settings that killed began with, got others: seed was 678, is 1" in refused.stderr
    shutil.rmtree(tmp_path / "killed" / "checkpoints")
    run("--out", "killed", "--epochs", "1", "--resume")
    assert len(without_seconds(tmp_path / "killed")) == 1


def test_the_experiment_takes_the_lock(tmp_path):
    out = tmp_path / "h"
    with ac.checkpoint.lock(out / "checkpoints"):
        done = subprocess.run(
            [*COMMAND, *SMALL, "--out", str(out), "--resume"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "in use by another training process" in done.stderr
    assert not (out / "log.csv").exists()


def test_all_cases_resume_in_the_middle_of_one(tmp_path):
    small = ["--case", "all", "--quick", "--limit", "30", "--data", "shapes", "--checkpoint-every", "1"]

    def run(*options):
        subprocess.run([*COMMAND, *small, *options], check=True, capture_output=True, cwd=tmp_path, timeout=250)

    run("--out", "whole")
    process = subprocess.Popen([*COMMAND, *small, "--out", "killed"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    in_the_middle = tmp_path / "killed" / "b" / "checkpoints" / "checkpoint-00000003.npz"
    deadline = time.monotonic() + 120
    while not in_the_middle.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "c").exists()
    run("--out", "killed", "--resume")
    for case in "abcdefgh":
        assert without_seconds(tmp_path / "whole" / case) == without_seconds(tmp_path / "killed" / case)
    assert (tmp_path / "whole" / "results.txt").read_text() == (tmp_path / "killed" / "results.txt").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--case", "i"], "argument --case: invalid choice: 'i'"),
        ([], "the following arguments are required: --case"),
        (["--case", "h", "--epochs", "0"], "argument --epochs: must be a positive int, got 0"),
        (["--case", "h", "--epochs", "2.5"], "argument --epochs: must be a positive int, got 2.5"),
        (["--case", "h", "--limit", "-3"], "argument --limit: must be a positive int, got -3"),
        (["--case", "h", "--limit", "nan"], "argument --limit: must be a positive int, got nan"),
        (["--case", "h", "--threads", "0"], "argument --threads: must be a positive int, got 0"),
        (["--case", "h", "--checkpoint-every", "0"], "argument --checkpoint-every: must be a positive int, got 0"),
        (["--case", "h", "--seed", "-1"], "argument --seed: must be a non-negative int, got -1"),
        (["--case", "h", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (["--case", "h", "--augment", "flip"], "argument --augment: invalid choice: 'flip'"),
        (["--case", "h", "--out", "full"], "argument --out: must be empty unless --resume is given, got full"),
        (["--case", "h", "--out", "full/log.csv"], "argument --out: must be a folder, got the file full/log.csv"),
        (["--cas", "h"], "the following arguments are required: --case"),
    ],
)
def test_the_command_line_is_checked_before_any_work(experiment, options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "log.csv").write_text("kept")
    with pytest.raises(SystemExit) as caught:
        experiment.main(options)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "log.csv"]
    assert (tmp_path / "full" / "log.csv").read_text() == "kept"


def test_data_that_is_not_there_is_an_error_and_leaves_nothing(experiment, tmp_path, capsys):
    code = experiment.main(["--case", "h", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])
    assert code == 1
    assert str(tmp_path / "nowhere") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_auto_falls_back_to_shapes_and_says_so(experiment, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ac.data, "find_cifar10", lambda: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # no terminal to ask on
    args = experiment.parse(["--case", "h", "--limit", "20", "--out", str(tmp_path)])
    train_set, test_set, source = experiment.read_data(args)
    assert (len(train_set), len(test_set), source) == (20, 20, "shapes")
    assert "CIFAR-10 was not found: training on the drawn shapes instead" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("case", "optimizer", "rate", "skips"),
    [
        ("a", ac.SGD, 0.009, 0),
        ("b", ac.Adam, 0.0003, 0),
        ("c", ac.AMSGrad, 0.0003, 0),
        ("d", ac.DilatedAMSGrad, 0.0003, 3),
        ("e", ac.SGD, 0.009, 0),
        ("f", ac.Adam, 0.0003, 0),
        ("g", ac.AMSGrad, 0.0003, 0),
        ("h", ac.DilatedAMSGrad, 0.0003, 3),
    ],
)
def test_the_cases_are_the_published_ones(case, optimizer, rate, skips):
    built = ac.article.build_case(case, np.random.default_rng(0))
    model, made = built.model, built.optimizer
    assert [built.schedule(epochs) for epochs in (0, 2.9, 20)] == pytest.approx([rate, rate / 1.002, rate / 1.02])
    assert type(made) is optimizer
    assert made.learning_rate == pytest.approx(rate)
    assert sum(isinstance(layer, ac.Skip) for layer in model.walk()) == skips
    assert sum(isinstance(layer, ac.MeanPool2D) for layer in model.walk()) == (2 if case in "abcd" else 0)
    if optimizer is ac.SGD:
        assert (made.momentum, made.nesterov) == (0.9, False)
    elif optimizer is ac.Adam:
        assert (made.betas, made.eps, made.epsilon_hat) == ((0.9, 0.999), 1e-8, True)
    else:
        assert (made.betas, made.eps, made.bias_correction, made.maximum) == ((0.9, 0.9), 1e-8, "none", "tensor")


def test_the_published_curves_are_complete(article_log):
    for case in "abcdefgh":
        curve = article_log.published(case)
        assert [row["epoch"] for row in curve] == list(range(21))
    assert article_log.published("h")[0]["test_accuracy"] == 0.6076
    assert article_log.published("a")[20]["test_accuracy"] == 0.8841


def test_costs_are_rescaled_to_0_and_1(article_log):
    assert article_log.rescaled([3.0, 1.0, 2.0]) == [1.0, 0.0, 0.5]
    assert article_log.rescaled([2.0]) == [0.0]
    assert article_log.rescaled([2.0, 2.0]) == [0.0, 0.0]


def test_the_table_sets_the_cases_beside_the_published_results(article_log):
    rows = [{"epoch": e, "test_accuracy": a} for e, a in ((0, 0.6), (1, 0.72))]
    lines = article_log.result_table({"h": rows, "a": rows[:1]}).splitlines()
    assert lines[0].split("  ")[0] == "case"
    assert lines[1].split() == ["h", "2", "0.7200", "0.7081", "+0.0119", "0.7200", "0.8493"]
    assert lines[2].split() == ["a", "1", "0.6000", "0.5823", "+0.0177", "0.6000", "0.8885"]
