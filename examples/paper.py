"""Train the networks of the paper "Striving for Simplicity" by its recipe: models A, B and C, each in four variants.

    python examples/paper.py --net all-cnn-c                 # the paper's 350 epochs
    python examples/paper.py --net all-cnn-c --epochs 7      # the same, fifty times as short

Springenberg et al. (2015), section 3.1: stochastic gradient descent with momentum 0.9 and weight decay 0.001, the
learning rate times 0.1 after epochs 200, 250 and 300 of 350; dropout of 20 % of the input and 50 % after each pooling
or its replacement; images with their contrast normalized and whitened, as pylearn2 does it. With N epochs the rate
falls at the same fractions of the run. The page
docs/experiment/paper.md says what the paper leaves open, and what is chosen here.

OUT/log.csv holds the results of each epoch, OUT/checkpoints/ what --resume needs. OUT/model.npz holds the weights after
the last epoch and the whitening: `restore` makes a network from it that predicts.
"""

import argparse
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from command_line import Data, make_parser, parse_arguments, positive, read_data, run_options, run_program

import allconv as ac

NETS = {  # The names are those of the paper's tables.
    f"{name}-{kind}": (kind.upper(), name.replace("-", ""))
    for kind in "abc"
    for name in ("base", "strided", "convpool", "all-cnn")
}
EPOCHS, MILESTONES, GAMMA = 350, (200, 250, 300), 0.1
RATES = (0.25, 0.1, 0.05, 0.01)
CIFAR10_IMAGES = 50_000
COLUMNS = ("epoch", "learning_rate", "train_accuracy", "test_accuracy", "train_loss", "test_loss", "seconds")
TIMED_STEPS = 5  # steps until the time of the whole run is estimated


def build(net: str, ending: str, rng: np.random.Generator) -> ac.Sequential:
    """Return the untrained network; its last maps are 6x6, as the paper's table 1 has them, or 8x8.

    The paper does not state the initial weights; docs/experiment/paper.md says why they are these.
    """
    kind, variant = NETS[net]
    model = ac.models.all_cnn(kind, variant, unpadded_last=ending == "6x6", dropout=True, rng=rng)
    convolutions = [layer for layer in model.walk() if isinstance(layer, ac.Conv2D)]
    for layer in convolutions:
        layer.weight.value = rng.normal(0.0, 0.05, layer.weight.value.shape)
    last = convolutions[-1].bias
    assert last is not None  # noqa: S101 - for the type checker
    last.value = np.ones_like(last.value)  # With 0, the last ReLU soon makes most scores 0.
    return model


def schedule(rate: float, epochs: int) -> ac.typing.Schedule:
    """Return the paper's steps, at the same fractions of `epochs` as 200, 250 and 300 are of 350."""
    return ac.schedules.multistep(rate, [milestone * epochs / EPOCHS for milestone in MILESTONES], GAMMA)


def paper_augment() -> ac.data.Sequential:
    """Return flips of every second image, and translations by -5 to 5 whole pixels an axis, all equally likely."""
    reach = (5.5 - 1e-9) / 32  # rounded, -5 and 5 get as much as the pixels between them
    shift = ac.data.Affine(translate_percent={"x": (-reach, reach), "y": (-reach, reach)})
    return ac.data.Sequential([ac.data.Fliplr(0.5), shift])


def save_model(path: Path, model: ac.Sequential, whiten: ac.data.ZCA, net: str, ending: str) -> None:
    """Write all that a prediction needs to one file."""
    weights = ac.checkpoint.model_state(model)
    ac.checkpoint.write(path, {**weights, "whitening": whiten.state(), "net": net, "ending": ending})


def restore(path: Path) -> tuple[ac.Sequential, ac.data.ZCA]:
    """Return the network in the file `path`, and the whitening for its images: ``model(whiten(images))``."""
    state = ac.checkpoint.read(path)
    model = build(state["net"], state["ending"], np.random.default_rng(0))  # its weights are replaced
    ac.load_weights(model, path)
    return model, ac.data.ZCA.from_state(state["whitening"])


def train(data: Data, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train the network in the folder --out, from its last checkpoint if it has one, and return its log."""
    train_set, test_set, _ = data
    model, loss = build(args.net, args.ending, np.random.default_rng(args.seed)), ac.SoftmaxCrossEntropy()
    optimizer = ac.SGD(model.parameters(), args.rate, momentum=0.9, weight_decay=0.001)
    with ac.open_run(args.out, settings(data, args), columns=COLUMNS, **run_options(args)) as run:
        if run.saved is None:
            print(f"{args.net}: fitting the whitening to {len(train_set)} training images", flush=True)
            run.keep("whitening", ac.data.ZCA.fit(train_set.images, contrast=ac.data.GlobalContrast()).state())
        whiten = ac.data.ZCA.from_state(run.keep("whitening"))
        augment = paper_augment() if args.augment else None
        loader = ac.data.Loader(train_set, args.batch, augment=augment, normalize=whiten, seed=args.seed)
        test_loader = ac.data.Loader(test_set, args.batch, shuffle=False, normalize=whiten)
        training = ac.train(
            model, loss, optimizer, loader,
            epochs=args.epochs, schedule=schedule(args.rate, args.epochs), report_every=1, resume=run.saved,
        )  # fmt: skip
        steps_left = (args.epochs - training.epoch) * len(loader) - training.step
        times: list[float] = []
        for record in run.steps(training):
            if not math.isfinite(record.loss):
                raise ValueError(
                    f"the loss is {record.loss} in epoch {record.epoch}: --rate must be lower than {args.rate}"
                )
            times.append(args.batch / record.images_per_second)
            if len(times) == min(TIMED_STEPS, len(loader)):
                run.print(estimate(statistics.median(times), args.batch, steps_left))
            if record.epoch_ended:
                test = ac.evaluate(model, loss, test_loader)
                run.print(
                    f"epoch {record.epoch}  learning rate {record.learning_rate:.6g}  "
                    f"train: loss {record.loss:.4f}, accuracy {record.accuracy:.4f}  "
                    f"test: loss {test.loss:.4f}, accuracy {test.accuracy:.4f}"
                )
                run.log(log_row(record, test))
                if run.is_first:
                    save_model(args.out / "model.npz", model, whiten, args.net, args.ending)
    return run.rows


def settings(data: Data, args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of a run, which config.json records and a resumed run must share."""
    train_set, test_set, source = data
    return {
        "net": args.net,
        "epochs": args.epochs,
        "milestones": [milestone * args.epochs / EPOCHS for milestone in MILESTONES],
        "rate": args.rate,
        "batch": args.batch,
        "ending": args.ending,
        "augment": args.augment,
        "seed": args.seed,
        "data": source,
        "images": [len(train_set), len(test_set)],
    }


def log_row(record: ac.Record, test: ac.Evaluation) -> dict[str, Any]:
    """Return the row of an epoch in log.csv."""
    return {
        "epoch": record.epoch,
        "learning_rate": float(f"{record.learning_rate:.6g}"),
        "train_accuracy": record.accuracy,
        "test_accuracy": test.accuracy,
        "train_loss": record.loss,
        "test_loss": test.loss,
        "seconds": round(record.seconds + test.seconds, 1),
    }


def estimate(seconds: float, batch: int, steps: int) -> str:
    """Say how long the rest of this run and the whole of the paper's run take, at so many seconds a step."""
    steps_of_paper = EPOCHS * -(-CIFAR10_IMAGES // batch)
    return (
        f"a step of {batch} images takes {seconds:.2f} s: the {steps} steps to go {in_words(seconds * steps)}, and the "
        f"paper's {EPOCHS} epochs, {steps_of_paper} steps, {in_words(seconds * steps_of_paper)} on this machine, tests "
        "not counted"
    )


def in_words(seconds: float) -> str:
    """Return a time in the unit that fits it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 3600 else f"{seconds / 3600:.1f} hours"


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the checked command line."""
    parser = make_parser(__doc__, epochs=EPOCHS, seed=0, checkpoint_every=200)
    add = parser.add_argument
    add("--net", required=True, choices=NETS, help="its folder is runs/paper-NET")
    add("--rate", type=float, choices=RATES, default=0.05, help="at the start, default 0.05")
    add("--batch", type=positive, default=128, metavar="N", help="images a step, default 128")
    add("--ending", choices=["6x6", "8x8"], default="6x6", help="the last maps, default 6x6")
    add("--augment", action="store_true", help="flips, and translations of up to 5 pixels")
    return parse_arguments(parser, argv, lambda args: Path("runs", f"paper-{args.net}"))


def run_recipe(args: argparse.Namespace) -> None:
    """Train, and say how well the network does at the end."""
    started = time.perf_counter()
    rows = train(read_data(args), args)
    error = 1 - rows[-1]["test_accuracy"]
    print(f"{args.net}: test error {error:.2%} after {len(rows)} epochs, results in {args.out}")
    print(f"this took {in_words(time.perf_counter() - started)}")


def main(argv: list[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    args = parse(argv)
    return run_program(lambda _: run_recipe(args), args.threads)


if __name__ == "__main__":
    sys.exit(main())
