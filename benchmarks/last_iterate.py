"""How much does the order of the last images move the test accuracy? The end of an epoch, in other orders.

    python benchmarks/last_iterate.py --run runs/h --data PATH [--step 1500] [--orders 4]

Takes a checkpoint of a run of `examples/cifar10_allcnn.py` within its first epoch, and trains on the images that the
epoch has left, each time from the same weights and the same state of the optimizer, but in another order. What differs
at the end of the epoch is chance alone. The rows go to benchmarks/results/orders/RUN-STEP.csv, from which
`experiment_report.py` makes a table.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

import allconv as ac
from allconv import storage
from allconv.weights import load_model_state

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))
from cifar10_allcnn import build  # noqa: E402 - found only through the line above

RESULTS = ROOT / "benchmarks" / "results" / "orders"


def main() -> None:
    """Train to the end of the epoch in each order, test, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--step", type=int, default=1500)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--orders", type=int, default=4)
    args = parser.parse_args()
    train, test = ac.data.cifar10(args.data)
    over_all = ac.data.Standardize.fit(test.images, per="pixel")
    test_loader = ac.data.Loader(test, 50, shuffle=False, normalize=over_all)
    saved = storage.read(args.run / "checkpoints" / f"checkpoint-{args.step:08d}.npz")
    config, loss = saved["config"], ac.SoftmaxCrossEntropy()
    order = ac.data.Loader(train, 25, seed=config["seed"])._generator(0, 0).permutation(len(train))
    chosen = order[25 * args.step :]
    left = ac.data.Dataset(train.images[chosen], train.labels[chosen])
    rows = []
    for seed in range(args.orders):
        model, optimizer, _ = build(config["case"], np.random.default_rng(0))
        load_model_state(model, saved)
        optimizer.load_state(saved["optimizer"])
        augment = ac.data.KeepOriginals(ac.data.article_augment())
        loader = ac.data.Loader(left, 25, augment=augment, normalize=ac.data.per_step, seed=seed)
        (record,) = ac.train(model, loss, optimizer, loader, epochs=1)
        tested = ac.evaluate(model, loss, test_loader)
        row = {"case": config["case"], "seed": config["seed"], "step": args.step, "order": seed}
        accuracies = (("train_accuracy", record.accuracy), ("test_accuracy", tested.accuracy))
        rows.append({**row, **{name: f"{value:.4f}" for name, value in accuracies}, "test_cost": f"{tested.loss:.4f}"})
        print(rows[-1], flush=True)
        RESULTS.mkdir(parents=True, exist_ok=True)
        with (RESULTS / f"{args.run.name}-{args.step}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
