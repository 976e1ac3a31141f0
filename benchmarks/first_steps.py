"""What does a change cost or gain? The first steps of a case as it is, or with one of the changes of `variants.py`.

    pip install pillow
    python benchmarks/first_steps.py --change none --case h --data PATH [--steps 1000] [--seed 678]
    python benchmarks/first_steps.py --change encoded-again --case h --data PATH

Runs that differ in the change alone share weights, order and augmentation. Each puts its row into
benchmarks/results/first_steps.csv, of which `experiment_report.py` makes a table.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from short_run import short_run
from variants import CHANGES, changed_backward, changed_images

import allconv as ac

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from cifar10_allcnn import build

RESULT = Path(__file__).resolve().parent / "results" / "first_steps.csv"
KEY = ("case", "seed", "steps", "change")


def keep(row: dict[str, str]) -> None:
    """Put the row into the file, in the place of one with the same key."""
    with RESULT.open(newline="", encoding="utf-8") as file:
        rows = {tuple(old[name] for name in KEY): old for old in csv.DictReader(file)}
    rows[tuple(row[name] for name in KEY)] = row
    with RESULT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())


def main() -> None:
    """Train, and keep what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--change", required=True, choices=["none", *CHANGES])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--case", choices=list("abcdefgh"), default="h")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=678)
    args = parser.parse_args()
    train, test = (changed_images(part, args.change) for part in ac.data.cifar10(args.data))
    model, optimizer, _ = build(args.case, np.random.default_rng(args.seed))
    with changed_backward(model, args.change):
        train_accuracy, test_accuracy = short_run(model, optimizer, train, test, steps=args.steps, seed=args.seed)
    row = {name: str(getattr(args, name)) for name in KEY}
    row |= {"train_accuracy": f"{train_accuracy:.4f}", "test_accuracy": f"{test_accuracy:.4f}"}
    print(row)
    keep(row)


if __name__ == "__main__":
    main()
