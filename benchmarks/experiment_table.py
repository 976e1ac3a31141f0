"""Print the runs in `benchmarks/results/` beside the published curves, as the table in `benchmarks/README.md`.

python benchmarks/experiment_table.py
"""

import csv
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))
from article_log import published  # noqa: E402 - found only through the line above


def table() -> str:
    """Return one row for each epoch of each run, in Markdown."""
    lines = [
        "| case | seed | epoch | train accuracy | published | difference | test accuracy | published | difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for config_file in sorted((ROOT / "benchmarks" / "results").glob("*/config.json")):
        config = json.loads(config_file.read_text())
        if "case" not in config:  # the paper's networks have a table of their own
            continue
        curve = published(config["case"])
        with config_file.with_name("log.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                there = curve[int(row["epoch"])]
                cells = [config["case"], str(config["seed"]), row["epoch"]]
                for name in ("train_accuracy", "test_accuracy"):
                    ours = float(row[name])
                    cells += [f"{ours:.4f}", f"{there[name]:.4f}", f"{ours - there[name]:+.4f}"]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
