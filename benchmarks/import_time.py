"""Measure how long `import allconv` takes in a fresh process.

    python benchmarks/import_time.py

Each process times its import statement alone. The time is the median over 5 processes, after one that warms the disk's
cache and compiles the modules to bytecode, as an installation does. NumPy is measured in the same way, because it takes
a large part of the time. The target is 0.3 s.
"""

import os
import statistics
import subprocess
import sys

MEASURE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def import_seconds(module: str, processes: int = 5) -> float:
    """Return the median seconds of ``import module`` over `processes` fresh processes, after a first, cold one."""
    command = [sys.executable, "-c", MEASURE.format(module)]
    times = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(processes + 1)
    ]
    return statistics.median(times[1:])


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # Without bytecode, each process would compile all modules.
    for name in ("numpy", "allconv"):
        print(f"import {name}: {import_seconds(name):.3f} s (median of 5 warm processes)")
