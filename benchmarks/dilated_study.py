r"""What does the dilated gradient do? Both of its forms, on both networks of the article.

    python benchmarks/dilated_study.py --gradients          # the check and the angles
    python benchmarks/dilated_study.py --data PATH          # 18 short trainings, over a minute each on two cores
    python benchmarks/dilated_study.py                      # the page's tables, from what is there

A shortcut around convolutions 2, 5 and 8, r = 0.8 / (1 + epoch) strong. In the form "both passes" (May 2018) it is
there forward and backward, and the gradient is that of a network with skip connections. In the form "backward only"
(February and March 2018) the forward pass is left alone. The budget, set before the first run: 200 steps by the
article's protocol (25 images and their augmented copies, learning rate 0.0003, r = 0.8), with the article's AMSGrad,
seeds 0, 1 and 2; the three runs of a seed share initial weights, order and augmentation.

Results go to benchmarks/results/dilated/, the tables to docs/dilated.md. What was trained already is not trained again.
"""

import argparse
import csv
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from short_run import short_run

import allconv as ac
from allconv.gradcheck import check
from allconv.gradcheck.point import cosine_and_ratio
from allconv.typing import Array

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))
from cifar10_allcnn import build  # noqa: E402 - found only through the line above
from published_faults import gradients  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "dilated"
PAGE = ROOT / "docs" / "dilated.md"
BEGIN, END = "<!-- dilated: begin: `python benchmarks/dilated_study.py` -->", "<!-- dilated: end -->"

NETS = {"ConvPool-CNN": ("convpool", "c", "d"), "All-CNN": ("allcnn", "g", "h")}  # plain and dilated case
PLAIN, BOTH, BACKWARD = "plain", "both passes", "backward only"
FORMS = (PLAIN, BOTH, BACKWARD)
EPOCHS = (0, 1, 3, 20)
STEPS, SEEDS = 200, (0, 1, 2)

Row = dict[str, Any]


def rate(epoch: int) -> float:
    """Return r, the strength of the shortcuts."""
    return 0.8 / (1 + epoch)


def set_form(model: ac.Sequential, form: str, scale: float) -> None:
    """Let the dilated network's shortcuts be there in the passes that the form has."""
    for layer in model.walk():
        if isinstance(layer, ac.Skip):
            layer.scale = scale
            layer.in_forward, layer.in_backward = form == BOTH, form in (BOTH, BACKWARD)


def weight_gradients(model: ac.Sequential, x: Array, labels: Array) -> list[Array]:
    """Return the gradients of the convolutions' weights."""
    scores, cache = model.forward(x, training=True)
    return list(gradients(model, scores, cache, labels, {}, summed=False).values())


def angle_rows(kind: str, net: str, epochs: Sequence[int] = EPOCHS) -> list[Row]:
    """Return cosine and norm ratio of each form's gradients to the plain network's, which has the same weights."""
    dataset = ac.data.shapes(16, seed=0)
    x = ac.data.per_step(dataset.images).astype(np.float64)
    model = ac.models.article_net(kind, dilated=True, dtype=np.float64, rng=np.random.default_rng(0))
    set_form(model, PLAIN, 0.0)
    true = weight_gradients(model, x, dataset.labels)
    rows = []
    for form in (BACKWARD, BOTH):
        for epoch in epochs:
            set_form(model, form, rate(epoch))
            for k, pair in enumerate(zip(true, weight_gradients(model, x, dataset.labels), strict=True), start=1):
                cosine, ratio = cosine_and_ratio(*pair)
                row = {"net": net, "form": form, "epoch": epoch, "convolution": k}
                rows.append({**row, "cosine": f"{cosine:.5f}", "ratio": f"{ratio:.5g}"})
    return rows


def check_rows(kind: str, net: str) -> list[Row]:
    """Return what the gradient check says of each form on one small image."""
    x = ac.data.per_step(ac.data.shapes(2, seed=0).images).astype(np.float64)[:1, ::4, ::4]
    rows = []
    for form in (BOTH, BACKWARD):
        model = ac.models.article_net(kind, dilated=True, dtype=np.float64, rng=np.random.default_rng(0))
        set_form(model, form, rate(0))
        report = check(model, x, elements=0)
        starts = " ".join(report.starts)
        row = {"net": net, "form": form, "rows": len(report.rows)}
        rows.append({**row, "failures": len(report.failures), "starts": starts})
    return rows


def train_row(net: str, form: str, seed: int, train: ac.data.Dataset, test: ac.data.Dataset) -> Row:
    """Train one network within the budget."""
    _, plain_case, dilated_case = NETS[net]
    model, optimizer, _ = build(plain_case if form == PLAIN else dilated_case, np.random.default_rng(seed))
    set_form(model, form, rate(0))
    accuracies = short_run(model, optimizer, train, test, steps=STEPS, seed=seed)
    names = ("train_accuracy", "test_accuracy")
    values = {name: f"{value:.4f}" for name, value in zip(names, accuracies, strict=True)}
    return {"net": net, "form": form, "seed": seed, "steps": STEPS, **values}


def write(name: str, rows: list[Row]) -> None:
    """Write rows as RESULTS/name.csv."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read(name: str) -> list[dict[str, str]]:
    """Return the rows of RESULTS/name.csv; none if it is not there."""
    file = RESULTS / f"{name}.csv"
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) if file.exists() else []


def markdown(cells: Iterable[Iterable[str]]) -> list[str]:
    """Return a table in Markdown, its first row the head."""
    head, *rows = (f"| {' | '.join(row)} |" for row in cells)
    return [head, "|" + "---|" * (head.count("|") - 1), *rows]


def check_table() -> list[str]:
    """Return what the gradient check says."""
    cells = [("network", "form", "rows of the check that fail", "the departure starts in")]
    for row in read("check"):
        starts = ", ".join(f"`{path}`" for path in row["starts"].split()) or "-"
        cells.append((row["net"], row["form"], f"{row['failures']} of {row['rows']}", starts))
    return markdown(cells)


def angle_table(net: str, form: str) -> list[str]:
    """Return cosine and norm ratio by convolution and epoch."""
    found = {
        (row["epoch"], row["convolution"]): row for row in read("angles") if (row["net"], row["form"]) == (net, form)
    }
    cells = [["convolution", *(f"epoch {epoch}, r = {rate(epoch):.2g}" for epoch in EPOCHS)]]
    for k in map(str, range(1, 10)):
        rows = [found[str(epoch), k] for epoch in EPOCHS]
        cells.append([k, *(f"{float(row['cosine']):.3f}, {float(row['ratio']):.3g}" for row in rows)])
    return markdown(cells)


def accuracy_table() -> list[str]:
    """Return mean and range over the seeds, and the differences to the plain gradient, seed by seed."""
    found = {(row["net"], row["form"], row["seed"]): row for row in read("accuracy")}
    cells = [["network", "gradient", "training", "minus plain", "test", "minus plain"]]
    for net in NETS:
        for form in FORMS:
            row = [net, form]
            for name in ("train_accuracy", "test_accuracy"):
                here, plain = ([float(found[net, f, str(seed)][name]) for seed in SEEDS] for f in (form, PLAIN))
                row.append(f"{statistics.fmean(here):.3f} ({min(here):.3f} to {max(here):.3f})")
                apart = [a - b for a, b in zip(here, plain, strict=True)]
                row.append("" if form == PLAIN else ", ".join(f"{value:+.3f}" for value in apart))
            cells.append(row)
    return markdown(cells)


def tables() -> str:
    """Return all that the results hold, in Markdown."""
    parts = ["The gradient check, on the networks at their initial weights:\n\n" + "\n".join(check_table())]
    parts += [
        f"{net}, {form}: cosine, ratio of the norms.\n\n" + "\n".join(angle_table(net, form))
        for form in (BACKWARD, BOTH)
        for net in NETS
    ]
    budget = f"Accuracy after {STEPS} steps, mean over {len(SEEDS)} seeds (smallest to largest):"
    parts.append(budget + "\n\n" + "\n".join(accuracy_table()))
    return "\n\n".join(parts)


def main() -> None:
    """Measure what is asked for, and write the page's tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gradients", action="store_true", help="measure the gradients anew")
    parser.add_argument("--data", type=Path, metavar="PATH", help="train what is missing, on CIFAR-10 from there")
    args = parser.parse_args()
    if args.gradients:
        write("check", [row for net, (kind, *_) in NETS.items() for row in check_rows(kind, net)])
        write("angles", [row for net, (kind, *_) in NETS.items() for row in angle_rows(kind, net)])
    if args.data:
        train, test = ac.data.cifar10(args.data)
        rows: list[Row] = list(read("accuracy"))
        done = {(row["net"], row["form"], row["seed"]) for row in rows}
        for seed in SEEDS:
            for net in NETS:
                for form in FORMS:
                    if (net, form, str(seed)) not in done:
                        rows.append(train_row(net, form, seed, train, test))
                        print(rows[-1], flush=True)
                        write("accuracy", rows)
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{begin}\n{tables()}\n{END}{after}", encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
