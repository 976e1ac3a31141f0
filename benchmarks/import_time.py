"""How long `import allconv` takes in a fresh process.

    python benchmarks/import_time.py

Prints the median of 5 processes after one that warms the disk's cache: of the import statement alone, as that process
measures it, and of the same for NumPy, which is most of it. The target is 0.3 s.
"""

import statistics
import subprocess
import sys

MEASURE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def import_seconds(module: str, processes: int = 5) -> float:
    """Return the median time of ``import module`` over `processes` fresh ones, the first, cold one left out."""
    command = [sys.executable, "-c", MEASURE.format(module)]
    times = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(processes + 1)
    ]
    return statistics.median(times[1:])


if __name__ == "__main__":
    for name in ("numpy", "allconv"):
        print(f"import {name}: {import_seconds(name):.3f} s (median of 5 warm processes)")
