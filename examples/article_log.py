"""The outputs of the published experiment: its log block, its plots, and the table of its results."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import allconv as ac

COLUMNS = {
    "case": str,
    "order": str,
    "backward": str,
    "seed": int,
    "epoch": int,
    "learning_rate": float,
    "dilated_rate": float,
    "train_accuracy": float,
    "test_accuracy": float,
    "train_cost": float,
    "test_cost": float,
    "seconds": float,
}
Row = dict[str, Any]  # One epoch of one case, with the keys of COLUMNS; dilated_rate is None without shortcuts.


def published(case: str) -> list[Row]:
    """Return the published curve of a case, one row an epoch."""
    with Path(__file__).with_name("published_curves.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["case"] == case]
    return [{name: COLUMNS[name](text) for name, text in row.items()} for row in rows]


def log_block(row: Row, base_rate: float, last_batch: ac.Evaluation, starts: int) -> str:
    """Return what the article prints after an epoch.

    Parameters
    ----------
    row : dict
        The epoch in the log.
    base_rate : float
        The learning rate without the factor of cases a and e.
    last_batch : Evaluation
        The results of the last batch of test images.
    starts : int
        The number of test images before that batch.
    """
    lines = [
        f"epoch {row['epoch']}  batch {starts}  cost {last_batch.loss:.4f}  accuracy {last_batch.accuracy:.4f}",
        f"Learning Rate: {base_rate:.8f}",
    ]
    if row["dilated_rate"] is not None:
        lines.append(f"Dilated Rate: {row['dilated_rate']:.8f}")
    lines += [
        f"Train: cost {row['train_cost']:.4f}  accuracy {row['train_accuracy']:.5f}",
        f"Test:  cost {row['test_cost']:.4f}  accuracy {row['test_accuracy']:.4f}",
        "-" * 40,
    ]
    return "\n".join(lines) + "\n"


def write_plots(folder: Path, rows: Sequence[Row]) -> None:
    """Draw the article's two plots, and the run's curves over the published ones.

    Raises
    ------
    ImportError
        Without matplotlib; the extra `plot` brings it.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    def save(figure: Figure, name: str) -> None:
        with ac.checkpoint.atomic_write(folder / name) as file:
            figure.savefig(file, format="png", dpi=120)

    folder.mkdir(exist_ok=True)
    epochs = [row["epoch"] for row in rows]
    for part in ("train", "test"):
        figure = Figure(figsize=(5, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(epochs, [row[f"{part}_accuracy"] for row in rows], "r.-", label="acc ovt")
        axes.plot(epochs, rescaled([row[f"{part}_cost"] for row in rows]), "g.-", label="cost ovt")
        axes.set(title=f"{part.title()} Average Accuracy / Cost Over Time", xlabel="epoch", ylim=(-0.02, 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        save(figure, f"{part}.png")

    case = rows[0]["case"]
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, measure in zip(figure.subplots(1, 2), ("accuracy", "cost"), strict=True):
        for part, colour in (("train", "tab:blue"), ("test", "tab:orange")):
            values = f"{part}_{measure}"
            curve = [row[values] for row in published(case)]  # from epoch 0 on
            axes.plot(curve, color=colour, alpha=0.4, linewidth=4, label=f"{part}, published")
            axes.plot(epochs, [row[values] for row in rows], ".-", color=colour, label=f"{part}, this run")
        axes.set(title=f"Case {case}: {measure}", xlabel="epoch", xticks=range(0, 21, 5))
        axes.legend()
    save(figure, "published.png")


def rescaled(values: Sequence[float]) -> list[float]:
    """Return the values mapped linearly to 0..1; a constant curve is drawn at 0."""
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.0 for value in values]


def result_table(logs: dict[str, list[Row]]) -> str:
    """Return the cases' test accuracies beside the published ones, at the same epoch and at the best."""
    head = ("case", "epochs", "test accuracy", "published", "difference", "best", "published best of 21")
    lines = ["  ".join(head)]
    for case, rows in logs.items():
        curve, last = published(case), rows[-1]
        there = curve[min(last["epoch"], len(curve) - 1)]["test_accuracy"]
        cells = (
            case,
            str(len(rows)),
            f"{last['test_accuracy']:.4f}",
            f"{there:.4f}",
            f"{last['test_accuracy'] - there:+.4f}",
            f"{max(row['test_accuracy'] for row in rows):.4f}",
            f"{max(row['test_accuracy'] for row in curve):.4f}",
        )
        lines.append("  ".join(cell.rjust(len(title)) for cell, title in zip(cells, head, strict=True)))
    return "\n".join(lines) + "\n"
