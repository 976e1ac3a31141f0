"""The runs of the eight cases and the published curves, read from their files and checked."""

import csv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EPOCHS_FILE = Path(__file__).with_name("epochs.csv")
PUBLISHED_FILE = ROOT / "examples" / "published_curves.csv"

COLUMNS = ["case", "order", "backward", "seed", "epoch", "learning_rate", "dilated_rate"]
COLUMNS += ["train_accuracy", "test_accuracy", "train_cost", "test_cost", "seconds"]
CASES = {
    "a": "ConvPool, momentum",
    "b": "ConvPool, Adam",
    "c": "ConvPool, AMSGrad",
    "d": "ConvPool, AMSGrad, dilated",
    "e": "All-CNN, momentum",
    "f": "All-CNN, Adam",
    "g": "All-CNN, AMSGrad",
    "h": "All-CNN, AMSGrad, dilated",
}
EPOCHS = 21  # The number of epochs of a published run.
SEED = 678
PASSES = ("gradient", "published")
HAND_WRITTEN = "cdgh"  # The published backward pass of these cases was written by hand.
# The main run of a case goes back as the published code did. The code of d is not public, so its main run takes the
# gradient.
MAIN = {case: "published" if case in "cgh" else "gradient" for case in CASES}


@dataclass(frozen=True)
class Epoch:
    """What one epoch of a run came to."""

    train_accuracy: float
    test_accuracy: float
    train_cost: float
    test_cost: float


Curve = list[Epoch]  # The index is the epoch.
Run = tuple[str, str, int]  # A run is named by its case, backward pass and seed.


def published_curves() -> dict[str, Curve]:
    """Return the published curve of each case."""
    curves: dict[str, Curve] = {case: [] for case in CASES}
    with PUBLISHED_FILE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            curves[row["case"]].append(measures(row))
    return curves


def measures(row: dict[str, str]) -> Epoch:
    """Return the four numbers of a row; an accuracy outside 0 to 1 is refused."""
    epoch = Epoch(*(float(row[name]) for name in Epoch.__dataclass_fields__))
    if not (0 <= epoch.train_accuracy <= 1 and 0 <= epoch.test_accuracy <= 1):
        raise ValueError(f"accuracies must lie between 0 and 1, got {row}")
    return epoch


def runs(path: Path = EPOCHS_FILE) -> dict[Run, Curve]:
    """Return the runs in the published order of the images.

    Raises
    ------
    ValueError
        The file has other columns, or a row that no run of the experiment writes; or a run has an epoch twice, or lacks
        an epoch before its last.
    """
    found: dict[tuple[str, Run], dict[int, Epoch]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != COLUMNS:
            raise ValueError(f"{path.name} must have the columns {','.join(COLUMNS)}, got {reader.fieldnames}")
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"{path.name} must have a value for each column, got {row}")
            backward, epoch = row["backward"], int(row["epoch"])
            allowed = PASSES if row["case"] in HAND_WRITTEN else PASSES[:1]
            if row["case"] not in CASES or backward not in allowed or not 0 <= epoch < EPOCHS:
                raise ValueError(f"{path.name} must hold epochs 0 to 20 of cases a to h, each by its pass, got {row}")
            run = row["case"], backward, int(row["seed"])
            epochs = found.setdefault((row["order"], run), {})
            if epoch in epochs:
                raise ValueError(f"{path.name} must have each epoch of a run once, got a second row {row}")
            epochs[epoch] = measures(row)
    for (order, run), epochs in found.items():
        if sorted(epochs) != list(range(len(epochs))):
            raise ValueError(f"{path.name} must have a run's epochs from 0 on, got {sorted(epochs)} of {run}, {order}")
    in_order = {run: epochs for (order, run), epochs in found.items() if order == "published"}
    return {run: [epochs[k] for k in range(len(epochs))] for run, epochs in in_order.items()}


def main_runs(found: dict[Run, Curve]) -> dict[str, Curve]:
    """Return each case's main run, empty where there is none."""
    return {case: found.get((case, MAIN[case], SEED), []) for case in CASES}
