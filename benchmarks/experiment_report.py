"""Write the report on what was reproduced, article and paper, from the logs in `benchmarks/results/`: page and plots.

    pip install matplotlib
    python benchmarks/experiment_report.py

Writes ``docs/results.md`` and ``docs/_static/results/CASE.svg``. No number on the page is typed by hand.
"""

import csv
import json
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))
sys.path.insert(0, str(ROOT / "benchmarks"))
from article_log import published  # noqa: E402 - found only through the lines above
from paper_table import table as paper_table  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results.md"
PLOTS = ROOT / "docs" / "_static" / "results"
SEED = 678  # the article's, with which all cases are run
STEPS = 2000  # of an epoch
BOUND = 0.03  # wanted: the mean absolute difference of test accuracies over a case's first epochs

HEAD = """# The experiment, reproduced

This page is made by `benchmarks/experiment_report.py` from the logs in `benchmarks/results/`; [](experiment.md)
describes the experiment. The images are CIFAR-10 in a copy that was re-encoded as JPEG; what that costs is not known.
The protocol is the article's: 2,000 steps of 25 images and 25 augmented copies an epoch, seed 678 unless the row names
another. The published curves are those of the article's logs, one run a case. Each run here is one command, `python
examples/cifar10_allcnn.py --case CASE --data PATH`, and goes on from its checkpoint with `--resume`.
"""

DIFFERENCE = """## Where the difference comes from

A step's 25 images have their classes in uneven numbers, and the network, which has no bias to correct, follows the last
few hundred labels: from step to step whole classes are predicted too often or hardly at all. The accuracy of a single
step's weights carries that swing. `benchmarks/last_iterate.py` tests it, from a checkpoint after 1,500 of an epoch's
2,000 steps: what the images left do in the order of the run and in other orders, the first of which is the same for
all cases of a seed, as are the second and the third; and what the moving average of the weights over the last fifty
steps or so reaches, in which the swing averages out, by the same training.
"""

LEFT = """Cases of one seed see the images in one order and share its swing, so that their differences are not so many
draws. In the three ends of epochs that were tried in other orders, of two cases that share them, the order of the run
ends lowest. So the order is part of the difference there, and not all of it: the means over the orders lie below the
published accuracies too. Whether order is enough cannot be told from this: its spread in e and f would allow it, that
of h's own seeds would not, and all of those end below the published run. Nor do the averaged weights stand for the
published ones, which are last weights: averaging would presumably raise those too, and in e it goes far beyond.
Whether the published runs had a fortunate order, swing less, or followed something that their sources do not state,
is open.

How it was come by: the cases are those with a checkpoint that could be continued, not a selection by result; g was
left out, and other orders stopped at none to three of the three wanted, for want of time. The length of the average
was set once. Before, runs were continued for 50 steps beyond the epoch's end in new orders; that was given up, since
it trains on images seen before. `benchmarks/README.md` has what came of it.
"""

CHANGES = """## One change at a time

The published code's files of the eight cases are public (`NeuralNetwork/AllConvolution/cases` of
github.com/JaeDukSeo/Daily-Neural-Network-Practice-2; the d among them is another experiment). They were read, not run.
Beside this library's protocol, a, b, e and f show no difference but the random numbers, the images, and the rounding of
moved pixels to whole grey levels here; c, g and h also the backward pass, which there is not the gradient
([](faults.md)). `benchmarks/variants.py` makes two of these changes, one at a time, with the same weights, order and
augmentation:

- *encoded again*: the images are encoded as JPEG a second time, quality 75 and colour at half the resolution as in the
  first, on a shifted grid. It finds the finest detail gone already, so that the first one may have cost more.
- *published backward*: ELU's derivative and the averages' as the published code has them.

Whole epochs are compared as the example logs them; of the first steps alone (`benchmarks/first_steps.py`), the training
accuracy is the mean over the steps, the test accuracy that over every tenth of the last fifth, on 2,000 images.
"""

FOUND = """In one run each, neither moves the accuracies by as much as the difference. The published backward pass
does not train faster over these steps; whether it does later was not tried, so that it is open why the training
accuracy agrees better where the published code had the gradient. Of the three rows of first steps the last was run on
another machine than the other two. That code also leaves open whether a step uses momentum and weights from before or
after their update, which was not tried. How much the first encoding cost stays unknown.
"""

PAPER = """## The paper's model C

The four variants of the [paper](paper.md)'s model C by its own recipe, with a schedule of the same shape, fifty times
as short, beside Table 3: `python examples/paper.py --net NET --epochs 7`, with `--limit N` where the training images
are fewer than 50,000. So short a training orders them by how fast they learn, not by where they end.
"""


def runs() -> list[tuple[dict[str, Any], list[dict[str, float]]]]:
    """Return configuration and log of each run of the experiment."""
    found = []
    for file in sorted(RESULTS.glob("*/config.json")):
        config = json.loads(file.read_text())
        if "case" in config:
            with file.with_name("log.csv").open(newline="") as log:
                found.append((config, [_numbers(row) for row in csv.DictReader(log)]))
    return [run for run in found if run[1]]


def _numbers(row: dict[str, str]) -> dict[str, float]:
    return {name: float(text) for name, text in row.items() if name != "case" and text}


def noise(curve: Sequence[float]) -> float:
    """Return the standard deviation of a curve's single epochs, from its second differences, which a smooth one lacks.

    For independent values of variance s^2 a second difference has the variance 6 s^2. The first epochs, where the curve
    itself bends, are left out.
    """
    late = curve[5:]
    second = [late[i - 1] - 2 * late[i] + late[i + 1] for i in range(1, len(late) - 1)]
    return math.sqrt(statistics.fmean(value**2 for value in second) / 6)


def band() -> tuple[float, str]:
    """Return the band of a single epoch's test accuracy, and how it comes about."""
    first = [rows[0]["test_accuracy"] for config, rows in runs() if config["case"] == "h"]
    curves = [[row["test_accuracy"] for row in published(case)] for case in "abcdefgh"]
    published_noise = statistics.fmean(noise(curve) for curve in curves)
    spread = max(first) - min(first)
    width = spread + 2 * published_noise
    text = (
        f"The band is {width:.4f}: the spread of case h after its first epoch over {len(first)} seeds "
        f"({spread:.4f}; {', '.join(f'{value:.4f}' for value in first)}), and twice the standard deviation from epoch "
        f"to epoch of the published test curves ({published_noise:.4f}). Over the seeds of h the mean is "
        f"{statistics.fmean(first):.4f}, {statistics.fmean(first) - published('h')[0]['test_accuracy']:+.4f} from the "
        "published."
    )
    return width, text


def table() -> list[str]:
    """Return a row for each epoch of each run."""
    width, text = band()
    lines = [
        text,
        "",
        "| case | seed | epoch | train | published | difference | test | published | difference | in the band |",
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    for config, rows in runs():
        curve = published(config["case"])
        for row in rows:
            there = curve[int(row["epoch"])]
            cells = [config["case"], str(config["seed"]), f"{row['epoch']:.0f}"]
            for name in ("train_accuracy", "test_accuracy"):
                cells += [f"{row[name]:.4f}", f"{there[name]:.4f}", f"{row[name] - there[name]:+.4f}"]
            cells.append("yes" if abs(row["test_accuracy"] - there["test_accuracy"]) <= width else "no")
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def summary() -> list[str]:
    """Return a row for each case: how far it was run, and how far from the published curve."""
    lines = [
        "| case | epochs | mean absolute difference, test accuracy | training accuracy | test cost | at most 0.03 |",
        "|---|---|---|---|---|---|",
    ]
    for config, rows in runs():
        if config["seed"] != SEED:
            continue
        curve = published(config["case"])
        means = [
            statistics.fmean(abs(row[name] - curve[int(row["epoch"])][name]) for row in rows)
            for name in ("test_accuracy", "train_accuracy", "test_cost")
        ]
        wide = "yes" if means[0] <= BOUND else "no"
        lines.append(f"| {config['case']} | {len(rows)} | {' | '.join(f'{mean:.4f}' for mean in means)} | {wide} |")
    return lines


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def order_files() -> list[tuple[int, dict[str, dict[str, str]]]]:
    """Return, for each file of `last_iterate.py`, the epoch whose end it has, and its rows by order."""
    files = [_rows(file) for file in sorted((RESULTS / "orders").glob("*.csv"))]
    return [(int(rows[0]["step"]) // STEPS, {row["order"]: row for row in rows}) for rows in files]


def orders() -> list[str]:
    """Return the ends of epochs: as run, which the log has, in other orders, and with averaged weights."""
    names = ["case", "seed", "epoch", "published", "as run", "minus published", "in other orders", "mean of all orders"]
    names += ["minus published", "as run, averaged weights"]
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    logs = {(config["case"], str(config["seed"])): rows for config, rows in runs()}
    for epoch, rows in order_files():
        case, seed = (next(iter(rows.values()))[name] for name in ("case", "seed"))
        averaged = rows.pop("as-run", {}).get("averaged_accuracy", "")
        others = [float(row["test_accuracy"]) for row in rows.values()]
        last, there = logs[case, seed][epoch]["test_accuracy"], published(case)[epoch]["test_accuracy"]
        mean = statistics.fmean([last, *others])
        cells = [case, seed, str(epoch), f"{there:.4f}", f"{last:.4f}", f"{last - there:+.4f}"]
        cells += [", ".join(f"{value:.4f}" for value in others)]
        cells += [f"{mean:.4f}", f"{mean - there:+.4f}"] if others else ["", ""]
        lines.append(f"| {' | '.join([*cells, averaged])} |")
    return [*lines, "", chance()]


def chance() -> str:
    """Return how far the seeds of h are from the published run, in standard deviations of two origins."""
    ends = [[float(row["test_accuracy"]) for row in rows.values()] for epoch, rows in order_files() if epoch == 0]
    ends = [values for values in ends if len(values) > 1]
    freedom = sum(len(values) - 1 for values in ends)
    by_order = math.sqrt(sum(statistics.variance(values) * (len(values) - 1) for values in ends) / freedom)
    first = [rows[0]["test_accuracy"] for config, rows in runs() if config["case"] == "h"]
    by_seed = statistics.stdev(first)
    apart = (published("h")[0]["test_accuracy"] - statistics.fmean(first)) / math.sqrt(1 + 1 / len(first))
    return (
        f"The other orders of e and f move the end of the first epoch by a standard deviation of {by_order:.4f}; the "
        f"{len(first)} seeds of h, which differ in more than the end's order, have one of only {by_seed:.4f}. By the "
        f"first, the published h, one run, is {apart / by_order:.1f} standard deviations of such a difference from "
        f"their mean; by the second, {apart / by_seed:.1f}. Both rest on few values, the first on orders that e and f "
        "share."
    )


def variants() -> list[str]:
    """Return a row for each epoch of each run with a change, beside the same without it."""
    lines = ["| case | change | epoch | accuracy | changed | as it is | published | changed - as it is |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    unchanged = {config["case"]: rows for config, rows in runs() if config["seed"] == SEED}
    for file in sorted((RESULTS / "variants").glob("*/config.json")):
        case, change = file.parent.name.split("-", 1)
        there = published(case)
        for row in _rows(file.with_name("log.csv")):
            epoch = int(row["epoch"])
            for name in ("train", "test"):
                column = f"{name}_accuracy"
                here, values = unchanged[case][epoch][column], float(row[column])
                cells = [case, change, str(epoch), name, f"{values:.4f}", f"{here:.4f}"]
                cells += [f"{there[epoch][column]:.4f}", f"{values - here:+.4f}"]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def first_steps() -> list[str]:
    """Return what the changes do to the first steps of a case."""
    names = ("case", "seed", "steps", "change", "train_accuracy", "test_accuracy")
    lines = [f"| {' | '.join(names).replace('_', ' ')} |", "|---|---|---|---|---|---|"]
    return lines + [f"| {' | '.join(row[name] for name in names)} |" for row in _rows(RESULTS / "first_steps.csv")]


def by_gradient() -> str:
    """Return how far the first epoch's training accuracy is from the published where that had the gradient, and not."""
    parts = []
    for cases, what in (("abef", "the gradient"), ("cdgh", "the faulty backward pass")):
        apart = [
            rows[0]["train_accuracy"] - published(config["case"])[0]["train_accuracy"]
            for config, rows in runs()
            if config["case"] in cases and config["seed"] == SEED
        ]
        parts.append(
            f"{statistics.fmean(apart):+.4f} on average ({min(apart):+.4f} to {max(apart):+.4f}) "
            f"in {', '.join(cases)}, where the published code had {what}"
        )
    return f"The training accuracy of the first epoch, here minus published: {'; '.join(parts)}."


def plot() -> list[str]:
    """Draw each case beside its published curve; return the lines that show the pictures."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "allconv"  # the same bytes in every run
    from matplotlib import pyplot as plt

    PLOTS.mkdir(parents=True, exist_ok=True)
    lines = []
    for config, rows in runs():
        if config["seed"] != SEED:
            continue
        case, curve = config["case"], published(config["case"])
        figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
        for part, colour in (("train", "tab:blue"), ("test", "tab:orange")):
            name = f"{part}_accuracy"
            axes.plot([row[name] for row in curve], color=colour, alpha=0.35, linewidth=4, label=f"{part}, published")
            axes.plot(
                [row["epoch"] for row in rows], [row[name] for row in rows], "o-", color=colour, label=f"{part}, here"
            )
        axes.set(title=f"Case {case}", xlabel="epoch", ylabel="accuracy", xticks=range(0, 21, 5))
        axes.legend()
        figure.savefig(PLOTS / f"{case}.svg", metadata={"Date": None})
        plt.close(figure)
        lines += [f"![Case {case}: accuracy over the epochs, published and here](_static/results/{case}.svg)", ""]
    return lines


def page(pictures: list[str]) -> str:
    """Return the page."""
    parts = [HEAD, "## Each case", "", *summary(), "", "## Each epoch", "", *table(), ""]
    parts += [DIFFERENCE, *orders(), "", LEFT]
    parts += [CHANGES, *variants(), "", *first_steps(), "", by_gradient(), "", FOUND]
    parts += [PAPER, paper_table(), "", "## Curves", "", *pictures]
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(plot()))
    print(f"wrote {PAGE.relative_to(ROOT)}")
