"""Write the report on what was reproduced, article and paper, from the logs in `benchmarks/results/`: page and plots.

    pip install matplotlib
    python benchmarks/experiment_report.py

Writes ``docs/results.md`` and ``docs/_static/results/CASE.svg``. No number on the page is typed by hand.
"""

import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
# Found only through the line above.
from experiment_logs import CASES, RESULTS, ROOT, SEED, changed_runs, columns, published, read_rows, runs
from experiment_swing import noise, swing
from paper_table import table as paper_table

PAGE = ROOT / "docs" / "results.md"
PLOTS = ROOT / "docs" / "_static" / "results"
BOUND = 0.03  # wanted: the mean absolute difference of test accuracies over a case's first epochs
GRADIENT_THERE, OTHERS, UNKNOWN = "abef", "cgh", "d"  # the cases by whether the published backward pass is the gradient

HEAD = """# The experiment, reproduced

This page is made by `benchmarks/experiment_report.py` from the logs in `benchmarks/results/`; [](experiment.md)
describes the experiment. The images are CIFAR-10 in a copy that was re-encoded as JPEG; what that costs is not known,
and what it may cost is below. The protocol is the article's: 2,000 steps of 25 images and 25 augmented copies an epoch,
seed 678 unless the row names another. The published curves are those of the article's logs, one run a case. Each run
here is one command, `python examples/cifar10_allcnn.py --case CASE --data PATH`, and goes on from its checkpoint with
`--resume`. The images come in the order that this library draws, or with `--order published` in that of the published
runs. In cases c, g and h the published code's backward pass is not the gradient, nor, presumably, in d, whose code is
not public; rows that say so were trained with it ("One change at a time", below).
"""

CHANGES = """## One change at a time

The published code's files of the eight cases are public (`NeuralNetwork/AllConvolution/cases` of
github.com/JaeDukSeo/Daily-Neural-Network-Practice-2; the d among them is another experiment). They were read, not run.
Beside this library's protocol, a, b, e and f show no difference but the random numbers (with `--order published` those
of weights and augmentation alone), the images, and the rounding of moved pixels to whole grey levels here; c, g and h
also the backward pass, which there is not the gradient ([](faults.md)). `benchmarks/variants.py` changes images or
backward pass, one at a time, with the same weights, order and augmentation:

- *encoded again*: the images are encoded as JPEG a second time, quality 75 and colour at half the resolution as in the
  first, on a shifted grid. It finds the finest detail gone already, so that the first one may have cost more.
- *encoded coarsely*: quality 25, colour at a quarter of the resolution. In mean square it presumably changes the
  values by more than the first encoding did; the script says why, and prints by how much.
- *published backward*: ELU's derivative and the averages' as the published code has them.

Whole epochs are compared as the example logs them; of the first steps alone (`benchmarks/first_steps.py`), the training
accuracy is the mean over the steps, the test accuracy that over every tenth of the last fifth, on 2,000 images.
"""

BY_BACKWARD_PASS = """In the published order, by the backward pass of the published code and the one taken here, means
over the cases:
"""

FOUND = """In one run each, the second encoding moves the accuracies by far less than the difference, and so does the
published backward pass over the first steps. The coarse encoding shows what the first one may have cost, if its cost
follows the mean square: in the first epoch less than the difference in the library's order, and about as much as the
published order leaves of it on average; in the second more than is left in all cases but c and d. So the encoding may
be much of what is left, but not all: it lowers training and test about alike, while the training here is closer to the
published than the test is.

Over the first 1,000 steps of h, in the library's order, the published backward pass does not train faster; over two
epochs of c and g and three of h, in the published order, it does, and no test is worse for it. With it these cases are
about as far from the published training and test as those in which that code had the gradient: it is why they are
further off with the gradient, and what is left is common to all. In d the first epoch trains slower with it and the
second faster, and both tests are better. Of the three rows of first steps the last was run on another machine than the
other two. That code also leaves open whether a step uses momentum and weights from before or after their update, which
was not tried.
"""

PAPER = """## The paper's model C

The four variants of the [paper](paper.md)'s model C by its own recipe, with a schedule of the same shape, fifty times
as short, beside Table 3: `python examples/paper.py --net NET --epochs 7`, with the table's images (`--limit`), batches
and rate. Small batches make up for some of the steps that so short a schedule lacks; they and the rate were chosen by
the training loss of All-CNN-C's first steps, where the paper takes the best of four rates for each net. So short a
training, of one seed, orders the nets by how fast they learn, not by where they end.
"""


def band() -> tuple[float, str]:
    """Return the band of a single epoch's test accuracy, and how it comes about."""
    first = [rows[0]["test_accuracy"] for config, rows in runs() if config["case"] == "h"]
    curves = [[row["test_accuracy"] for row in published(case)][5:] for case in CASES]  # the first epochs bend
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
        "| case | order | seed | epoch | train | published | difference | test | published | difference | in band |",
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|---|---|")
    for order, config, rows in in_both_orders():
        curve = published(config["case"])
        for row in rows:
            there = curve[int(row["epoch"])]
            cells = [config["case"], order, str(config["seed"]), f"{row['epoch']:.0f}"]
            for name in ("train_accuracy", "test_accuracy"):
                cells += [f"{row[name]:.4f}", f"{there[name]:.4f}", f"{row[name] - there[name]:+.4f}"]
            cells.append("yes" if abs(row["test_accuracy"] - there["test_accuracy"]) <= width else "no")
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def in_both_orders() -> list[tuple[str, dict[str, Any], list[dict[str, float]]]]:
    """Return order, configuration and log of each run, sorted by case."""
    found = [(order, *run) for order in ("library", "published") for run in runs(order)]
    return sorted(found, key=lambda run: run[1]["case"])


def every_run() -> list[tuple[str, str, dict[str, Any], list[dict[str, float]]]]:
    """Return order, backward pass, configuration and log of each run with the article's seed, sorted by case."""
    found = [(order, "gradient", config, rows) for order, config, rows in in_both_orders() if config["seed"] == SEED]
    found += [(config["order"], "published", config, rows) for config, rows in changed_runs("published-backward")]
    return sorted(found, key=lambda run: run[2]["case"])


def off(rows: list[dict[str, float]], case: str, name: str) -> float:
    """Return the mean absolute difference of a log's column to the published curve."""
    return statistics.fmean(abs(row[name] - published(case)[int(row["epoch"])][name]) for row in rows)


def in_short() -> str:
    """Return in words how far the cases are from the published test accuracies over two epochs."""
    ends: dict[str, dict[str, float]] = {"library": {}, "published": {}, "as there": {}}
    for order, backward, config, rows in every_run():
        if len(rows) >= 2:
            case, end = config["case"], off(rows[:2], config["case"], "test_accuracy")
            if backward == "gradient":
                ends[order][case] = end
            if order == "published" and (backward == "published" or case in GRADIENT_THERE):
                ends["as there"][case] = end
    library, same, there = (
        f"{min(found.values()):.4f} to {max(found.values()):.4f} ({', '.join(found)})" for found in ends.values()
    )
    return (
        "In short: the mean absolute difference of the test accuracy to the published one over the first two epochs is "
        f"{library} in this library's order, {same} in the published one, and {there} in that and with the backward "
        f"pass of the published code, which in {', '.join(GRADIENT_THERE)} is the gradient."
    )


def summary() -> list[str]:
    """Return a row for each case, order and backward pass: how far it was run, and how far from the published curve."""
    names = ["case", "order", "backward pass", "epochs", "mean absolute difference, test accuracy"]
    names += ["training accuracy", "test cost", f"at most {BOUND}"]
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for order, backward, config, rows in every_run():
        means = [off(rows, config["case"], name) for name in ("test_accuracy", "train_accuracy", "test_cost")]
        cells = [config["case"], order, backward, str(len(rows)), *(f"{mean:.4f}" for mean in means)]
        cells.append("yes" if means[0] <= BOUND else "no")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def variants() -> list[str]:
    """Return a row for each epoch of each run with a change, beside the same without it."""
    lines = ["| case | change | order | epoch | accuracy | changed | as it is | published | changed - as it is |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    unchanged = {(config["case"], order): rows for order, config, rows in in_both_orders() if config["seed"] == SEED}
    for config, rows in changed_runs():
        case, order = config["case"], config.get("order", "library")
        _, change = config["data"].split(", ")
        there = published(case)
        for row in rows:
            epoch = int(row["epoch"])
            for name in ("train", "test"):
                column = f"{name}_accuracy"
                here, values = unchanged[case, order][epoch][column], row[column]
                cells = [case, change, order, str(epoch), name, f"{values:.4f}", f"{here:.4f}"]
                cells += [f"{there[epoch][column]:.4f}", f"{values - here:+.4f}"]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def first_steps() -> list[str]:
    """Return what the changes do to the first steps of a case."""
    names = ("case", "seed", "steps", "change", "train_accuracy", "test_accuracy")
    return columns(names, read_rows(RESULTS / "first_steps.csv"))


def by_backward_pass() -> list[str]:
    """Return how far training and test in the published order are from the published, by backward pass."""
    names = ("backward pass there", "here", "cases", "epoch", "training, here minus published", "test")
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    unchanged = [run for run in runs("published") if run[0]["seed"] == SEED]
    changed = changed_runs("published-backward")
    for there, here, cases, found in (
        ("gradient", "gradient", GRADIENT_THERE, unchanged),
        ("not the gradient", "gradient", OTHERS, unchanged),
        ("not the gradient", "as there", OTHERS, changed),
        ("not known", "gradient", UNKNOWN, unchanged),
        ("not known", "as in the others", UNKNOWN, changed),
    ):
        curves = {config["case"]: rows for config, rows in found if config["case"] in cases}
        for epoch in range(max(map(len, curves.values()))):
            apart = {
                case: [rows[epoch][name] - published(case)[epoch][name] for name in ("train_accuracy", "test_accuracy")]
                for case, rows in curves.items()
                if len(rows) > epoch
            }
            means = [f"{statistics.fmean(values):+.4f}" for values in zip(*apart.values(), strict=True)]
            lines.append(f"| {' | '.join([there, here, ', '.join(apart), str(epoch), *means])} |")
    return lines


def plot() -> list[str]:
    """Draw each case beside its published curve; return the lines that show the pictures."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "allconv"  # the same bytes in every run
    from matplotlib import pyplot as plt

    PLOTS.mkdir(parents=True, exist_ok=True)
    lines = []
    in_published_order = {config["case"]: rows for config, rows in runs("published") if config["seed"] == SEED}
    as_there = {config["case"]: rows for config, rows in changed_runs("published-backward")}
    for config, rows in runs():
        if config["seed"] != SEED:
            continue
        case, curve = config["case"], published(config["case"])
        kinds = [
            ("o-", "here", rows),
            ("x--", "here, published order", in_published_order.get(case)),
            ("+:", "here, also backward pass", as_there.get(case)),
        ]
        figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
        for part, colour in (("train", "tab:blue"), ("test", "tab:orange")):
            name = f"{part}_accuracy"
            axes.plot([row[name] for row in curve], color=colour, alpha=0.35, linewidth=4, label=f"{part}, published")
            for marker, kind, here in kinds:
                if here:
                    epochs, values = [row["epoch"] for row in here], [row[name] for row in here]
                    axes.plot(epochs, values, marker, color=colour, label=f"{part}, {kind}")
        axes.set(title=f"Case {case}", xlabel="epoch", ylabel="accuracy", xticks=range(0, 21, 5))
        axes.legend(fontsize="small")
        figure.savefig(PLOTS / f"{case}.svg", metadata={"Date": None})
        plt.close(figure)
        lines += [f"![Case {case}: accuracy over the epochs, published and here](_static/results/{case}.svg)", ""]
    return lines


def page(pictures: list[str]) -> str:
    """Return the page."""
    parts = [HEAD, in_short(), "", "## Each case", "", *summary(), "", "## Each epoch", "", *table(), ""]
    parts += swing()
    parts += [CHANGES, *variants(), "", *first_steps(), "", BY_BACKWARD_PASS, *by_backward_pass(), "", FOUND]
    parts += [PAPER, paper_table(), "", "## Curves", "", *pictures]
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(plot()))
    print(f"wrote {PAGE.relative_to(ROOT)}")
