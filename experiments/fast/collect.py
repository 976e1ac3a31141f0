"""Copy the logs of finished runs of the fast recipes into experiments/fast/runs.csv.

    python experiments/fast/collect.py ROOT           # the minutes mean nothing: the machine had other work
    python experiments/fast/collect.py ROOT --idle    # the machine had nothing else to do during these runs

ROOT holds the folders of the runs, which examples/fast_cifar10.py and experiments/fast/ablation.py have written. A run
that the file has already is left as it stands there; delete its rows to collect it anew.
"""

import argparse
import csv
import io
import json
from pathlib import Path

from fast_runs import COLUMNS, IMAGES, LOG_COLUMNS, RECIPES, RUNS, Row, Run, images_trained, read_rows, to_runs

from allconv.checkpoint import atomic_write


def read_run(folder: Path, machine: str, idle: bool) -> Run | str:
    """Return the run in a folder, or why it is left out."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    recipe = RECIPES[config["optimizer"], config["target"]]
    trained = config["steps"] * recipe.batch
    if (config["data"], *config["images"], trained) != ("cifar10", *IMAGES, images_trained(recipe)):
        return "is not the whole recipe on the whole of CIFAR-10"
    log = read_rows(folder / "log.csv")
    if not log or not log[-1]["test_accuracy_views"]:
        return "is not finished"
    told = {
        **{name: str(config[name]) for name in ("optimizer", "target", "seed", "threads")},
        "without": config.get("without", ""),
        "machine": machine or config["versions"]["machine"],
        "idle": "yes" if idle else "no",
    }
    return Run(tuple({**told, **{name: row[name] for name in LOG_COLUMNS}} for row in log))


def collect(root: Path, rows: list[Row], machine: str = "", idle: bool = False) -> list[Row]:
    """Return the rows, and those of the finished runs in root that they lack, in the order of the runs."""
    known = {run.key for run in to_runs(rows)}
    for file in sorted(root.glob("*/config.json")):
        run = read_run(file.parent, machine, idle)
        if isinstance(run, str):
            print(f"{file.parent.name}: left out, since it {run}")
        elif run.key in known:
            print(f"{file.parent.name}: left out, since {RUNS.name} has such a run")
        else:
            print(f"{file.parent.name}: collected")
            known.add(run.key)
            rows = [*rows, *run.rows]
    return [row for run in to_runs(rows) for row in run.rows]


def main() -> None:
    """Write runs.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="ROOT", help="the folder that holds the folders of the runs")
    parser.add_argument("--idle", action="store_true", help="the minutes were measured on an idle machine")
    parser.add_argument("--machine", default="", help="its name; the default is what the run has recorded")
    args = parser.parse_args()
    rows = collect(args.root, read_rows(RUNS), args.machine, args.idle)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(RUNS) as file:
        file.write(text.getvalue().encode())


if __name__ == "__main__":
    main()
