"""Set the test errors of model C's four variants beside the paper's Table 3, in a table for docs/experiment/paper.md.

    python experiments/paper/table.py

The runs are the folders `paper-*` beside this file. Each holds the `config.json` and the `log.csv` of a run of
`examples/paper.py`.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

from allconv.tables import markdown

RUNS = Path(__file__).resolve().parent
TABLE = RUNS.parents[1] / "docs" / "_static" / "results" / "paper.md"
# Test error in per cent without augmentation: Springenberg et al. (2015), Table 3.
PAPER = {"base-c": 9.74, "strided-c": 10.19, "convpool-c": 9.31, "all-cnn-c": 9.08}


def read(folder: Path) -> dict[str, Any]:
    """Return a run's settings, and its test error in per cent after each epoch."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        errors = [100 * (1 - float(row["test_accuracy"])) for row in csv.DictReader(file)]
    return {"errors": errors, **config}


def ranks(errors: dict[str, float]) -> dict[str, int]:
    """Return the place of each net, 1 for the smallest error."""
    return {net: place for place, net in enumerate(sorted(errors, key=lambda net: errors[net]), start=1)}


def table(folder: Path = RUNS) -> str:
    """Return one row for each variant, in Markdown. A variant without a run of one epoch or more has empty cells."""
    runs: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("paper-*/config.json")):
        run = read(file.parent)
        if run["net"] in PAPER and run["errors"] and not run["augment"]:
            if run["net"] in runs:
                raise ValueError(f"results must hold one run of {run['net']}, got a second in {file.parent.name}")
            runs[run["net"]] = run
    here, there = ranks({net: run["errors"][-1] for net, run in runs.items()}), ranks(PAPER)
    names = ["net", "paper: error, %", "place", "here: error, %", "place", "lowest, %", "epochs run", "of"]
    names += ["training images", "batch", "rate"]
    rows = [names]
    for net, error in PAPER.items():
        cells = [net, f"{error:.2f}", str(there[net])]
        if net in runs:
            run = runs[net]
            cells += [f"{run['errors'][-1]:.2f}", str(here[net]), f"{min(run['errors']):.2f}"]
            cells += [str(len(run["errors"])), str(run["epochs"]), f"{run['images'][0]:,}"]
            cells += [str(run["batch"]), str(run["rate"])]
        rows.append(cells + [""] * (len(names) - len(cells)))
    return markdown(rows)


if __name__ == "__main__":
    try:
        text = table()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    TABLE.write_text(text, encoding="utf-8")
    print(text, end="")
