"""The run folder: what it holds, what it refuses, when it saves, and that all ranks of a run do the same."""

import csv
import json
import math
import os
import signal
import sys

import numpy as np
import pytest
from helpers.ranks import on_ranks
from helpers.states import differing

import allconv as ac
from allconv.training import run as run_module

COLUMNS = ["rate", "epoch", "accuracy"]


def make(seed=0, **options):
    """Return what `ac.train` takes: a small network, and four steps an epoch."""
    model = ac.Sequential(ac.Flatten(), ac.Linear(3072, 10, rng=np.random.default_rng(seed)))
    optimizer = ac.SGD(model.parameters(), 0.01, momentum=0.9)
    return model, ac.SoftmaxCrossEntropy(), optimizer, ac.data.Loader(ac.data.shapes(20, seed=0), 5, **options)


def train(folder, *, epochs=2, config=None, act=lambda run, record: None, rows=(), **options):
    """Train in `folder`; `act` is the caller's own work in the loop."""
    options = {"columns": COLUMNS, "progress": False} | options
    with ac.open_run(folder, config or {"rate": 0.01}, **options) as run:
        training = ac.train(*make(), epochs=epochs, report_every=1, resume=run.saved)
        for record in run.steps(training):
            act(run, record)
            if record.epoch_ended:
                run.log({"epoch": record.epoch, "accuracy": record.accuracy}, text=f"epoch {record.epoch}\n")
    return run


def steps_saved(folder):
    return sorted(int(path.stem.rpartition("-")[2]) for path in (folder / "checkpoints").glob("checkpoint-*.npz"))


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stop_at(epoch, step, number=signal.SIGTERM):
    def act(run, record):
        if (record.epoch, record.step) == (epoch, step):
            os.kill(os.getpid(), number)

    return act


def test_a_run_leaves_its_settings_its_log_and_its_checkpoints(tmp_path):
    out = tmp_path / "new" / "out"
    run = train(out, config={"rate": 0.01, "versions": {"imgaug": "0.4"}})
    assert {path.name for path in out.iterdir()} == {"checkpoints", "config.json", "log.csv", "log.txt"}
    config = json.loads((out / "config.json").read_text())
    assert sorted(config) == ["ranks", "rate", "threads", "versions"]
    assert (config["rate"], config["ranks"]) == (0.01, 1)
    assert {"python", "machine", "allconv", "numpy", "scipy", "imgaug"} == config["versions"].keys()
    assert (config["versions"]["imgaug"], config["versions"]["numpy"]) == ("0.4", np.__version__)
    with (out / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [list(row) for row in rows] == [COLUMNS] * 2
    assert [(row["rate"], row["epoch"]) for row in rows] == [("0.01", "0"), ("0.01", "1")]
    assert (out / "log.txt").read_text() == "epoch 0\nepoch 1\n"
    assert run.rows == ac.checkpoint.load(out / "checkpoints")["rows"]
    assert run.rows[1]["accuracy"] == float(rows[1]["accuracy"])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("where", [(0, 3), (0, 4), (1, 2)])
def test_a_stopped_run_goes_on_to_the_same_bits(where, tmp_path):
    train(tmp_path / "whole")
    with pytest.raises(ac.Stopped) as stopped:
        train(tmp_path / "out", act=stop_at(*where))
    assert stopped.value.exit_status == 128 + signal.SIGTERM
    assert steps_saved(tmp_path / "out")[-1] == 4 * where[0] + where[1]
    train(tmp_path / "out", resume=True)
    whole, again = (ac.checkpoint.load(tmp_path / name / "checkpoints") for name in ("whole", "out"))
    assert differing(whole, again) == []
    for name in ("log.csv", "log.txt"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


@pytest.fixture
def saved(monkeypatch):
    """The steps at which a checkpoint is saved."""
    steps, save = [], ac.checkpoint.save
    monkeypatch.setattr(
        ac.checkpoint, "save", lambda folder, state, **more: (steps.append(state["step"]), save(folder, state, **more))
    )
    return steps


def test_checkpoints_are_saved_every_so_many_steps_of_an_epoch_and_after_it(tmp_path, saved):
    train(tmp_path / "out", checkpoint_every=3)
    assert saved == [0, 3, 4, 7, 8]


def test_a_checkpoint_is_saved_when_the_last_one_is_old(tmp_path, monkeypatch, saved):
    now = [1000.0]
    monkeypatch.setattr(run_module.time, "monotonic", lambda: now[0])

    def act(run, record):
        now[0] += 40.0  # seconds a step

    train(tmp_path / "out", act=act, checkpoint_minutes=1)
    assert saved == [0, 2, 4, 6, 8]


def test_until_step_saves_and_stops(tmp_path):
    with pytest.raises(ac.Stopped) as stopped:
        train(tmp_path / "out", until_step=6)
    assert stopped.value.exit_status == 0
    assert steps_saved(tmp_path / "out")[-1] == 6
    assert len((tmp_path / "out" / "log.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize("until_step", [4, 6])
def test_a_run_beyond_until_step_does_not_train_on(until_step, tmp_path):
    with pytest.raises(ac.Stopped):
        train(tmp_path, until_step=6)
    before = ac.checkpoint.load(tmp_path / "checkpoints")
    with pytest.raises(ac.Stopped) as stopped:
        train(tmp_path, until_step=until_step, resume=True)
    assert stopped.value.exit_status == 0
    assert differing(before, ac.checkpoint.load(tmp_path / "checkpoints")) == []


def test_a_complete_run_does_not_stop_early(tmp_path):
    train(tmp_path)
    train(tmp_path, until_step=3, resume=True)


def test_a_training_that_cannot_stop_after_each_step_is_refused_before_any_step(tmp_path):
    message = "training must have report_every=1, since a run may stop after each step, got report_every=None"
    with ac.open_run(tmp_path, {}, columns=COLUMNS, progress=False) as run, pytest.raises(ValueError, match=message):
        next(run.steps(ac.train(*make(), epochs=1)))
    assert list(tmp_path.iterdir()) == [tmp_path / "checkpoints"]


def test_a_training_that_starts_anew_in_a_resumed_run_is_refused_and_nothing_is_overwritten(tmp_path):
    train(tmp_path, epochs=1)
    before = files(tmp_path)
    message = r"training must go on from the run's step 4, as by train\(..., resume=run.saved\), got one at step 0"
    with (
        ac.open_run(tmp_path, {"rate": 0.01}, columns=COLUMNS, resume=True, progress=False) as run,
        pytest.raises(ValueError, match=message),
    ):
        next(run.steps(ac.train(*make(), epochs=2, report_every=1)))
    assert files(tmp_path) == before


def test_a_loop_that_was_left_may_be_taken_up_again(tmp_path):
    train(tmp_path, epochs=1)
    with ac.open_run(tmp_path, {"rate": 0.01}, columns=COLUMNS, resume=True, progress=False) as run:
        training = ac.train(*make(), epochs=2, report_every=1, resume=run.saved)
        assert next(run.steps(training)).step == 1
        assert [record.step for record in run.steps(training)] == [2, 3, 4]


def test_a_row_before_the_training_is_refused(tmp_path):
    with (
        ac.open_run(tmp_path, {"rate": 0.01}, columns=COLUMNS, progress=False) as run,
        pytest.raises(RuntimeError, match=r"log must be called after the first record of steps\(training\), got"),
    ):
        run.log({"epoch": 0, "accuracy": 0.5})
    assert run.rows == []


def test_a_caller_that_leaves_the_loop_or_fails_frees_the_folder_and_the_signals(tmp_path):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def act(run, record):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "out", act=act)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert steps_saved(tmp_path / "out") == [0], "the step that failed is not saved"
    train(tmp_path / "out", resume=True)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "kept.txt").write_text("kept")
    with pytest.raises(ValueError, match=r"folder must be empty unless resume is given, got .*, which is not"):
        train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_a_resume_with_other_settings_is_refused_by_name_and_nothing_is_overwritten(tmp_path):
    out = tmp_path / "out"
    train(out, config={"rate": 0.01, "epochs": 2, "sizes": (1, 2)})
    before = files(out)
    with pytest.raises(ValueError, match=r"got others: rate was 0.01, is 0.02, loss was None, is 'mse'$"):
        train(out, config={"rate": 0.02, "epochs": 2, "sizes": [1, 2], "loss": "mse"}, resume=True)
    assert files(out) == before
    train(out, epochs=3, config={"rate": 0.01, "epochs": 3, "sizes": (1, 2)}, resume=True)
    assert json.loads((out / "config.json").read_text())["epochs"] == 3


def test_a_resume_with_another_network_is_refused_and_nothing_is_overwritten(tmp_path):
    out = tmp_path / "out"
    train(out)
    before = files(out)
    with (
        pytest.raises(ValueError, match="resume must be a checkpoint of the same run"),
        ac.open_run(out, {"rate": 0.01}, columns=COLUMNS, resume=True) as run,
    ):
        ac.train(*make(shuffle=False), epochs=2, resume=run.saved)
    assert files(out) == before


def test_a_setting_that_older_runs_did_not_record_has_its_default(tmp_path):
    out = tmp_path / "out"
    train(out, epochs=1, columns=["epoch", "accuracy"])
    config = {"rate": 0.01, "order": "given"}
    with pytest.raises(ValueError, match="order was None, is 'given'"):
        train(out, config=config, resume=True)
    run = train(out, config=config, columns=["order", "epoch", "accuracy"], resume=True, defaults={"order": "given"})
    assert [row["order"] for row in run.rows] == ["given", "given"]


def test_a_default_of_a_setting_that_the_run_does_not_have_is_ignored(tmp_path):
    train(tmp_path, epochs=1)
    train(tmp_path, resume=True, defaults={"order": "given"})


def test_the_command_that_older_runs_recorded_is_ignored(tmp_path):
    out = tmp_path / "out"
    train(out, epochs=1, config={"rate": 0.01, "command": ["a program"]})
    train(out, resume=True)
    assert "command" not in json.loads((out / "config.json").read_text())


def test_a_resume_without_a_setting_of_the_run_is_refused_and_nothing_is_overwritten(tmp_path):
    train(tmp_path, epochs=1, config={"rate": 0.01, "augment": True})
    before = files(tmp_path)
    with pytest.raises(ValueError, match=r"got others: augment was True, is None$"):
        train(tmp_path, config={"rate": 0.01}, resume=True)
    assert files(tmp_path) == before


def test_a_run_with_a_setting_that_is_nan_resumes(tmp_path):
    for resume in (False, True):
        train(tmp_path, epochs=1, config={"rate": 0.01, "floor": math.nan, "bounds": [0.0, math.nan]}, resume=resume)


def test_files_that_are_ahead_of_the_checkpoint_are_cut_back(tmp_path):
    out = tmp_path / "out"
    train(out, checkpoint_every=2)
    before = (out / "log.csv").read_text().splitlines()
    sorted((out / "checkpoints").glob("checkpoint-*.npz"))[-1].unlink()
    with pytest.raises(ac.Stopped):
        train(out, resume=True, until_step=7)
    assert (out / "log.csv").read_text().splitlines() == before[:2]
    assert (out / "log.txt").read_text() == "epoch 0\n"


def test_a_folder_without_a_checkpoint_starts_over(tmp_path):
    (tmp_path / "log.csv").write_text("of a run whose checkpoints are gone")
    assert len(train(tmp_path, resume=True).rows) == 2


def test_one_process_trains_in_a_folder(tmp_path):
    with (
        ac.checkpoint.lock(tmp_path / "out" / "checkpoints"),
        pytest.raises(RuntimeError, match="in use already, by another training process or by this one"),
    ):
        train(tmp_path / "out", resume=True)


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [
        ([0.5, 0.75, 0.25, 0.75, 0.5], 4),  # finished epochs; the later of two equals
        ([math.nan, 0.5, math.nan, 0.25, math.nan], 2),
        ([None, 0.25, 0.5, None, 0.25], 3),
        ([np.float32(0.5), np.float32(0.75), 0.25, 0.25, 0.25], 2),
    ],
)
def test_the_best_epoch_is_kept(accuracies, best, tmp_path):
    given = iter(accuracies)
    with ac.open_run(tmp_path, {}, columns=["epoch", "accuracy"], best="accuracy", progress=False) as run:
        for record in run.steps(ac.train(*make(), epochs=5, report_every=1)):
            if record.epoch_ended:
                run.log({"epoch": record.epoch, "accuracy": next(given)})
    assert ac.checkpoint.load(tmp_path / "checkpoints", best=True)["epoch"] == best


@pytest.mark.parametrize(
    ("row", "text", "message"),
    [
        ({"epoch": 0, "accuracy": (0.5,)}, "", r"state\['rows'\]\[0\]\['accuracy'\] must be .*, got"),
        ({"epoch": np.zeros(2), "accuracy": 0.5}, "", r"state\['rows'\]\[0\]\['epoch'\] must be .*, got"),
        ({"epoch": 0, "accuracy": "high"}, "", r"row\['accuracy'\] must be a number or None .*, got 'high'"),
        ({"epoch": 0, "accuracy": 0.5}, b"text", r"text must be a str, got"),
        ([0, 0.5], "", r"row must be a dict with the columns of the log, got"),
    ],
)
def test_a_row_that_cannot_be_kept_is_refused_and_the_run_goes_on(row, text, message, tmp_path):
    def act(run, record):
        with pytest.raises(TypeError, match=message):
            run.log(row, text)

    assert len(train(tmp_path, epochs=1, act=act, best="accuracy").rows) == 1


def test_the_table_has_the_same_digits_after_a_resume(tmp_path):
    def log(*, resume):
        with ac.open_run(tmp_path, {}, columns=["epoch", "loss"], resume=resume, progress=False) as run:
            for record in run.steps(ac.train(*make(), epochs=1, report_every=1, resume=run.saved)):
                if record.epoch_ended:
                    run.log({"epoch": np.int64(0), "loss": np.float32(0.1)})
        return (tmp_path / "log.csv").read_bytes()

    assert log(resume=False) == log(resume=True)


def test_what_the_caller_keeps_comes_back(tmp_path):
    def act(run, record):
        run.keep("seen", []).append(record.step)

    with pytest.raises(ac.Stopped):
        train(tmp_path, act=act, until_step=2)
    assert ac.checkpoint.load(tmp_path / "checkpoints")["seen"] == [1, 2]
    train(tmp_path, act=act, epochs=1, resume=True)
    assert ac.checkpoint.load(tmp_path / "checkpoints")["seen"] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["epoch", "step", "model", "layers", "history", "learning_rate", "config", "rows"])
def test_a_key_of_the_run_is_no_name_for_what_the_caller_keeps(name, tmp_path):
    with (
        ac.open_run(tmp_path, {}, columns=COLUMNS, progress=False) as run,
        pytest.raises(ValueError, match=f"name must be none of the run's own, epoch, .*, got '{name}'"),
    ):
        run.keep(name, {})


def test_the_names_that_are_refused_are_the_keys_of_a_checkpoint(tmp_path):
    train(tmp_path)
    assert ac.checkpoint.load(tmp_path / "checkpoints").keys() == set(run_module._RESERVED)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (3, None, "name must be a str, got 3"),
        ("seen", {1, 2}, r"state\['seen'\] must be an array .*, got"),
        ("seen", {"all": (1, 2)}, r"state\['seen'\]\['all'\] must be an array .*, got"),
    ],
)
def test_what_no_checkpoint_can_hold_is_refused_before_it_is_kept(name, value, message, tmp_path):
    def act(run, record):
        with pytest.raises(TypeError, match=message):
            run.keep(name, value)

    train(tmp_path, epochs=1, act=act)
    assert steps_saved(tmp_path)[-1] == 4


def test_a_row_has_the_columns_of_the_log(tmp_path):
    message = "row must have the columns rate, epoch, accuracy, got rate, epoch"
    with ac.open_run(tmp_path, {"rate": 1}, columns=COLUMNS, progress=False) as run:
        for _ in run.steps(ac.train(*make(), epochs=1, report_every=1)):
            for row in ({"epoch": 0}, {"epoch": 0, "accuracy": 1.0, "loss": 2.0}):
                with pytest.raises(ValueError, match=message):
                    run.log(row)
    assert run.rows == []


def test_the_bar_shows_the_epoch_and_what_is_printed_stands_above_it(tmp_path, capsys):
    train(tmp_path, epochs=1, act=lambda run, record: run.print(f"step {record.step}"), progress=True)
    printed = capsys.readouterr()
    assert printed.out == "step 1\nstep 2\nstep 3\nstep 4\n"
    assert "epoch 0: 100%" in printed.err
    assert "all epochs in 00:00" in printed.err


def test_without_a_bar_tqdm_and_its_lock_are_not_used(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    train(tmp_path, epochs=1, act=lambda run, record: run.print(f"step {record.step}"), progress=False)
    assert capsys.readouterr().out == "step 1\nstep 2\nstep 3\nstep 4\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint_every": 0}, "checkpoint_every must be a positive int, got 0"),
        ({"checkpoint_minutes": 0}, "checkpoint_minutes must be a positive number, got 0"),
        ({"until_step": 1.5}, "until_step must be a positive int, got 1.5"),
        ({"resume": "yes"}, "resume must be True or False, got 'yes'"),
        ({"progress": None}, "progress must be True or False, got None"),
        ({"folder": 3}, "folder must be a path, got 3"),
        ({"best": "loss"}, "best must be one of 'rate', 'epoch', 'accuracy', got 'loss'"),
        ({"best": 3}, "best must be one of 'rate', 'epoch', 'accuracy', got 3"),
    ],
)
def test_a_bad_argument_is_refused_before_the_folder_is_made(options, message, tmp_path):
    folder = options.pop("folder", tmp_path / "out")
    with pytest.raises((TypeError, ValueError), match=message), ac.open_run(folder, {}, columns=COLUMNS, **options):
        pass
    assert not list(tmp_path.iterdir())


def test_rank_0_alone_writes_and_all_ranks_stop_at_the_same_step(tmp_path, monkeypatch, capsys):
    writers, save = [], ac.checkpoint.save

    def rank(group):
        def act(run, record):
            run.print(f"step {record.step}")
            assert run.is_first == (group.rank == 0)
            if group.rank == 1 and record.step == 3:
                run._stop.number = signal.SIGTERM  # threads get no signals, so the test stands in for one

        steps = []
        monkeypatch.setattr(
            ac.checkpoint, "save", lambda *args, **more: (writers.append(group.rank), save(*args, **more))
        )
        with pytest.raises(ac.Stopped) as stopped:
            train(tmp_path / "out", act=lambda run, record: (steps.append(record.step), act(run, record)))
        return steps, stopped.value.exit_status

    assert on_ranks(2, rank) == [([1, 2, 3], 143)] * 2
    assert capsys.readouterr().out == "step 1\nstep 2\nstep 3\n"
    assert steps_saved(tmp_path / "out") == [0, 3]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["ranks"] == 2
