"""Train the networks of the paper "Striving for Simplicity" by its recipe: models A, B and C, each in four variants.

    python examples/paper.py --net all-cnn-c                 # the paper's 350 epochs
    python examples/paper.py --net all-cnn-c --epochs 7      # the same, fifty times as short

Springenberg et al. (2015), section 3.1: stochastic gradient descent with momentum 0.9 and weight decay 0.001, the
learning rate times 0.1 after epochs 200, 250 and 300 of 350; dropout of 20 % of the input and 50 % after each pooling
or its replacement; images with their contrast normalized and whitened, as pylearn2 does it. With N epochs the rate
falls at the same fractions of the run. docs/paper.md says what the paper leaves open, and what is chosen here.

OUT/log.csv holds what each epoch came to, OUT/checkpoints/ what --resume needs, and OUT/model.npz the weights and the
whitening in one file, as they are after the last epoch: `restore` makes a network of it that predicts.
"""

import argparse
import csv
import io
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from command_line import check_same_run, check_seed_and_folder, positive, read_data, versions
from tqdm import tqdm

import allconv as ac
from allconv.checkpoint import format as storage
from allconv.checkpoint.atomic import atomic_write
from allconv.checkpoint.weights import model_state
from allconv.training.interrupts import Stop, stop_on_signals

NETS = {  # as the paper's tables name them
    f"{name}-{kind}": (kind.upper(), variant)
    for kind in "abc"
    for name, variant in (("base", "base"), ("strided", "strided"), ("convpool", "convpool"), ("all-cnn", "allcnn"))
}
EPOCHS, MILESTONES, GAMMA = 350, (200, 250, 300), 0.1
RATES = (0.25, 0.1, 0.05, 0.01)
CIFAR10_IMAGES = 50_000
COLUMNS = ("epoch", "learning_rate", "train_accuracy", "test_accuracy", "train_loss", "test_loss", "seconds")
TIMED_STEPS = 5


def build(net: str, ending: str, rng: np.random.Generator) -> ac.Sequential:
    """Return the untrained network; its last maps are 6x6, as the paper's table 1 has them, or 8x8.

    The paper does not state the initial weights; docs/paper.md says why they are these.
    """
    kind, variant = NETS[net]
    model = ac.models.all_cnn(kind, variant, unpadded_last=ending == "6x6", dropout=True, rng=rng)
    convolutions = [layer for layer in model.walk() if isinstance(layer, ac.Conv2D)]
    for layer in convolutions:
        layer.weight.value = rng.normal(0.0, 0.05, layer.weight.value.shape)
    last = convolutions[-1].bias
    assert last is not None  # noqa: S101 - for the type checker
    last.value = np.ones_like(last.value)  # from 0, the last ReLU soon holds most classes' scores at 0
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
    storage.write(path, {**model_state(model), "whitening": whiten.state(), "net": net, "ending": ending})


def restore(path: Path) -> tuple[ac.Sequential, ac.data.ZCA]:
    """Return the network in the file `path`, and the whitening for its images: ``model(whiten(images))``."""
    state = storage.read(path)
    model = build(state["net"], state["ending"], np.random.default_rng(0))  # its weights are replaced
    ac.load_weights(model, path)
    return model, ac.data.ZCA.from_state(state["whitening"])


def train(
    train_set: ac.data.Dataset, test_set: ac.data.Dataset, args: argparse.Namespace, config: dict[str, Any], stop: Stop
) -> list[dict[str, Any]]:
    """Train the network to the end, or a signal, from its last checkpoint if it has one, and return its log."""
    checkpoints = args.out / "checkpoints"
    saved = ac.checkpoint.load(checkpoints) if args.resume and ac.checkpoint.exists(checkpoints) else None
    if saved is not None:
        check_same_run(saved["config"], config, args.out)
        whiten = ac.data.ZCA.from_state(saved["whitening"])
    else:
        print(f"{args.net}: fitting the whitening to {len(train_set)} training images", flush=True)
        whiten = ac.data.ZCA.fit(train_set.images, contrast=ac.data.GlobalContrast())
    rows: list[dict[str, Any]] = saved["rows"] if saved else []

    model, loss = build(args.net, args.ending, np.random.default_rng(args.seed)), ac.SoftmaxCrossEntropy()
    optimizer = ac.SGD(model.parameters(), args.rate, momentum=0.9, weight_decay=0.001)
    augment = paper_augment() if args.augment else None
    loader = ac.data.Loader(train_set, args.batch, augment=augment, normalize=whiten, seed=args.seed)
    test_loader = ac.data.Loader(test_set, args.batch, shuffle=False, normalize=whiten)
    training = ac.train(
        model, loss, optimizer, loader,
        epochs=args.epochs, schedule=schedule(args.rate, args.epochs), report_every=1, resume=saved,
    )  # fmt: skip

    def save() -> None:
        # The checkpoint holds the log, so that neither can be ahead of the other.
        state = {**training.state, "config": config, "rows": rows, "whitening": whiten.state()}
        ac.checkpoint.save(checkpoints, state)
        write_log(args.out, rows)

    with atomic_write(args.out / "config.json") as file:
        file.write(json.dumps(config, indent=2).encode())
    if saved is None:
        save()
    else:
        write_log(args.out, rows)  # cut back to the checkpoint, should it have been ahead of it
    done = training.epoch * len(loader) + training.step
    bar = tqdm(total=args.epochs * len(loader), initial=done, unit="step")
    times: list[float] = []
    for record in training:
        if not math.isfinite(record.loss):
            bar.close()
            raise ValueError(
                f"the loss is {record.loss} in epoch {record.epoch}: --rate must be lower than {args.rate}"
            )
        bar.update()
        bar.set_description(f"epoch {record.epoch}", refresh=False)
        bar.set_postfix_str(f"loss {record.loss:.4f}, accuracy {record.accuracy:.4f}", refresh=False)
        if len(times) < TIMED_STEPS:
            times.append(args.batch / record.images_per_second)
            if len(times) == TIMED_STEPS or record.epoch_ended:
                bar.write(estimate(statistics.median(times), args.batch, args.epochs * len(loader) - done))
                times += [0.0] * TIMED_STEPS  # said once
        if record.epoch_ended:
            test = ac.evaluate(model, loss, test_loader)
            row = {
                "epoch": record.epoch,
                "learning_rate": float(f"{record.learning_rate:.6g}"),
                "train_accuracy": record.accuracy,
                "test_accuracy": test.accuracy,
                "train_loss": record.loss,
                "test_loss": test.loss,
                "seconds": round(record.seconds + test.seconds, 1),
            }
            rows.append(row)
            bar.write(
                f"epoch {record.epoch}  learning rate {record.learning_rate:.6g}  "
                f"train: loss {record.loss:.4f}, accuracy {record.accuracy:.4f}  "
                f"test: loss {test.loss:.4f}, accuracy {test.accuracy:.4f}"
            )
            save()
            save_model(args.out / "model.npz", model, whiten, args.net, args.ending)
        elif stop or record.step % args.checkpoint_every == 0:
            save()
        if stop:
            break
    bar.close()
    return rows


def estimate(seconds: float, batch: int, steps: int) -> str:
    """Say how long the rest of this run and all of the paper's take, at so many seconds a step."""
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


def write_log(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write log.csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(folder / "log.csv") as file:
        file.write(text.getvalue().encode())


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the checked command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--net", required=True, choices=NETS)
    parser.add_argument("--epochs", type=positive, metavar="N", help="default 350, with --quick 2")
    parser.add_argument("--rate", type=float, choices=RATES, default=0.05, help="at the start, default 0.05")
    parser.add_argument("--batch", type=positive, default=128, metavar="N", help="images a step, default 128")
    parser.add_argument("--ending", choices=["6x6", "8x8"], default="6x6", help="the last maps, default 6x6")
    parser.add_argument("--augment", action="store_true", help="flips, and translations of up to 5 pixels")
    parser.add_argument("--data", default="auto", metavar="PATH|auto|shapes", help="default auto: look on this machine")
    parser.add_argument("--limit", type=positive, metavar="N", help="use the first N training and N test images")
    parser.add_argument("--quick", action="store_true", help="a look at everything: two steps on 100 images")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default runs/paper-NET")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in DIR, if there is one")
    parser.add_argument("--checkpoint-every", type=positive, default=200, metavar="N", help="steps, default 200")
    parser.add_argument("--threads", type=positive, metavar="N", help="default: the cores of this machine")
    args = parser.parse_args(argv)
    args.epochs = args.epochs or (2 if args.quick else EPOCHS)
    args.out = args.out or Path("runs", f"paper-{args.net}")
    check_seed_and_folder(parser, args)
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    args = parse(argv)
    if args.threads:
        ac.set_num_threads(args.threads)
    try:
        train_set, test_set, source = read_data(args)
        config = {
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
            "threads": ac.get_num_threads(),
            "versions": versions("none"),
        }
        started = time.perf_counter()
        with ac.checkpoint.lock(args.out / "checkpoints"), stop_on_signals() as stop:
            rows = train(train_set, test_set, args, config, stop)
        if stop:
            print("stopped and saved; the same command with --resume goes on from here", file=sys.stderr)
            return stop.exit_status
        error, spent = 1 - rows[-1]["test_accuracy"], time.perf_counter() - started
        print(f"{args.net}: test error {error:.2%} after {len(rows)} epochs, results in {args.out}")
        print(f"this took {in_words(spent)}")
    except KeyboardInterrupt:
        print("\nstopped; the same command with --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
