"""Kill training runs at random moments until they are done. What is lost, and do the bits differ?

    python experiments/kills.py [--kills 200] [--out FOLDER]

The run is case d of the experiment on 500 drawn images, two epochs, with a checkpoint every 2 steps. It is made once
without a kill. Then it is started, killed (SIGKILL) at a random moment, resumed, killed again, and so on until it is
done. Such runs follow each other until the given number of kills is reached. After each kill the newest checkpoint is
loaded and the log is read. At the end of each run its state is compared with that of the run without a kill, bit by
bit, the seconds left out.
"""

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import allconv as ac

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "cifar10_allcnn.py"
OPTIONS = ("--case", "d", "--data", "shapes", "--limit", "500", "--epochs", "2", "--checkpoint-every", "2")
COUNTED = ["kills", "runs", "checkpoints lost", "newest file damaged", "runs with other bits", "log rows repeated"]
COUNTED += ["stray files after a run"]
NOT_COMPARED = ("seconds", "made_with", "config")  # Two runs with the same bits may differ in these.


def start(out: Path) -> "subprocess.Popen[bytes]":
    """Start or resume the run in `out`."""
    command = [sys.executable, str(EXAMPLE), *OPTIONS, "--resume", "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def log_rows(out: Path) -> list[dict[str, Any]]:
    """Return the rows of the log; none if there is no log yet."""
    path = out / "log.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def same_bits(a: Any, b: Any) -> bool:
    """Return whether two states of a run are equal bit by bit, but for what the clock and the folder change."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(key in NOT_COMPARED or same_bits(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_bits, a, b))
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    return repr(a) == repr(b)  # This holds for two NaN, too.


def look_after_a_kill(out: Path, step: int, counts: Counter[str]) -> int:
    """Count what is wrong with the run's folder; return the step of the newest checkpoint."""
    epochs = [row["epoch"] for row in log_rows(out)]
    counts["log rows repeated"] += len(epochs) - len(set(epochs))
    if not ac.checkpoint.exists(out / "checkpoints"):
        counts["checkpoints lost"] += step > 0
        return step
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # Loading warns when it has to take the checkpoint before the newest one.
        newest = int(ac.checkpoint.load(out / "checkpoints")["step"])
    counts["newest file damaged"] += len(caught)
    counts["checkpoints lost"] += newest < step
    return newest


def killed_run(out: Path, longest: float, moments: np.random.Generator, counts: Counter[str]) -> None:
    """Start a run in `out`, and kill and resume it until it is done; no process lives longer than `longest` seconds."""
    step = 0
    while True:
        process = start(out)
        try:
            status = process.wait(moments.uniform(0.2, longest))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            counts["kills"] += 1
            step = look_after_a_kill(out, step, counts)
            continue
        if status != 0:
            sys.exit(f"a resumed run ended with status {status}")
        return


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--out", type=Path, help="folder for the runs (default: a temporary one)")
    arguments = parser.parse_args()
    moments, counts = np.random.default_rng(0), Counter(dict.fromkeys(COUNTED, 0))
    with tempfile.TemporaryDirectory(dir=arguments.out) as folder:
        whole, out = Path(folder, "whole"), Path(folder, "killed")
        begun = time.perf_counter()
        if start(whole).wait() != 0:
            sys.exit("the run itself failed")
        longest = max((time.perf_counter() - begun) / 3, 1.0)
        expected = ac.checkpoint.load(whole / "checkpoints"), log_rows(whole)
        while counts["kills"] < arguments.kills:
            shutil.rmtree(out, ignore_errors=True)
            killed_run(out, longest, moments, counts)
            counts["runs"] += 1
            found = ac.checkpoint.load(out / "checkpoints"), log_rows(out)
            counts["runs with other bits"] += not same_bits(expected, found)
            counts["stray files after a run"] += len(list(out.rglob("*.tmp")))
            print(dict(counts), flush=True)
    print("\n".join(f"| {name} | {count} |" for name, count in counts.items()))


if __name__ == "__main__":
    main()
