"""python -m allconv.checkpoint verify RUN; the lock and the best checkpoint of a folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import allconv as ac
from allconv.checkpoint import format as storage
from allconv.checkpoint.__main__ import main
from allconv.checkpoint.verify import verify

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "cifar10_allcnn.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few steps, stopped in the middle of an epoch."""
    out = tmp_path_factory.mktemp("runs") / "d"
    subprocess.run(
        [
            *(sys.executable, str(EXAMPLE), "--case", "d", "--data", "shapes", "--limit", "150", "--epochs", "2"),
            *("--checkpoint-every", "4", "--until-step", "10", "--out", str(out)),
        ],
        check=True,
        capture_output=True,
    )
    return out


def test_a_run_goes_on_with_the_same_bits_though_killed(run, capsys):
    before = {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}
    assert main(["verify", str(run), "--kills", "2"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("trained again from step 6 to step 10, killed 2 times")
    assert "the same bits" in text
    assert {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()} == before


def test_other_bits_are_found(run, tmp_path, capsys):
    copy = tmp_path / "copy"
    for path in sorted((run / "checkpoints").glob("checkpoint-*")):
        state = storage.read(path)
        if state["step"] == 10:
            weight = state["model"]["0.weight"]
            weight.flat[3] = np.nextafter(weight.flat[3], np.float32(9))
            state["rows"][0]["test_accuracy"] += 1e-9
        ac.checkpoint.save(copy / "checkpoints", state)
    (copy / "config.json").write_text((run / "config.json").read_text())
    assert main(["verify", str(copy), "--kills", "0"]) == 1
    assert capsys.readouterr().out.endswith("other bits in state/model/0.weight, state/rows/0/test_accuracy\n")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "with a config.json"),
        ("{", "with a config.json"),
        ("[]", "with a config.json"),
        ("{}", "the command of .* must be a non-empty list of str, got None"),
        ('{"command": []}', "must be a non-empty list"),
        ('{"command": ["-c", 1]}', "must be a non-empty list of str"),
        ('{"command": ["-c", "print(1)"]}', "must begin with a program that is there, got '-c'"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path, config, message, capsys):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=message):
        verify(tmp_path)
    assert main(["verify", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_two_checkpoints_are_needed(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"command": [str(EXAMPLE)]}))
    with pytest.raises(ValueError, match="two checkpoints, got .* with 0"):
        verify(tmp_path)
    for _ in range(2):
        ac.checkpoint.save(tmp_path / "checkpoints", {"step": 3})
    with pytest.raises(ValueError, match="must have gone on .* got steps 3 and 3"):
        verify(tmp_path)


def test_a_program_that_fails_is_told(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("raise SystemExit('no such thing')")
    (tmp_path / "config.json").write_text(json.dumps({"command": [str(program)]}))
    for step in (1, 2):
        ac.checkpoint.save(tmp_path / "checkpoints", {"step": step})
    with pytest.raises(RuntimeError, match="ended with status 1:\nno such thing"):
        verify(tmp_path)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="the system has no owners")
def test_another_users_command_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"command": [str(EXAMPLE)]}))
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(ValueError, match="of your own"):
        verify(tmp_path)


HOLD = "import sys, allconv as ac\nwith ac.checkpoint.lock(sys.argv[1]):\n    print('held', flush=True)\n    input()"


def test_a_second_trainer_is_refused_until_the_first_is_gone(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(RuntimeError, match="in use by another training process"), ac.checkpoint.lock(tmp_path):
        pass
    process.kill()
    process.communicate()
    with ac.checkpoint.lock(tmp_path):
        pass


def test_the_experiment_takes_the_lock(tmp_path):
    out = tmp_path / "h"
    with ac.checkpoint.lock(out / "checkpoints"):
        done = subprocess.run(
            [sys.executable, str(EXAMPLE), "--case", "h", "--quick", "--data", "shapes", "--out", str(out), "--resume"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "in use by another training process" in done.stderr
    assert not (out / "log.csv").exists()


def test_the_best_is_kept_beside_the_newest(tmp_path):
    with pytest.raises(ac.checkpoint.CheckpointError, match="holds no best checkpoint"):
        ac.checkpoint.load(tmp_path, best=True)
    for step in range(6):
        ac.checkpoint.save(tmp_path, {"step": step}, best=step == 1)
    assert ac.checkpoint.load(tmp_path, best=True) == {"step": 1}
    assert ac.checkpoint.load(tmp_path) == {"step": 5}
    with pytest.raises(TypeError, match="best must be True or False, got 1"):
        ac.checkpoint.save(tmp_path, {"step": 7}, best=1)
