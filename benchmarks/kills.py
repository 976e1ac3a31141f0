"""Kill training runs at random moments until they are done: what is lost, and do the bits differ?

    python benchmarks/kills.py [--kills 200] [--out FOLDER]

The run is case d of the experiment on 500 drawn images, two epochs, with a checkpoint every 2 steps. It is run once
without a kill. Then it is started, killed (SIGKILL) at a random moment, resumed, and so on until it is done, again and
again until that many kills were made. After each kill the newest checkpoint is loaded and the log is read; at the end
of each run its state is compared with the uninterrupted one's, bit by bit, but for the seconds.
"""

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import allconv as ac
from allconv.checkpoint.verify import differing

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "cifar10_allcnn.py"
OPTIONS = ("--case", "d", "--data", "shapes", "--limit", "500", "--epochs", "2", "--checkpoint-every", "2")


def start(out: Path) -> "subprocess.Popen[bytes]":
    """Start or resume the run in `out`."""
    command = [sys.executable, str(EXAMPLE), *OPTIONS, "--resume", "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def log_rows(out: Path) -> list[dict[str, Any]]:
    """Return the rows of the log, none if there is no log yet."""
    path = out / "log.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--out", type=Path, help="folder for the runs (default: a temporary one)")
    arguments = parser.parse_args()
    moments = np.random.default_rng(0)
    counts = dict.fromkeys(("kills", "runs", "checkpoints lost", "runs with other bits", "log rows repeated"), 0)
    counts |= dict.fromkeys(("newest file damaged", "stray files after a run"), 0)
    with tempfile.TemporaryDirectory(dir=arguments.out) as folder:
        whole, out = Path(folder, "whole"), Path(folder, "killed")
        begun = time.perf_counter()
        if start(whole).wait() != 0:
            sys.exit("the run itself failed")
        seconds = time.perf_counter() - begun
        wanted = ac.checkpoint.load(whole / "checkpoints")
        while counts["kills"] < arguments.kills:
            shutil.rmtree(out, ignore_errors=True)
            step = 0
            while True:
                process = start(out)
                try:
                    if (status := process.wait(moments.uniform(0.2, max(seconds / 3, 1.0)))) != 0:
                        sys.exit(f"a resumed run ended with status {status}")
                    break
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                counts["kills"] += 1
                if ac.checkpoint.exists(out / "checkpoints"):
                    with warnings.catch_warnings(record=True) as caught:
                        state = ac.checkpoint.load(out / "checkpoints")
                    counts["newest file damaged"] += len(caught)
                    counts["checkpoints lost"] += state["step"] < step
                    step = state["step"]
                else:
                    counts["checkpoints lost"] += step > 0
                epochs = [row["epoch"] for row in log_rows(out)]
                counts["log rows repeated"] += len(epochs) - len(set(epochs))
            counts["runs"] += 1
            found = ac.checkpoint.load(out / "checkpoints")
            rows = [
                [{key: value for key, value in row.items() if key != "seconds"} for row in log_rows(each)]
                for each in (whole, out)
            ]
            counts["runs with other bits"] += bool(differing(wanted, found)) or rows[0] != rows[1]
            counts["stray files after a run"] += len(list(out.rglob("*.tmp")))
            print(counts, flush=True)
    print("\n".join(f"| {name} | {count} |" for name, count in counts.items()))


if __name__ == "__main__":
    main()
