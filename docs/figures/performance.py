"""Write the tables and the plot of the performance page from the files of `benchmarks/results`.

python docs/figures/performance.py
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from style import BLUE, GREY, INK, ORANGE, save

from allconv.tables import markdown

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
TABLES = ROOT / "docs" / "_static" / "results"
PEERS = ("PyTorch", "channels_last", "compiled", "JAX", "ONNX Runtime")


def steps(file: str = "train_step.json") -> dict[str, dict[str, Any]]:
    """Return what `benchmarks/train_step.py` has written, by network and batch: "LeNet step, 32"."""
    results: dict[str, dict[str, Any]] = json.loads((RESULTS / file).read_text(encoding="utf-8"))["results"]
    return results


def fastest(row: dict[str, Any]) -> float:
    """Return the milliseconds of the fastest peer."""
    return min(time for name, time in row["times"].items() if name != "allconv")


def milliseconds(time: float) -> str:
    """Return a time with as many digits as it deserves."""
    return f"{time:.{2 if time < 1 else 1 if time < 10 else 0}f}"


def step_table(file: str) -> str:
    """Return the times of all libraries in milliseconds, and the fastest peer's time over ours."""
    found = steps(file)
    peers = [peer for peer in PEERS if any(peer in row["times"] for row in found.values())]
    rows = [["network, batch", "allconv", *peers, "fastest peer / allconv"]]
    for name, row in found.items():
        cells = [milliseconds(row["times"][peer]) if peer in row["times"] else "" for peer in ("allconv", *peers)]
        rows.append([name, *cells, f"{row['ratio']:.2f}"])
    return markdown(rows)


def short_table(names: tuple[str, ...]) -> str:
    """Return some rows of the table, with the fastest peer alone."""
    rows = [["network, batch", "allconv, ms", "fastest peer, ms", "ratio"]]
    for name in names:
        row = steps()[name]
        ours, theirs = milliseconds(row["times"]["allconv"]), milliseconds(fastest(row))
        rows.append([name, ours, theirs, f"{row['ratio']:.2f}"])
    return markdown(rows)


def tables() -> dict[str, str]:
    """Return the generated tables by the names of their files."""
    return {
        "steps.md": step_table("train_step.json"),
        "steps_rested.md": step_table("rested/train_step.json"),
        "steps_one_thread.md": step_table("one_thread/train_step.json"),
    }


def note() -> str:
    """Return the ratios that the plot shows; they stand in the picture, so that a stale one is found."""
    return "; ".join(f"{name}: {row['ratio']:.2f}" for name, row in steps().items())


def speed(theme: str) -> Figure:
    """Draw how many times as fast as the fastest peer each step and prediction is."""
    rows = list(reversed(steps().items()))
    figure = Figure(figsize=(6.4, 0.28 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots()
    ratios = [row["ratio"] for _, row in rows]
    axes.barh(
        [name for name, _ in rows], ratios, color=[BLUE if ratio >= 1 else ORANGE for ratio in ratios], height=0.7
    )
    for place, ratio in enumerate(ratios):
        axes.text(ratio + 0.03, place, f"{ratio:.2f}", va="center", fontsize="small", color=INK[theme])
    axes.set_xlim(0, 1.1 * max(ratios))  # room for the last number
    axes.axvline(1, color=GREY, linewidth=1)
    axes.set_xlabel("times as fast as the fastest peer")
    axes.tick_params("y", length=0)
    return figure


if __name__ == "__main__":
    for name, text in tables().items():
        (TABLES / name).write_text(text, encoding="utf-8")
    save("speed", speed, note())
