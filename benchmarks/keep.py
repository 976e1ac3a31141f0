"""Run benchmarks, and keep what they print in `benchmarks/results`, which the documentation shows.

    python benchmarks/keep.py memory import_time ranks overhead profile_step deploy onnx_models
    python benchmarks/keep.py onnx_models -- --threads 1

What stands after ``--`` goes to the benchmarks. The first line of a file is the command.
"""

import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def keep(name: str, options: list[str]) -> None:
    """Run a benchmark, print what it prints, and write that to its file."""
    command = ["python", f"benchmarks/{name}.py", *options]
    result = subprocess.run(
        [sys.executable, HERE / f"{name}.py", *options], stdout=subprocess.PIPE, text=True, check=True
    )
    text = f"$ {shlex.join(command)}\n{result.stdout}"
    print(text, flush=True)
    (HERE / "results" / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    for benchmark in sys.argv[1:split]:
        keep(benchmark, sys.argv[split + 1 :])
