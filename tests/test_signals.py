"""Ctrl-C and SIGTERM finish the step, save, and end with the usual status; a second one ends at once."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import allconv as ac
from allconv.training.interrupts import stop_on_signals

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "cifar10_allcnn.py"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


@pytest.fixture(autouse=True)
def _default_handlers():
    # A shell that starts the tests in the background has Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted_and_the_handlers_come_back(number, status):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals() as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop
        assert stop.exit_status == status
        assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_ignored_signals_stay_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert not stop


def test_another_thread_changes_nothing():
    noted = []

    def enter():
        with stop_on_signals() as stop:
            noted.append((bool(stop), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert noted == [(False, signal.default_int_handler)]


def start(out, *more):
    command = [sys.executable, str(EXAMPLE), "--case", "h", "--data", "shapes", "--limit", "1000", "--epochs", "9"]
    return subprocess.Popen(
        [*command, "--out", str(out), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_experiment_saves_and_says_how_to_resume(tmp_path, number, status):
    process = start(tmp_path / "run", "--checkpoint-every", "3")
    folder = tmp_path / "run" / "checkpoints"
    while len(list(folder.glob("checkpoint-*.npz"))) < 2 and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status, errors
    assert "--resume goes on from here" in errors
    state = ac.checkpoint.load(folder)
    assert state["step"] > 0
    again = start(tmp_path / "run", "--resume", "--until-step", str(state["step"] + 1))
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert ac.checkpoint.load(folder)["step"] == state["step"] + 1
