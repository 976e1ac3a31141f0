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
step carries that swing. All cases of one seed see the images in the same order, so they share it, and their
differences to the published curves, which share another one, are one draw of chance and not eight. Test:
`benchmarks/last_iterate.py` repeats the end of a first epoch with what images it had left, in other orders; the first
is the same for every case of a seed, and so are the second and the third. The difference is that of the mean.
"""

LEFT = """So most of the difference of a case is that swing, as far as two cases tell; but the seeds of h, each of which
has an order of its own, all end below the published accuracy too. What is left can be chance in the order that the
published runs share, the JPEG copy, or something in the published protocol that its sources do not state. It is not
the arithmetic, nor the way of testing: `benchmarks/README.md` has what else was looked at.
"""

JPEG = """## What the JPEG copy costs

Estimated by encoding the images once more (`benchmarks/jpeg_cost.py`; same weights, order and augmentation): training
accuracy is the mean over the steps, test accuracy over every tenth of the last fifth of them, on 2,000 images; "change"
is the mean absolute change of a value, of 255. A second encoding of the same quality, 75, finds the finest detail and
half of the colour gone already, so that the first one may have cost more.
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


def orders() -> list[str]:
    """Return what the order of the last images is worth: the ends of first epochs in other orders."""
    logs = {(config["case"], str(config["seed"])): rows[0]["test_accuracy"] for config, rows in runs()}
    lines = [
        "| case | seed | order from step | test, as run | in other orders | mean | st. dev. | published | difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for file in sorted((RESULTS / "orders").glob("*.csv")):
        rows = _rows(file)
        case, seed, step = (rows[0][name] for name in ("case", "seed", "step"))
        values = [float(row["test_accuracy"]) for row in rows]
        cells = [f"{logs[case, seed]:.4f}", ", ".join(f"{value:.4f}" for value in values)]
        mean, there = statistics.fmean(values), published(case)[0]["test_accuracy"]
        cells += [f"{mean:.4f}", f"{statistics.stdev(values):.4f}", f"{there:.4f}", f"{mean - there:+.4f}"]
        lines.append(f"| {case} | {seed} | {step} | {' | '.join(cells)} |")
    return lines


def jpeg() -> list[str]:
    """Return what a second encoding as JPEG costs."""
    names = ("case", "seed", "steps", "images", "change", "train_accuracy", "test_accuracy")
    lines = [f"| {' | '.join(names).replace('_', ' ')} |", "|---|---|---|---|---|---|---|"]
    return lines + [f"| {' | '.join(row[name] for name in names)} |" for row in _rows(RESULTS / "jpeg.csv")]


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
    parts += [DIFFERENCE, *orders(), "", LEFT, JPEG, *jpeg(), "", PAPER, paper_table(), "", "## Curves", "", *pictures]
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(plot()))
    print(f"wrote {PAGE.relative_to(ROOT)}")
