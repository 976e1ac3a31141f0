r"""What does the dilated gradient do? Both of its forms are checked, measured and trained, on both networks.

    python experiments/dilated/study.py --gradients     # run the gradient check and measure the angles
    python experiments/dilated/study.py --data PATH     # make 18 short trainings, over a minute each on two cores
    python experiments/dilated/study.py                 # write the tables of docs/experiment/dilated.md

A shortcut of strength r = 0.8 / (1 + epoch) leads around convolutions 2, 5 and 8. In the form "both passes" (May 2018)
it is in the forward and the backward pass, and the gradient is that of a network with skip connections. In the form
"backward only" (February and March 2018) the forward pass lacks it.

A short training makes 200 steps by the article's protocol: 25 images and their augmented copies a step, learning rate
0.0003, r = 0.8, the article's AMSGrad, seeds 0, 1 and 2. The three runs of a seed share their initial weights, order
and augmentation. This budget was set before the first run. The results lie beside this file as `check.csv`,
`angles.csv` and `accuracy.csv`. A run that `accuracy.csv` has is not made again; delete the file to begin anew.
"""

import argparse
import csv
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import allconv as ac
from allconv.gradcheck import check
from allconv.gradcheck.point import cosine_and_ratio
from allconv.tables import markdown
from allconv.typing import Array

RESULTS = Path(__file__).parent
TABLES = RESULTS.parents[1] / "docs" / "_static" / "results"

NETS = {"ConvPool-CNN": "convpool", "All-CNN": "allcnn"}
PLAIN, BOTH, BACKWARD = "plain", "both passes", "backward only"
FORMS = (PLAIN, BOTH, BACKWARD)
EPOCHS = (0, 1, 3, 20)
STEPS, SEEDS = 200, (0, 1, 2)
TEST_IMAGES = 2000

Row = dict[str, Any]


def rate(epoch: int) -> float:
    """Return r, the strength of the shortcuts in an epoch."""
    return 0.8 / (1 + epoch)


def set_form(model: ac.Sequential, form: str, scale: float) -> None:
    """Put the network's shortcuts into the passes that the form has them in."""
    for layer in model.walk():
        if isinstance(layer, ac.Skip):
            layer.scale = scale
            layer.in_forward, layer.in_backward = form == BOTH, form in (BOTH, BACKWARD)


def weight_gradients(model: ac.Sequential, x: Array, labels: Array) -> list[Array]:
    """Return the gradients of the convolutions' weights, which are the model's only parameters."""
    scores, cache = model.forward(x, training=True)
    _, dscores = ac.SoftmaxCrossEntropy()(scores, labels)
    model.backward_parameters(dscores, cache)
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    for parameter in model.parameters():
        parameter.grad = None
    return gradients


def angle_rows(kind: str, net: str, epochs: Sequence[int] = EPOCHS) -> list[Row]:
    """Return cosine and ratio of norms of each form's gradients to the plain network's, which has the same weights."""
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
        row = {"net": net, "form": form, "rows": len(report.rows)}
        rows.append({**row, "failures": len(report.failures), "starts": " ".join(report.starts)})
    return rows


def short_run(
    model: ac.Layer, optimizer: ac.Optimizer, train: ac.data.Dataset, test: ac.data.Dataset, seed: int
) -> tuple[float, float]:
    """Train for the first steps of the article's protocol, and return the accuracy in training and on test images.

    The accuracy in training is the mean over all steps, each measured before its update. A single update moves the
    accuracy on the test images a lot. The second value is therefore the mean over every tenth of the last fifth of the
    steps, each on the first 2,000 test images.
    """
    augment = ac.data.KeepOriginals(ac.data.article_augment())
    loader = ac.data.Loader(train, 25, augment=augment, normalize=ac.data.per_step, seed=seed)
    images = ac.data.Standardize.fit(test.images, per="pixel")(test.images[:TEST_IMAGES])
    labels = test.labels[:TEST_IMAGES]
    tested = []
    training = ac.train(model, ac.SoftmaxCrossEntropy(), optimizer, loader, epochs=1, report_every=1)
    for record in tqdm(training, total=STEPS, leave=False):
        if record.step > 0.8 * STEPS and record.step % 10 == 0:
            tested.append(float(np.mean(ac.predict(model, images).argmax(axis=1) == labels)))
        if record.step == STEPS:
            break
    assert record.accuracy is not None
    return record.accuracy, statistics.fmean(tested)


def train_row(net: str, form: str, seed: int, train: ac.data.Dataset, test: ac.data.Dataset) -> Row:
    """Train one network within the budget. Its shortcuts keep the strength of epoch 0."""
    model = ac.models.article_net(NETS[net], dilated=form != PLAIN, rng=np.random.default_rng(seed))
    set_form(model, form, rate(0))
    optimizer = ac.AMSGrad(model.parameters(), 0.0003, betas=(0.9, 0.9), bias_correction="none", maximum="tensor")
    accuracies = short_run(model, optimizer, train, test, seed)
    names = ("train_accuracy", "test_accuracy")
    values = {name: f"{value:.4f}" for name, value in zip(names, accuracies, strict=True)}
    return {"net": net, "form": form, "seed": seed, "steps": STEPS, **values}


def train_missing(train: ac.data.Dataset, test: ac.data.Dataset) -> None:
    """Make the short trainings that accuracy.csv lacks, and add each to it."""
    rows: list[Row] = list(read("accuracy"))
    done = {(row["net"], row["form"], row["seed"]) for row in rows}
    for net, form, seed in [(net, form, seed) for seed in SEEDS for net in NETS for form in FORMS]:
        if (net, form, str(seed)) not in done:
            rows.append(train_row(net, form, seed, train, test))
            print(rows[-1], flush=True)
            write("accuracy", rows)


def write(name: str, rows: list[Row]) -> None:
    """Write rows as name.csv, whole or not at all: some take minutes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with ac.checkpoint.atomic_write(RESULTS / f"{name}.csv") as file:
        file.write(text.getvalue().encode())


def read(name: str) -> list[dict[str, str]]:
    """Return the rows of name.csv; none if there is no such file."""
    file = RESULTS / f"{name}.csv"
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) if file.exists() else []


def check_table() -> str:
    """Return what the gradient check says."""
    cells = [("network", "form", "rows of the check that fail", "the departure starts in")]
    for row in read("check"):
        starts = ", ".join(f"`{path}`" for path in row["starts"].split()) or "-"
        cells.append((row["net"], row["form"], f"{row['failures']} of {row['rows']}", starts))
    return markdown(cells)


def angle_table(column: str, digits: int) -> str:
    """Return the cosines, or the ratios of the norms, by network, form, epoch and convolution."""
    values = {(row["net"], row["form"], row["epoch"], row["convolution"]): float(row[column]) for row in read("angles")}
    convolutions = list(map(str, range(1, 10)))
    cells = [["network", "form", "epoch", "r", *convolutions]]
    for net, form, epoch in [(net, form, epoch) for form in (BACKWARD, BOTH) for net in NETS for epoch in EPOCHS]:
        row = [f"{values[net, form, str(epoch), k]:.{digits}f}" for k in convolutions]
        cells.append([net, form, str(epoch), f"{rate(epoch):.2g}", *row])
    return markdown(cells)


def accuracy_table() -> str:
    """Return mean and range over the seeds, and the differences to the plain gradient, seed by seed."""
    found = {(row["net"], row["form"], row["seed"]): row for row in read("accuracy")}
    cells = [["network", "gradient", "training", "minus plain", "test", "minus plain"]]
    for net, form in [(net, form) for net in NETS for form in FORMS]:
        row = [net, form]
        for name in ("train_accuracy", "test_accuracy"):
            ours, plain = ([float(found[net, f, str(seed)][name]) for seed in SEEDS] for f in (form, PLAIN))
            row.append(f"{statistics.fmean(ours):.3f} ({min(ours):.3f} to {max(ours):.3f})")
            apart = [a - b for a, b in zip(ours, plain, strict=True)]
            row.append("" if form == PLAIN else ", ".join(f"{value:+.3f}" for value in apart))
        cells.append(row)
    return markdown(cells)


def tables() -> dict[str, str]:
    """Return the generated files of docs/experiment/dilated.md by name."""
    return {
        "dilated_check.md": check_table(),
        "dilated_cosines.md": angle_table("cosine", 3),
        "dilated_norms.md": angle_table("ratio", 2),
        "dilated_accuracy.md": accuracy_table(),
    }


def main() -> None:
    """Measure what is asked for, and write the page's tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gradients", action="store_true", help="measure the gradients anew")
    parser.add_argument("--data", type=Path, metavar="PATH", help="make the missing trainings, on CIFAR-10 from there")
    args = parser.parse_args()
    if args.gradients:
        write("check", [row for net, kind in NETS.items() for row in check_rows(kind, net)])
        write("angles", [row for net, kind in NETS.items() for row in angle_rows(kind, net)])
    if args.data:
        train_missing(*ac.data.cifar10(args.data))
    TABLES.mkdir(parents=True, exist_ok=True)
    for name, text in tables().items():
        (TABLES / name).write_text(text, encoding="utf-8")
    print(f"wrote {', '.join(tables())}")


if __name__ == "__main__":
    main()
