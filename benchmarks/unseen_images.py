"""Are the test images harder than the training images, or does their normalization cost something?

    pip install pillow
    python benchmarks/unseen_images.py --run runs/f --data PATH [--step 1500] [--images 5000] [--change none]

Takes a checkpoint of the first epoch of a run of `examples/cifar10_allcnn.py` or `variants.py` and tests its weights on
images that it has not seen: test images, and training images that the epoch has left; each standardized by the
statistics of the whole test set, as the experiment tests, and over its own 50 images, as it trains. Last, the steps as
it would train on them, augmented copies included. The rows go to benchmarks/results/unseen/RUN-STEP.csv.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from last_iterate import images_left
from variants import CHANGES, changed_images

import allconv as ac
from allconv.checkpoint import format as storage
from allconv.checkpoint.weights import load_model_state

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from cifar10_allcnn import build

RESULTS = Path(__file__).resolve().parent / "results" / "unseen"
COLUMNS = ("case", "seed", "step", "change", "images", "standardized", "number", "accuracy", "cost")


def main() -> None:
    """Test on each kind of images, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--step", type=int, default=1500)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--change", default="none", choices=["none", *CHANGES])
    args = parser.parse_args()
    saved = storage.read(args.run / "checkpoints" / f"checkpoint-{args.step:08d}.npz")
    config = saved["config"]
    if saved["epoch"]:
        parser.error(f"argument --step: must lie in the first epoch, got {args.step}")
    train, test = ac.data.cifar10(args.data)
    test = changed_images(test, args.change)
    augment = ac.data.KeepOriginals(ac.data.article_augment())
    loader = ac.data.Loader(train, 25, augment=augment, normalize=ac.data.per_step, seed=config["seed"])
    left = images_left(saved, loader)[: args.images]
    unseen = changed_images(ac.data.Dataset(train.images[left], train.labels[left]), args.change)
    over_all = ac.data.Standardize.fit(test.images, per="pixel")
    model, _, _ = build(config["case"], np.random.default_rng(0))
    load_model_state(model, saved)
    loaders = {
        ("test", "over the test set"): ac.data.Loader(test[: args.images], 50, shuffle=False, normalize=over_all),
        ("training", "over the test set"): ac.data.Loader(unseen, 50, shuffle=False, normalize=over_all),
        ("test", "over each 50"): ac.data.Loader(test[: args.images], 50, shuffle=False, normalize=ac.data.per_step),
        ("training", "over each 50"): ac.data.Loader(unseen, 50, shuffle=False, normalize=ac.data.per_step),
        ("training and augmented", "over each 50"): ac.data.Loader(
            unseen, 25, shuffle=False, augment=augment, normalize=ac.data.per_step, seed=config["seed"]
        ),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / f"{args.run.name}-{args.step}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for (images, standardized), loader in loaders.items():
            found = ac.evaluate(model, ac.SoftmaxCrossEntropy(), loader)
            row = (config["case"], config["seed"], args.step, args.change, images, standardized, found.images)
            writer.writerow([*row, f"{found.accuracy:.4f}", f"{found.loss:.4f}"])
            print(images, standardized, found, flush=True)


if __name__ == "__main__":
    main()
