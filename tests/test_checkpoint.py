import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import faults
from helpers.states import differing

from allconv import checkpoint
from allconv.checkpoint import CheckpointError
from allconv.checkpoint import format as storage
from allconv.checkpoint.atomic import temporary_name


def state(step: int, size: int = 5) -> dict:
    return {"step": step, "model": {"0.weight": np.full(size, step, np.float32)}, "rng": {"state": 2**127 + step}}


def is_state(loaded: dict, step: int) -> bool:
    values = loaded["model"]["0.weight"]
    return loaded == loaded | {"step": step, "rng": {"state": 2**127 + step}} and bool((values == step).all())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# The folder


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_is_loaded_and_so_many_are_kept(tmp_path, keep):
    for step in range(5):
        options = {} if keep == 2 else {"keep": keep}  # 2 is the default
        assert checkpoint.save(tmp_path, state(step), **options) == tmp_path / f"checkpoint-{step:08d}.npz"
        assert is_state(checkpoint.load(tmp_path), step)
    assert names(tmp_path) == [f"checkpoint-0000000{step}.npz" for step in range(5 - keep, 5)]


def test_numbers_beyond_eight_digits_are_ordered_as_numbers(tmp_path):
    for step in (99_999_999, 100_000_000):
        checkpoint.save(tmp_path, state(step))
    assert is_state(checkpoint.load(tmp_path), 100_000_000)


def test_without_a_step_saves_are_counted(tmp_path):
    for value in (1.5, 2.5, 3.5):
        checkpoint.save(tmp_path, {"value": value})
    assert names(tmp_path) == ["checkpoint-00000001.npz", "checkpoint-00000002.npz"]
    assert checkpoint.load(tmp_path) == {"value": 3.5}


def test_what_was_saved_last_is_loaded_also_when_the_step_goes_back_or_stays(tmp_path):
    for step in (5000, 0, 10, 10):
        checkpoint.save(tmp_path, state(step))
        assert is_state(checkpoint.load(tmp_path), step)


def test_exists(tmp_path):
    assert not checkpoint.exists(tmp_path / "missing")
    for other in (
        "x.npz",
        "checkpoint-1.npz",
        "checkpoint-00000001.npz.old",
        temporary_name("checkpoint-00000001.npz"),
    ):
        (tmp_path / other).write_bytes(b"")
    assert not checkpoint.exists(str(tmp_path))
    checkpoint.save(tmp_path, state(0))
    assert checkpoint.exists(tmp_path)
    checkpoint.save(str(tmp_path / "runs" / "d"), state(3))  # a missing folder is made
    assert is_state(checkpoint.load(str(tmp_path / "runs" / "d")), 3)


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    others = ["log.csv", "checkpoint-1.npz", "checkpoint-00000001.npy", temporary_name("x.npz"), "best.npz"]
    for name in others:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / temporary_name("checkpoint-00000007.npz")).write_bytes(b"x")
    for step in range(3):
        checkpoint.save(tmp_path, state(step), keep=1)
    assert names(tmp_path) == sorted([*others, "checkpoint-00000002.npz"])
    assert all((tmp_path / name).read_bytes() == b"x" for name in others)


def test_nothing_to_load(tmp_path):
    with pytest.raises(CheckpointError, match=re.escape(f"folder {tmp_path / 'missing'} is missing")):
        checkpoint.load(tmp_path / "missing")
    with pytest.raises(CheckpointError, match=re.escape(f"folder {tmp_path} holds no checkpoint")):
        checkpoint.load(tmp_path)


def test_a_damaged_newest_file_is_named_and_the_one_before_is_loaded(tmp_path):
    checkpoint.save(tmp_path, state(1))
    damage(checkpoint.save(tmp_path, state(2)))
    with pytest.warns(RuntimeWarning, match=r"loaded .*checkpoint-00000001.npz, since .*checkpoint-00000002.npz: "):
        assert is_state(checkpoint.load(tmp_path), 1)
    # The run goes on from step 1: what it saves comes after the damaged file.
    checkpoint.save(tmp_path, state(2))
    assert is_state(checkpoint.load(tmp_path), 2)


def test_damaged_and_stray_files_do_not_count_as_kept(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, state(step), keep=9)
    damage(tmp_path / "checkpoint-00000003.npz")
    (tmp_path / "checkpoint-00000004.npz").mkdir()
    (tmp_path / "checkpoint-00000005.npz").write_bytes(b"")
    checkpoint.save(tmp_path, state(6))
    assert names(tmp_path) == [f"checkpoint-0000000{step}.npz" for step in (2, 3, 4, 5, 6)]
    damage(tmp_path / "checkpoint-00000006.npz")
    with pytest.warns(RuntimeWarning, match="loaded .*checkpoint-00000002.npz"):
        assert is_state(checkpoint.load(tmp_path), 2)
    for step in (7, 8):  # with two whole ones above them, what is damaged goes; a folder is not ours to remove
        checkpoint.save(tmp_path, state(step))
    assert names(tmp_path) == [f"checkpoint-0000000{step}.npz" for step in (4, 7, 8)]


def test_a_save_reads_one_checkpoint_whatever_the_number_that_is_kept(tmp_path, monkeypatch):
    read = []
    is_whole = storage.is_whole
    monkeypatch.setattr(storage, "is_whole", lambda path: read.append(path.name) or is_whole(path))
    for step in range(9):
        checkpoint.save(tmp_path, state(step), keep=4)
    assert sorted(read) == [f"checkpoint-0000000{step}.npz" for step in range(1, 8)]
    assert names(tmp_path) == [f"checkpoint-0000000{step}.npz" for step in range(5, 9)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has none")
def test_a_fifo_in_the_folder_is_passed_over(tmp_path):
    checkpoint.save(tmp_path, state(1))
    os.mkfifo(tmp_path / "checkpoint-00000002.npz")
    with pytest.warns(RuntimeWarning, match="00000002.npz: is a device or a FIFO"):
        assert is_state(checkpoint.load(tmp_path), 1)
    checkpoint.save(tmp_path, state(3), keep=1)
    assert names(tmp_path) == ["checkpoint-00000002.npz", "checkpoint-00000003.npz"]


def test_a_checkpoints_own_file_is_loaded(tmp_path):
    first = checkpoint.save(tmp_path, state(1))
    checkpoint.save(tmp_path, state(2))
    assert is_state(checkpoint.load(first), 1)
    assert is_state(checkpoint.load(str(first)), 1)
    damage(first)
    with pytest.raises(CheckpointError, match="checkpoint-00000001.npz: "):
        checkpoint.load(first)


def test_only_damaged_files(tmp_path):
    for step in (1, 2):
        damage(checkpoint.save(tmp_path, state(step)))
    pattern = "holds no checkpoint that is whole: .*checkpoint-00000002.npz: .*checkpoint-00000001.npz: "
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path)) + " " + pattern):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, {}), TypeError, "folder must be a path, got None"),
        (("", {}), ValueError, "folder must be a path that the file system can have, got ''"),
        (("x", None), TypeError, "state must be a dict, got None"),
        (("x", {"step": -1}), ValueError, r'state\["step"\] must be a non-negative int, got -1'),
        (("x", {"step": 1.5}), TypeError, r'state\["step"\] must be a non-negative int, got 1.5'),
        (("x", {"a": (1,)}), TypeError, r"state\['a'\] must be"),
    ],
)
def test_bad_arguments(tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        checkpoint.save(*arguments)
    assert list(tmp_path.rglob("*.npz")) == []


@pytest.mark.parametrize("call", [checkpoint.exists, checkpoint.load, storage.read])
def test_an_empty_path_is_no_folder(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="must be a path that the file system can have, got ''"):
        call("")
    assert names(tmp_path) == []
    checkpoint.save(Path(), state(1))  # pathlib's name of the current folder
    assert checkpoint.exists(Path())


@pytest.mark.parametrize("keep", [0, 1.5, True, None])
def test_keep_is_a_positive_int(tmp_path, keep):
    with pytest.raises((TypeError, ValueError), match="keep must be a positive int, got"):
        checkpoint.save(tmp_path / "y", {}, keep=keep)
    assert not (tmp_path / "y").exists()


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(FileExistsError) as caught:
        checkpoint.save(tmp_path / "f", state(1))
    assert caught.value.filename == str(tmp_path / "f")
    assert not checkpoint.exists(tmp_path / "f")
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "f")


def test_the_best_is_kept_beside_the_newest(tmp_path):
    with pytest.raises(CheckpointError, match="holds no best checkpoint"):
        checkpoint.load(tmp_path, best=True)
    for step in range(6):
        checkpoint.save(tmp_path, {"step": step}, best=step == 1)
    assert [checkpoint.load(tmp_path, best=best) for best in (True, False)] == [{"step": 1}, {"step": 5}]
    with pytest.raises(TypeError, match="best must be True or False, got 1"):
        checkpoint.save(tmp_path, {"step": 7}, best=1)


# The lock


HOLD = "import sys, allconv as ac\nwith ac.checkpoint.lock(sys.argv[1]):\n    print('held', flush=True)\n    input()"


def test_a_second_trainer_is_refused_until_the_first_is_gone(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with (
        pytest.raises(RuntimeError, match="in use already, by another training process or by"),
        checkpoint.lock(tmp_path),
    ):
        pass
    process.kill()
    process.communicate()
    with checkpoint.lock(tmp_path):
        pass


def test_a_second_lock_in_one_process_is_refused_too(tmp_path):
    with (
        checkpoint.lock(tmp_path),
        pytest.raises(RuntimeError, match="is in use already, by another training process or by this one"),
        checkpoint.lock(tmp_path),
    ):
        pass


# Faults in the I/O of a save


@pytest.fixture
def prepared(tmp_path):
    """Return a function that makes a folder with checkpoints 1 and 2, and what a killed save left."""
    template = tmp_path / "template"
    for step in (1, 2):
        checkpoint.save(template, state(step))
    (template / temporary_name("checkpoint-00000003.npz")).write_bytes(b"half")
    folder = tmp_path / "run"

    def prepare() -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        return shutil.copytree(template, folder)

    return prepare


@pytest.fixture
def calls(prepared) -> list[str]:
    """The names of the I/O calls of the save that follows."""
    calls: list[str] = []
    with faults.io_calls(folder := prepared(), faults.record(calls)):
        checkpoint.save(folder, state(3))
    return calls


def test_the_calls_of_a_save_come_in_the_order_that_survives_a_power_cut(calls):
    last_write = len(calls) - 1 - calls[::-1].index("write")
    # file: write, fsync, close, rename; folder: open, fsync, close; only then the oldest checkpoint goes
    tail = ["write", "fsync", "close", "replace", "open", "fsync", "close", "unlink"]
    assert calls[last_write:] == tail
    assert calls.count("unlink") == 2  # what the killed save left, before; checkpoint 1, at the end


@pytest.mark.filterwarnings("ignore:.*could not be removed:RuntimeWarning")
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_a_fault_at_any_call_is_one_error_and_loses_nothing(prepared, calls, for_good):
    saved = 0
    assert len(calls) > 15
    for at, error in itertools.product(range(len(calls)), faults.errors()):
        folder, raised = prepared(), None
        try:
            with faults.io_calls(folder, faults.fault(at, error, for_good=for_good)):
                checkpoint.save(folder, state(3))
        except OSError as caught:
            raised = caught
        loaded = checkpoint.load(folder)
        new = folder / "checkpoint-00000003.npz"
        assert is_state(loaded, 3 if new.exists() else 2)
        if raised is None:
            saved += 1
            assert is_state(loaded, 3)
        else:
            assert raised.filename in (str(folder), str(new))
            assert raised.filename in str(raised)
            assert isinstance(error, MemoryError) or raised.errno == error.errno
        checkpoint.save(folder, state(4))
        assert is_state(checkpoint.load(folder), 4)
        assert len(names(folder)) == 2
    # Only that a file which is no longer needed stays is no failed save: the killed one's, and checkpoint 1.
    assert saved == len(faults.errors()) * (1 if for_good else 2)


def test_short_writes_are_completed_or_raise(prepared, calls):
    for at in [number for number, name in enumerate(calls) if name == "write"]:
        folder = prepared()
        with faults.io_calls(folder, faults.short_write(at)):
            checkpoint.save(folder, state(3))
        assert is_state(checkpoint.load(folder), 3)
        folder, full = prepared(), OSError(28, "No space left on device")
        with (
            faults.io_calls(folder, faults.short_write(at, full)),
            pytest.raises(OSError, match=r"No space left.*checkpoint-00000003\.npz"),
        ):
            checkpoint.save(folder, state(3))
        assert names(folder) == ["checkpoint-00000001.npz", "checkpoint-00000002.npz"]
        assert is_state(checkpoint.load(folder), 2)


def test_what_cannot_be_removed_is_a_warning_that_names_it(prepared, calls):
    with (
        faults.io_calls(folder := prepared(), faults.fault(len(calls) - 1, PermissionError(13, "Permission denied"))),
        pytest.warns(RuntimeWarning, match=r"checkpoint-00000001\.npz is no longer needed, .*Permission denied"),
    ):
        checkpoint.save(folder, state(3))


def test_a_folder_without_fsync_is_passed_over(prepared, calls):
    at = len(calls) - 1 - calls[::-1].index("fsync")
    with faults.io_calls(folder := prepared(), faults.fault(at, OSError(22, "Invalid argument"))):
        checkpoint.save(folder, state(3))
    assert is_state(checkpoint.load(folder), 3)


# Kills


@pytest.mark.scripts
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_training_run_killed_before_each_call_of_a_save_goes_on_with_the_same_bits(tmp_path):
    program = Path(__file__).parent / "helpers" / "kill_program.py"
    paths = [str(Path(checkpoint.__file__).parents[2]), str(Path(__file__).parent)]
    # One thread of BLAS: the second one that pytest takes would not live on in a forked process.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-W", "error", program, tmp_path]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    calls, kills, wrong = done.stdout.split(maxsplit=2)
    assert int(calls) > 15
    assert int(kills) == int(calls) + 1
    assert json.loads(wrong) == []


def test_the_comparison_of_two_runs_sees_one_bit():
    first, second = (
        {"model": {"0.weight": np.ones(3)}, "rows": [{"loss": 0.5, "seconds": 1.0}], "step": 3} for _ in range(2)
    )
    second["rows"][0]["seconds"] = 2.0
    assert differing(first, second) == []
    second["model"]["0.weight"][1] = np.nextafter(1.0, 2.0)
    second["rows"][0]["loss"] = np.nextafter(0.5, 1.0).item()
    second["step"] = 3.0
    assert differing(first, second) == ["/model/0.weight", "/rows/0/loss", "/step"]
