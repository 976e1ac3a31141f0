"""The experiment's command: what it refuses, and that a stopped and a killed run resume as if nothing had happened."""

import io
import sys

import numpy as np
import pytest
from helpers.programs import load, log_of

import allconv as ac

SMALL = ["--quick", "--limit", "50", "--data", "shapes", "--augment", "none"]


@pytest.fixture(scope="module")
def experiment():
    return load("cifar10_allcnn")


@pytest.fixture(scope="module")
def article_log():
    return load("article_log")


@pytest.mark.scripts
def test_all_cases_resume_in_the_middle_of_one(experiment, tmp_path, monkeypatch):
    """Two cases stand for all; `.ci/run` trains the eight."""
    monkeypatch.setattr(ac.article, "CASES", "bh")
    monkeypatch.chdir(tmp_path)
    assert experiment.main([*SMALL, "--case", "all", "--out", "whole"]) == 0
    evaluate = ac.evaluate

    def stop_in_h(*arguments):
        if (tmp_path / "killed" / "h" / "log.csv").exists():
            raise KeyboardInterrupt
        return evaluate(*arguments)

    monkeypatch.setattr(ac, "evaluate", stop_in_h)
    assert experiment.main([*SMALL, "--case", "all", "--out", "killed"]) == 130
    monkeypatch.setattr(ac, "evaluate", evaluate)
    assert experiment.main([*SMALL, "--case", "all", "--out", "killed", "--resume"]) == 0
    for case in "bh":
        assert log_of(tmp_path / "whole" / case) == log_of(tmp_path / "killed" / case)
    assert (tmp_path / "whole" / "results.txt").read_text() == (tmp_path / "killed" / "results.txt").read_text()
    assert [row["dilated_rate"] for case in "bh" for row in log_of(tmp_path / "whole" / case)] == ["", "", "0.8", "0.4"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--case", "i"], "argument --case: invalid choice: 'i'"),
        ([], "the following arguments are required: --case"),
        (["--cas", "h"], "the following arguments are required: --case"),
        (["--case", "h", "--epochs", "0"], "argument --epochs: must be a positive int, got 0"),
        (["--case", "h", "--limit", "nan"], "argument --limit: must be a positive int, got nan"),
        (["--case", "h", "--seed", "-1"], "argument --seed: must be a non-negative int, got -1"),
        (["--case", "h", "--augment", "flip"], "argument --augment: invalid choice: 'flip'"),
        (["--case", "h", "--out", "full"], "argument --out: must be empty unless --resume is given, got full"),
        (["--case", "h", "--out", "full/log.csv"], "argument --out: must be a folder, got the file full/log.csv"),
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


ARTICLE = {"betas": (0.9, 0.9), "eps": 1e-8, "bias_correction": "none", "maximum": "tensor"}
METHODS = {
    "ae": (ac.SGD, 0.009, {"momentum": 0.9, "nesterov": False}),
    "bf": (ac.Adam, 0.0003, {"betas": (0.9, 0.999), "eps": 1e-8, "epsilon_hat": True}),
    "cg": (ac.AMSGrad, 0.0003, ARTICLE),
    "dh": (ac.DilatedAMSGrad, 0.0003, ARTICLE),
}


@pytest.mark.parametrize("case", "abcdefgh")
def test_the_cases_are_the_published_ones(case):
    optimizer, rate, options = next(method for cases, method in METHODS.items() if case in cases)
    built = ac.article.build_case(case, np.random.default_rng(0))
    assert [built.schedule(epochs) for epochs in (0, 2.9, 20)] == pytest.approx([rate, rate / 1.002, rate / 1.02])
    assert type(built.optimizer) is optimizer
    assert built.optimizer.learning_rate == pytest.approx(rate)
    assert {name: getattr(built.optimizer, name) for name in options} == options
    layers = [type(layer) for layer in built.model.walk()]
    assert (layers.count(ac.Skip), layers.count(ac.MeanPool2D)) == (3 * (case in "dh"), 2 * (case in "abcd"))


def test_the_published_curves_are_complete(article_log):
    curves = {case: article_log.published(case) for case in "abcdefgh"}
    assert all([row["epoch"] for row in curve] == list(range(21)) for curve in curves.values())
    assert (curves["h"][0]["test_accuracy"], curves["a"][20]["test_accuracy"]) == (0.6076, 0.8841)


def test_costs_are_rescaled_to_0_and_1(article_log):
    assert article_log.rescaled([3.0, 1.0, 2.0]) == [1.0, 0.0, 0.5]
    assert article_log.rescaled([2.0, 2.0]) == [0.0, 0.0]


def test_the_table_sets_the_cases_beside_the_published_results(article_log):
    rows = [{"epoch": e, "test_accuracy": a} for e, a in ((0, 0.6), (1, 0.72))]
    lines = article_log.result_table({"h": rows, "a": rows[:1]}).splitlines()
    assert lines[1].split() == ["h", "2", "0.7200", "0.7081", "+0.0119", "0.7200", "0.8493"]
    assert lines[2].split() == ["a", "1", "0.6000", "0.5823", "+0.0177", "0.6000", "0.8885"]
