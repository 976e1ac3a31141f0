"""Learn CIFAR-10 in minutes on a CPU, by the published recipes of airbench.

    python examples/fast_cifar10.py --target 0.94
    python examples/fast_cifar10.py --target 0.94 --optimizer muon --seed 1
    python examples/fast_cifar10.py --quick --data shapes

The target is the test accuracy that a recipe is for, on average and with six views of each test image. 0.93 and 0.94
are the recipes of Jordan (2024), 94% on CIFAR-10 in 3.29 seconds on a single GPU, and 0.90 is a shorter one of our own.
The figures of an epoch go to OUT/log.csv, with the minutes of training; the six views are tested after the last step.
OUT/accuracy.png has the accuracy against the minutes, and OUT/checkpoints/ what --resume needs.
"""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from command_line import make_parser, parse_arguments, read_data, run_options, run_program

import allconv as ac
from allconv.typing import Array

COLUMNS = ["epoch", "minutes", "train_loss", "test_accuracy", "test_accuracy_views"]
WHITENING_IMAGES = 5000


def make_loader(train_set: ac.data.Dataset, batch: int, normalize: ac.data.Standardize, seed: int) -> ac.data.Loader:
    """Return the batches: each epoch mirrors the images that the epoch before did not, and shifts all of them."""
    return ac.data.Loader(
        train_set, batch, drop_last=True, augment=ac.data.RandomShift(2), alternate_flip=True, normalize=normalize,
        seed=seed, prefetch=True,
    )  # fmt: skip


def make_model(filters: Array, widths: tuple[int, int, int], seed: int) -> ac.Sequential:
    """Return the network: a frozen whitening layer, and convolutions that start as the identity."""
    return ac.models.fast_net(filters, widths, rng=np.random.default_rng(seed))


@dataclass(frozen=True)
class Recipe:
    """What differs between the recipes, and the parts that experiments/fast/ablation.py replaces one at a time."""

    widths: tuple[int, int, int]
    epochs: float
    batch: int
    head_rate: float  # of the last layer, and with SGD of the convolutions; all rates are those of a mean loss
    bias_rate: float  # of BatchNorm's biases
    decay: float  # each weight decay, times its rate
    whitening_steps: int  # after which the bias of the whitening layer is frozen
    averaging: bool  # whether each fifth step moves the weights to an average of those before
    make_loader: Callable[[ac.data.Dataset, int, ac.data.Standardize, int], ac.data.Loader] = make_loader
    make_model: Callable[[Array, tuple[int, int, int], int], ac.Sequential] = make_model
    views: bool = True  # whether the last test averages six views of each image
    without: str = ""  # the part that has been replaced


SGD_RATE = 11.5 / (1 + 1 / (1 - 0.85))  # The recipes divide by the factor that Nesterov's momentum of 0.85 brings.
SGD_RULES: dict[str, Any] = {
    "batch": 1024, "head_rate": SGD_RATE, "bias_rate": 64 * SGD_RATE, "whitening_steps": 144,
    "decay": 0.0153 / 11.5 * SGD_RATE, "averaging": True,
}  # fmt: skip
RECIPES = {
    ("sgd", 0.90): Recipe(widths=(64, 128, 128), epochs=6, **SGD_RULES),
    ("sgd", 0.93): Recipe(widths=(64, 128, 128), epochs=11, **SGD_RULES),
    ("sgd", 0.94): Recipe(widths=(64, 256, 256), epochs=9.9, **SGD_RULES),
    # Published for a head with weights of standard deviation 1 and logits / 256; the rate here is that of ours, / 9.
    ("muon", 0.94): Recipe(
        (64, 256, 256), epochs=8, batch=2000, head_rate=2000 * 0.67 * (9 / 256) ** 2, bias_rate=2000 * 0.053,
        decay=0.004, whitening_steps=75, averaging=False,
    ),
}  # fmt: skip


class Schedule:
    """The optimizer of a recipe, and its rates after each number of steps."""

    def __init__(self, model: ac.Sequential, recipe: Recipe, optimizer: str, total: int) -> None:
        self.muon, self.recipe, self.total = optimizer == "muon", recipe, total
        convolutions = [layer for layer in model if isinstance(layer, ac.Conv2D)]
        assert convolutions[0].bias is not None  # noqa: S101 - for the type checker
        self.whitening_bias = convolutions[0].bias
        weights = [layer.weight for layer in convolutions if layer.weight.trainable]  # The whitening filters are not.
        biases = [layer.bias for layer in model if isinstance(layer, ac.BatchNorm)]
        head = [layer.weight for layer in model if isinstance(layer, ac.Linear)]

        def group(parameters: list[Any], rate: float) -> dict[str, Any]:
            return {"parameters": parameters, "learning_rate": rate, "weight_decay": recipe.decay / rate}

        self.whitening_rate = recipe.bias_rate if self.muon else recipe.head_rate
        groups = [
            group(head if self.muon else weights + head, recipe.head_rate),
            group(biases, recipe.bias_rate),
            group([self.whitening_bias], self.whitening_rate),
        ]
        sgd = ac.SGD(groups, recipe.head_rate, momentum=0.85, nesterov=True)
        self.whitening = sgd.groups[-1]
        options: dict[str, Any] = {"momentum": 0.6, "weight_decay": 0.0, "iterations": 3, "scaling": "none"}
        muon = [ac.Muon(weights, 0.24, normalize_weights=True, **options)] if self.muon else []
        self.optimizer = ac.Combined([*muon, sgd])
        top = max(1, int(0.23 * total))  # The rate climbs from 0.2 to 1 until this step, and falls to 0.07 at the end.
        self.sgd_factor = ac.schedules.chain(
            [ac.schedules.linear(1.0, 0.2, 1.0, top), ac.schedules.linear(1.0, 1.0, 0.07, total - top)], [top]
        )

    def set_rates(self, step: int) -> None:
        """Set the rates for the step with this number, counted from 0."""
        share = 1 - step / self.recipe.whitening_steps
        self.whitening_bias.trainable = share > 0
        if self.muon:
            self.optimizer.learning_rate = 1 - step / self.total
            self.whitening.learning_rate = self.whitening_rate * max(share, 0.0)
        else:
            self.optimizer.learning_rate = self.sgd_factor(step)


def train(args: argparse.Namespace, recipe: Recipe) -> None:
    """Train by a recipe in the folder of the run, from its last checkpoint if it has one."""
    train_set, test_set, source = read_data(args)
    normalize = ac.data.Standardize.fit(train_set.inputs)
    loader = recipe.make_loader(train_set, min(recipe.batch, len(train_set) // 2), normalize, args.seed)
    test_loader = ac.data.Loader(test_set, 500, shuffle=False, normalize=normalize, prefetch=True)
    filters = ac.data.whitening_filters(normalize(train_set.inputs[:WHITENING_IMAGES]))
    model = recipe.make_model(filters, recipe.widths, args.seed)
    loss = ac.SoftmaxCrossEntropy(label_smoothing=0.2)
    total = math.ceil(len(loader) * (args.epochs or recipe.epochs))
    schedule = Schedule(model, recipe, args.optimizer, total)

    config = {name: getattr(args, name) for name in ("target", "optimizer", "seed")}
    config |= {"data": source, "images": [len(train_set), len(test_set)], "steps": total}
    config |= {"without": recipe.without} if recipe.without else {}
    with ac.open_run(args.out, config, columns=COLUMNS, **run_options(args)) as run:
        averages = ac.AveragedWeights(model, run.keep("averages", {}))
        training = ac.train(
            model, loss, schedule.optimizer, loader, epochs=math.ceil(total / len(loader)), report_every=1,
            resume=run.saved,
        )  # fmt: skip
        if training.steps_done < total:
            schedule.set_rates(training.steps_done)
        for record in run.steps(training) if training.steps_done < total else ():
            done = training.steps_done
            if recipe.averaging and done % 5 == 0:
                averages.update(0.95**5 * (done / total) ** 3)
                averages.copy_to_model()
            if done == total >= 5 and recipe.averaging:  # The steps after the last average are lost, as in the recipe.
                averages.copy_to_model()
            if done < total:
                schedule.set_rates(done)
            if record.epoch_ended or done == total:
                shifts = ac.data.shift_views() if recipe.views else None
                views = ac.evaluate(model, loss, test_loader, views=shifts) if done == total else None
                before = run.rows[-1]["minutes"] if run.rows else 0.0
                row = {
                    "epoch": record.epoch,
                    "minutes": round(before + record.seconds / 60, 4),
                    "train_loss": record.loss,
                    "test_accuracy": ac.evaluate(model, loss, test_loader).accuracy,
                    "test_accuracy_views": None if views is None else views.accuracy,
                }
                run.print("  ".join(f"{name} {row[name]:.4g}" for name in COLUMNS if row[name] is not None))
                run.log(row)
            if done == total:
                break
        if run.is_first and find_spec("matplotlib") is not None:
            plot(run.rows, args.out / "accuracy.png")


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the test accuracy against the minutes of training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot()
    for column, style, label in (("test_accuracy", ".-", "one view"), ("test_accuracy_views", "o", "six views")):
        points = [(row["minutes"], row[column]) for row in rows if row[column] is not None]
        axes.plot(*zip(*points, strict=True), style, label=label)
    axes.set(xlabel="minutes of training", ylabel="test accuracy")
    axes.legend()
    with ac.checkpoint.atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def main(argv: list[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    parser = make_parser(__doc__, epochs=None, seed=0, checkpoint_every=100)
    targets = sorted({target for _, target in RECIPES})
    parser.add_argument("--target", type=float, choices=targets, default=0.94, help="the test accuracy, default 0.94")
    parser.add_argument("--optimizer", choices=["sgd", "muon"], default="sgd", help="default sgd")
    args = parse_arguments(parser, argv, lambda args: Path("runs", f"fast-{args.optimizer}-{args.target}-{args.seed}"))
    if (args.optimizer, args.target) not in RECIPES:
        others = ", ".join(str(target) for name, target in RECIPES if name == args.optimizer)
        parser.error(f"argument --target: must be {others} with --optimizer {args.optimizer}, got {args.target}")
    return run_program(lambda _: train(args, RECIPES[args.optimizer, args.target]), args.threads)


if __name__ == "__main__":
    sys.exit(main())
