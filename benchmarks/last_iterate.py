"""How much does the order of the last images move the test accuracy? The end of an epoch, as run and in other orders.

    python benchmarks/last_iterate.py --run runs/h --data PATH [--step 1500] [--orders as-run 0 1 2]

Takes a checkpoint of a run of `examples/cifar10_allcnn.py` within an epoch, and trains on the images that the epoch
has left, each time from the same weights and the same state of the optimizer: in the order of the run, and in
others. What differs at the end of the epoch is the order alone. Beside the last weights, their moving average over some
fifty steps is tested, in which what single steps do to the weights averages out. The rows go to
benchmarks/results/orders/RUN-STEP.csv, from which `experiment_report.py` makes a table.
"""

import argparse
import csv
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

import allconv as ac
from allconv.checkpoint import format as storage
from allconv.checkpoint.weights import load_model_state

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))
from cifar10_allcnn import BASE_RATE, build  # noqa: E402 - found only through the line above

RESULTS = ROOT / "benchmarks" / "results" / "orders"
COLUMNS = ("case", "seed", "step", "order", "test_accuracy", "test_cost", "averaged_accuracy")
DECAY = 0.98  # of the moving average, a step


def images_left(saved: dict[str, Any], loader: ac.data.Loader) -> np.ndarray:
    """Return the indices of the training images that the epoch of the checkpoint has left."""
    done = saved["step"] - saved["epoch"] * len(loader)
    return loader._generator(saved["epoch"], 0).permutation(len(loader.dataset))[loader.batch_size * done :]


def finish(saved: dict[str, Any], train: ac.data.Dataset, order: str) -> tuple[ac.Sequential, list[np.ndarray]]:
    """Train to the end of the epoch; return the network and the weights' moving averages."""
    config = saved["config"]
    model, optimizer, factor = build(config["case"], np.random.default_rng(0))
    augment = ac.data.KeepOriginals(ac.data.article_augment())
    loader = ac.data.Loader(train, 25, augment=augment, normalize=ac.data.per_step, seed=config["seed"])
    resume: dict[str, Any] | None = saved
    first = 0
    if order != "as-run":
        load_model_state(model, saved)
        optimizer.load_state(saved["optimizer"])
        left = images_left(saved, loader)
        rest = ac.data.Dataset(train.images[left], train.labels[left])
        loader = ac.data.Loader(rest, 25, augment=augment, normalize=ac.data.per_step, seed=int(order))
        resume, first = None, saved["epoch"]
    training = ac.train(
        model,
        ac.SoftmaxCrossEntropy(),
        optimizer,
        loader,
        epochs=saved["epoch"] + 1 if resume else 1,
        schedule=lambda epochs: factor * BASE_RATE(first + math.floor(epochs)),
        report_every=1,
        resume=resume,
    )
    averages: list[np.ndarray] = []
    for _ in training:
        weights = [parameter.value for parameter in model.parameters()]
        averages = averages or [weight.copy() for weight in weights]
        for average, weight in zip(averages, weights, strict=True):
            average += (1 - DECAY) * (weight - average)
    return model, averages


def main() -> None:
    """Finish the epoch in each order, test, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--step", type=int, default=1500)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--orders", nargs="+", default=["as-run", "0", "1", "2"])
    args = parser.parse_args()
    saved = storage.read(args.run / "checkpoints" / f"checkpoint-{args.step:08d}.npz")
    if saved["epoch"] and saved["config"]["case"] in "dh":  # their scale follows the epoch
        parser.error(f"argument --step: must lie in the first epoch in cases d and h, got {args.step}")
    train, test = ac.data.cifar10(args.data)
    over_all = ac.data.Standardize.fit(test.images, per="pixel")
    test_loader, loss = ac.data.Loader(test, 50, shuffle=False, normalize=over_all), ac.SoftmaxCrossEntropy()
    file = RESULTS / f"{args.run.name}-{args.step}.csv"
    rows = {row["order"]: row for row in csv.DictReader(file.read_text().splitlines())} if file.exists() else {}
    for order in args.orders:
        model, averages = finish(saved, train, order)
        last = ac.evaluate(model, loss, test_loader)
        for parameter, average in zip(model.parameters(), averages, strict=True):
            parameter.value = average
        averaged = ac.evaluate(model, loss, test_loader)
        values = (last.accuracy, last.loss, averaged.accuracy)
        known = (saved["config"]["case"], str(saved["config"]["seed"]), str(args.step), order)
        rows[order] = dict(zip(COLUMNS, (*known, *(f"{value:.4f}" for value in values)), strict=True))
        print(rows[order], flush=True)
        RESULTS.mkdir(parents=True, exist_ok=True)
        with file.open("w", newline="", encoding="utf-8") as text:
            writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows.values())


if __name__ == "__main__":
    main()
