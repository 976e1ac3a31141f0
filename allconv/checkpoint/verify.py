"""The proof, on the user's own machine, that a run goes on from its checkpoints with the same bits."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from allconv.checkpoint import format as storage
from allconv.checkpoint.folder import files, load
from allconv.validation import check_int, check_path

_CLOCK = ("seconds", "made_with", "config")  # what two runs with the same bits may differ in


@dataclass(frozen=True)
class Report:
    """What `verify` found: from which step to which, and where the two states differ."""

    first: int
    last: int
    kills: int
    values: int
    nbytes: int
    differing: list[str]

    @property
    def same(self) -> bool:
        """Whether all bits are the same."""
        return not self.differing

    def __str__(self) -> str:
        text = (
            f"trained again from step {self.first} to step {self.last}, killed {self.kills} times on the way: "
            f"{self.values} arrays and values, {self.nbytes:,} bytes, "
        )
        return text + ("the same bits" if self.same else f"other bits in {', '.join(self.differing)}")


def verify(run: str | Path, *, kills: int = 3) -> Report:
    """Train again from the run's last checkpoint but one to its last, and compare the two states bit by bit.

    That happens in a copy, in a process that is killed (SIGKILL) at random moments and resumed. All of the state
    counts: parameters, optimizer, generators, running sums, history and log, without the seconds that they took.

    Parameters
    ----------
    run : path
        A folder with ``checkpoints`` (two at least) and ``config.json``. That one's ``command``, a list of str, is the
        program and the arguments that started the run, without Python itself. It is run with ``--resume``, ``--out
        COPY``, ``--checkpoint-every N`` and ``--until-step N`` behind them, the last of which ends it after the
        checkpoint of that step, counted over all epochs.
    kills : int, default 3
        At least 0.

    Returns
    -------
    Report
        Its ``same`` tells whether all bits are the same.

    Raises
    ------
    ValueError
        The folder holds no such run, or one that another user owns: its command is not ours to run.
    RuntimeError
        The program failed.
    """
    run, kills = check_path("run", run), check_int("kills", kills, minimum=0)
    command = _command(run)
    checkpoints = [path for _, path in files(run / "checkpoints")]
    if len(checkpoints) < 2:
        raise ValueError(f"run must be a folder with two checkpoints, got {run} with {len(checkpoints)}")
    newest, older = (storage.read(path) for path in checkpoints[:2])
    first, last = older["step"], newest["step"]
    if not first < last:
        raise ValueError(f"run must have gone on between its last two checkpoints, got steps {first} and {last}")
    with tempfile.TemporaryDirectory(prefix="allconv-verify-") as folder:
        copy = Path(folder, "run")
        (copy / "checkpoints").mkdir(parents=True)
        shutil.copy(run / "config.json", copy)
        shutil.copy(checkpoints[1], copy / "checkpoints")
        every = max(1, (last - first) // (kills + 1))
        arguments = ["--resume", "--out", str(copy), "--checkpoint-every", str(every), "--until-step", str(last)]
        killed = _train([sys.executable, *command, *arguments], copy / "checkpoints", kills)
        again = load(copy / "checkpoints")
    pairs = list(_pairs(newest, again, "state"))
    return Report(
        first,
        last,
        killed,
        len(pairs),
        sum(np.asarray(a).nbytes for _, a, _ in pairs if a is not None),
        differing(newest, again),
    )


def differing(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Return the paths at which two states of a run have other bits, what the clock makes them left aside."""
    return [path for path, a, b in _pairs(first, second, "state") if not _same(a, b)]


def _command(run: Path) -> list[str]:
    path = run / "config.json"
    try:
        if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
            raise ValueError(f"run must be a folder of your own, since its command is run, got {path} of another user")
        command = json.loads(path.read_text()).get("command")
    except (OSError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"run must be a folder with a config.json, got {run}: {error}") from error
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise ValueError(f"the command of {path} must be a non-empty list of str, got {command!r}")
    if not Path(command[0]).is_file():
        raise ValueError(f"the command of {path} must begin with a program that is there, got {command[0]!r}")
    return command


def _train(command: list[str], checkpoints: Path, kills: int) -> int:
    """Run `command` to its end, killed `kills` times at most; return how often it was killed.

    Each time that is at a random moment between two checkpoints, so that the resumed process gets further.
    """
    moments, killed = np.random.default_rng(0), 0
    with tempfile.TemporaryFile() as output:
        while True:
            process = subprocess.Popen(  # noqa: S603 - the user's own command, as `_command` made sure
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
            try:
                if killed < kills and _gets_further(process, checkpoints):
                    time.sleep(moments.random() * 0.5)
                    process.kill()
                    killed += process.wait() != 0
                    continue
                status = process.wait()
            finally:
                process.kill()
                process.wait()
            if status != 0:
                output.seek(0)
                tail = output.read()[-2000:].decode(errors="replace")
                raise RuntimeError(f"the run's command {' '.join(command)} ended with status {status}:\n{tail}")
            return killed


def _gets_further(process: "subprocess.Popen[bytes]", checkpoints: Path) -> bool:
    """Wait for a new checkpoint; False if the process ends before it makes one."""
    newest = files(checkpoints)[0]
    while process.poll() is None:
        if files(checkpoints)[:1] != [newest]:
            return True
        time.sleep(0.02)
    return False


def _pairs(a: Any, b: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, value, value) for what two states hold, nested as they are."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a | b:
            if key not in _CLOCK:
                yield from _pairs(a.get(key), b.get(key), f"{path}/{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for number, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _pairs(one, other, f"{path}/{number}")
    else:
        yield path, a, b


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and repr(a) == repr(b)  # a NaN equals itself here
