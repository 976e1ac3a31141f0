"""Write the tables and the figure of docs/experiment/fast.md from runs.csv, and from pytorch.csv if it is there.

    python experiments/fast/fast_report.py

Needs matplotlib. `collect.py` beside this file writes runs.csv, and `benchmarks/fast_cifar_torch.py --out` pytorch.csv.
"""

import hashlib
import json
import statistics
import sys
from collections.abc import Sequence

from fast_runs import HERE, ROOT, RUNS, Row, Run, groups, images_trained, petaflop, read_rows, to_runs
from matplotlib.figure import Figure

from allconv.tables import markdown

sys.path.append(str(ROOT / "docs" / "figures"))
from style import BLUE, GREY, ORANGE, save  # type: ignore[import-not-found] # mypy does not read docs/figures.

TABLES = ROOT / "docs" / "_static" / "results"
PYTORCH = HERE / "pytorch.csv"
COLOURS = {("muon", 0.94): BLUE, ("sgd", 0.94): ORANGE, ("sgd", 0.93): GREY, ("sgd", 0.9): GREY}
REPLACED = {
    "whitening": "whitening: a trained first layer",
    "initialization": "identity initialization: uniform weights",
    "averaging": "averaged weights: none",
    "views": "six views: one view",
    "flip": "alternating flip: random flip",
}


def spread(values: Sequence[float], digits: int) -> str:
    """Return mean and standard deviation, and the range; a single value stands alone."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def accuracy_table(runs: Sequence[Run]) -> str:
    """Return a row for each optimizer and target. Times are those of runs on an idle machine."""
    head = ["target", "optimizer", "seeds", "test accuracy, six views", "one view", "minutes", "images/s", "PFLOP"]
    rows = [[*head, "machine"]]
    for (optimizer, target), group in sorted(groups(runs).items(), key=lambda item: (-item[0][1], item[0][0])):
        cells = [f"{target:.2f}", optimizer, ", ".join(str(run.key[3]) for run in group)]
        cells += [spread([run.accuracy_views for run in group], 4), spread([run.accuracy for run in group], 4)]
        recipe, minutes = group[0].recipe, [run.minutes for run in group if run.idle]
        speeds = [images_trained(recipe) / (60 * value) for value in minutes]
        cells += [spread(minutes, 1), spread(speeds, 0)] if minutes else ["", ""]
        machines = {f"{run.rows[0]['machine']}, threads: {run.rows[0]['threads']}" for run in group}
        rows.append([*cells, f"{petaflop(recipe):.3f}", "; ".join(sorted(machines))])
    return markdown(rows)


def ablation_table(runs: Sequence[Run]) -> str:
    """Return a row for each run with a replaced part, and its distance to the complete recipe with the same seed.

    Views change no step of training. So their row is the complete run's own test with one view.
    """
    accuracies = {(run.key[2], run.key[3]): run.accuracy_views for run in runs if run.key[:2] == ("sgd", 0.94)}
    complete = {run.key[3]: run for run in runs if run.key[:3] == ("sgd", 0.94, "")}
    accuracies |= {("views", seed): run.accuracy for seed, run in complete.items()}
    rows = [["replaced part", "seed", "test accuracy, one run", "minus the complete recipe"]]
    for (part, seed), accuracy in sorted(accuracies.items(), key=lambda item: ["", *REPLACED].index(item[0][0])):
        apart = f"{accuracy - complete[seed].accuracy_views:+.4f}" if part and seed in complete else ""
        rows.append([REPLACED.get(part, "none"), str(seed), f"{accuracy:.4f}", apart])
    return markdown(rows) if len(rows) > 1 else "No run of the ablation has been made yet.\n"


def tables(runs: Sequence[Run]) -> dict[str, str]:
    """Return the generated tables by the names of their files."""
    return {"fast.md": accuracy_table(runs), "fast_ablation.md": ablation_table(runs)}


def curves(runs: Sequence[Run], peers: Sequence[Row]) -> dict[str, list[tuple[list[float], list[float]]]]:
    """Return the lines of the figure: for each label the places and the accuracies of its runs.

    The places are minutes, of the runs on an idle machine. If there is none yet, they are epochs, of all runs.
    """
    idle = [run for run in runs if run.idle]
    lines: dict[str, list[tuple[list[float], list[float]]]] = {}
    for (optimizer, target), group in groups(idle or runs).items():
        places = [[float(row["minutes"]) for row in run.rows] if idle else run.epochs for run in group]
        own = [(place, run.curve) for place, run in zip(places, group, strict=True)]
        lines[label(optimizer, target)] = own
        ratio = torch_ratio(group[0], peers)
        if idle and ratio:
            lines[f"{label(optimizer, target)} in PyTorch"] = [
                ([ratio * minute for minute in place], curve) for place, curve in own
            ]
    return lines


def label(optimizer: str, target: float) -> str:
    """Return the name of a recipe in the figure."""
    return f"{target:.2f}, {optimizer}"


def torch_ratio(run: Run, peers: Sequence[Row]) -> float | None:
    """Return how many times as long a step of PyTorch's fastest mode takes as ours; None if it was not measured."""
    optimizer, target = run.key[:2]
    chosen = {"optimizer": optimizer, "batch": str(run.recipe.batch), "threads": run.rows[0]["threads"]}
    times = {row["library"]: float(row["milliseconds"]) for row in peers if chosen.items() <= row.items()}
    ours = times.pop("allconv", None)
    return min(times.values()) / ours if ours and times and target == 0.94 else None


def note(runs: Sequence[Run], peers: Sequence[Row]) -> str:
    """Return a fingerprint of what the figure shows; it stands in the picture, so that a stale one is found."""
    return hashlib.sha256(json.dumps(curves(runs, peers)).encode()).hexdigest()


def draw(runs: Sequence[Run], peers: Sequence[Row]) -> Figure:
    """Draw the test accuracy with one view, a line a run."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    colours = {label(*recipe): colour for recipe, colour in COLOURS.items()}
    for name, own in curves(runs, peers).items():
        recipe, _, peer = name.partition(" in ")
        style = "--" if peer else ":" if recipe.startswith("0.90") else "-"
        for index, (place, curve) in enumerate(own):
            axes.plot(place, curve, style, color=colours[recipe], linewidth=1.2, label="" if index else name)
    axes.set_xlabel("minutes of training" if any(run.idle for run in runs) else "epochs of training")
    axes.set_ylabel("test accuracy, one view")
    axes.grid(alpha=0.5)
    axes.legend(fontsize="small", loc="lower right")
    return figure


def main() -> None:
    """Write the tables and the figure."""
    runs, peers = to_runs(read_rows(RUNS)), read_rows(PYTORCH)
    for name, text in tables(runs).items():
        (TABLES / name).write_text(text, encoding="utf-8")
    save("fast", lambda _: draw(runs, peers), note(runs, peers))


if __name__ == "__main__":
    main()
