"""The recipe that learns CIFAR-10 in minutes: its rates, what a run leaves behind, a resume, and refusals."""

import csv
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers.programs import ROOT, load, log_of, run

import allconv as ac


def fast_run(out, *options, cwd, status=0):
    return run("fast_cifar10.py", "--quick", "--data", "shapes", "--out", out, *options, cwd=cwd, status=status)


def weights_of(folder):
    return ac.checkpoint.load(folder / "checkpoints")["model"]


@pytest.mark.scripts
@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_the_fast_recipe_logs_draws_and_resumes_with_the_same_bits(optimizer, tmp_path):
    options = ["--optimizer", optimizer, "--seed", 1, "--epochs", 3]
    fast_run("whole", *options, cwd=tmp_path)
    fast_run("parts", *options, "--until-step", 3, cwd=tmp_path)
    fast_run("parts", *options, "--resume", cwd=tmp_path)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for name, value in weights_of(whole).items():
        np.testing.assert_array_equal(weights_of(parts)[name], value)

    rows, others = log_of(whole), log_of(parts)
    assert list(rows[0]) == ["epoch", "minutes", "train_loss", "test_accuracy", "test_accuracy_views"]
    assert [row["test_accuracy_views"] != "" for row in rows] == [False, False, True]
    assert [row | {"minutes": ""} for row in rows] == [row | {"minutes": ""} for row in others]
    assert 0 < float(rows[0]["minutes"]) < float(rows[2]["minutes"])
    assert float(rows[2]["train_loss"]) < float(rows[0]["train_loss"])
    assert (whole / "accuracy.png").stat().st_size > 1000

    assert "resume must have the settings" in fast_run(
        "whole", *options[:2], "--seed", 2, "--epochs", 3, "--resume", cwd=tmp_path, status=1
    )
    complete = fast_run("whole", *options, "--resume", cwd=tmp_path)
    assert "epoch" not in complete
    assert log_of(whole) == rows


def test_the_fast_recipe_refuses_a_target_without_a_schedule(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for options, message in [
        (["--target", "0.5"], r"invalid choice: 0\.5 \(choose from 0\.9, 0\.93, 0\.94\)"),
        (["--optimizer", "muon", "--target", "0.93"], r"must be 0\.94 with --optimizer muon, got 0\.93"),
        (["--seed", "-1"], "must be a non-negative int, got -1"),
    ]:
        with pytest.raises(SystemExit, match="2"):
            load("fast_cifar10").main([*options, "--quick", "--data", "shapes"])
        assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_the_rates_of_the_fast_recipes_are_the_published_ones():
    example = load("fast_cifar10")
    filters = np.zeros((2, 2, 3, 24), np.float32)

    def rates(optimizer, total, step):
        model = ac.models.fast_net(filters, rng=np.random.default_rng(0))
        schedule = example.Schedule(model, example.RECIPES[optimizer, 0.94], optimizer, total)
        schedule.set_rates(step)
        groups = [
            (group.learning_rate, group.weight_decay * group.learning_rate) for group in schedule.optimizer.groups
        ]
        return [pytest.approx(number, rel=1e-5) for pair in groups for number in pair], model[0].bias.trainable

    product = 0.00199565
    assert rates("sgd", 476, 109) == ([1.5, product, 96, product, 1.5, product], True)
    assert rates("sgd", 476, 0) == ([0.3, 0.2 * product, 19.2, 0.2 * product, 0.3, 0.2 * product], True)
    assert rates("sgd", 476, 144)[1] is False
    last = 0.07 + 0.93 / 367
    assert rates("sgd", 476, 475)[0][:2] == [1.5 * last, product * last]
    # For the summed loss of 2000 images: 0.053 for biases, and 0.67 for a head of logits / 256, here / 9.
    head, bias = 2000 * 0.67 * 81 / 256**2, 2000 * 0.053
    assert rates("muon", 200, 0) == ([0.24, 0, head, 0.004, bias, 0.004, bias, 0.004], True)
    half = [0.12, 0, head / 2, 0.002, bias / 2, 0.002, 0, 0]
    assert rates("muon", 200, 100) == (half, False)
    assert rates("muon", 200, 30)[0][6:] == [bias * 0.6, 0.0024]


@pytest.mark.scripts
@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_the_recipe_in_pytorch_has_the_same_losses_and_its_times_are_kept(optimizer, tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "pytorch.csv"
    path.write_text("optimizer,batch,threads,library,milliseconds,difference\nmuon,1,1,old,1.0,0\nsgd,1,1,old,1.0,0\n")
    options = ["--optimizer", optimizer, "--batch", "24", "--steps", "2", "--rounds", "1", "--kinds", "PyTorch"]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "fast_cifar_torch.py", *options, "--out", path],
        capture_output=True, text=True, check=True, timeout=280,
    )  # fmt: skip
    last = done.stdout.splitlines()[-1].split()
    assert last[0] == "PyTorch"
    assert float(last[-1]) < 5e-3  # of losses near 2.3, after two updates in float32
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    other = "muon" if optimizer == "sgd" else "sgd"
    libraries = [(row["optimizer"], row["library"]) for row in rows]
    assert libraries == [(other, "old"), (optimizer, "allconv"), (optimizer, "PyTorch")]
    assert float(rows[2]["milliseconds"]) == pytest.approx(float(last[1]), abs=0.6)
