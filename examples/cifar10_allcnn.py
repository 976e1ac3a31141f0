"""Reproduce a published experiment: ConvPool-CNN and All-CNN on CIFAR-10, eight cases a to h.

    python examples/cifar10_allcnn.py --case h
    python examples/cifar10_allcnn.py --case all --quick
    mpiexec -n 4 python -m mpi4py examples/cifar10_allcnn.py --case d

Cases a to d train the ConvPool-CNN, e to h the All-CNN: with momentum (a, e), Adam (b, f), AMSGrad (c, g), and
AMSGrad with dilated back-propagation (d, h). Each step takes 25 images and their 25 augmented copies; an epoch has
2,000 steps. The results of an epoch are printed, and kept in OUT/log.txt, OUT/log.csv and OUT/plots/; OUT/checkpoints/
holds what --resume needs. Under mpiexec the processes share the images of a step, and the first one prints and saves.
"""

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from article_log import COLUMNS, Row, log_block, result_table, write_plots
from article_pictures import statistics_entry, write_filters, write_statistics
from command_line import Data, make_parser, parse_arguments, read_data, run_options, run_program

import allconv as ac

BATCH = 50  # images in a step, the augmented copies included
ORDER = "of the images; published: the order of the published runs, whatever the seed"
BACKWARD = """published: the hand-written pass of the published code in c, g, h (presumed in d), which is not the
gradient; the other cases had the gradient, and have it with either"""
OLDER_RUNS = {"order": "library", "backward": "gradient"}  # what runs had that began before there was a choice


def train_case(name: str, out: Path, data: Data, args: argparse.Namespace) -> list[Row]:
    """Train a case in the folder `out`, from its last checkpoint if it has one, and return its log."""
    train_set, test_set, _ = data
    case = ac.article.build_case(name, np.random.default_rng(args.seed))
    model, loss, loader = case.model, ac.SoftmaxCrossEntropy(), training_loader(train_set, args)
    # The article standardizes the test images over the whole test set, and prints the results of the last batch too.
    standardize = ac.data.Standardize.fit(test_set.images, per="pixel")
    test_loader = ac.data.Loader(test_set, BATCH, shuffle=False, normalize=standardize)
    last_batch = ac.data.Loader(test_set[-BATCH:], BATCH, shuffle=False, normalize=standardize)
    some_images, some_labels = standardize(test_set.images[:BATCH]), test_set.labels[:BATCH]

    config = settings(name, data, args)
    backward = ac.article.published_backward(model) if config["backward"] == "published" else nullcontext()
    with (
        backward,
        ac.open_run(
            out, config, columns=list(COLUMNS), best="test_accuracy", defaults=OLDER_RUNS, **run_options(args)
        ) as run,
    ):
        training = ac.train(
            model, loss, case.optimizer, loader, epochs=args.epochs, schedule=case.schedule, report_every=1,
            check_finite=args.check_finite, resume=run.saved,
        )  # fmt: skip
        print(f"case {name}: {len(train_set)} training and {len(test_set)} test images, results in {out}")
        statistics = run.keep("statistics", [])
        for record in run.steps(training):
            if not record.epoch_ended:
                continue
            test, last = ac.evaluate(model, loss, test_loader), ac.evaluate(model, loss, last_batch)
            row = log_row(record, test)
            block = log_block(row, ac.article.BASE_RATE(record.epoch), last, (len(test_set) - 1) // BATCH * BATCH)
            run.print(block, end="")
            if args.statistics and run.is_first:
                layers = ac.layer_statistics(model, loss, some_images, some_labels)
                statistics.append(statistics_entry(record.epoch, layers))
            run.log(row, text=block)
            if args.plots and run.is_first:
                write_plots(out / "plots", run.rows)
                if args.statistics:
                    write_filters(out / "plots", model.parameters()[0].value)
                    write_statistics(out / "plots", statistics)
    return run.rows


def settings(case: str, data: Data, args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of a run, which config.json records and a resumed run must share."""
    train_set, test_set, source = data
    return {
        "case": case,
        "epochs": args.epochs,
        "seed": args.seed,
        "data": source,
        "augment": args.augment,
        "order": args.order,
        "backward": args.backward if case in ac.article.HAND_WRITTEN else "gradient",
        "images": [len(train_set), len(test_set)],
        "versions": {"imgaug": version("imgaug")} if args.augment == "imgaug" else {},
    }


def training_loader(train_set: ac.data.Dataset, args: argparse.Namespace) -> ac.data.Loader:
    """Return the steps of 25 images and their 25 augmented copies; without augmentation, of 50 images."""
    recipes: dict[str, Callable[[], Any]] = {
        "native": ac.data.article_augment,
        "imgaug": ac.data.imgaug_article_augment,
    }
    augment = ac.data.KeepOriginals(recipes[args.augment]()) if args.augment in recipes else None
    loader = ac.article.PublishedOrder if args.order == "published" else ac.data.Loader
    size = BATCH // 2 if augment else BATCH
    return loader(train_set, size, augment=augment, normalize=ac.data.per_step, seed=args.seed)


def log_row(record: ac.Record, test: ac.Evaluation) -> Row:
    """Return the row of an epoch in log.csv; the columns case, order, backward and seed come from the settings."""
    return {
        "epoch": record.epoch,
        "learning_rate": record.learning_rate,
        "dilated_rate": record.scale,
        "train_accuracy": record.accuracy,
        "test_accuracy": test.accuracy,
        "train_cost": record.loss,
        "test_cost": test.loss,
        "seconds": round(record.seconds + test.seconds, 1),
    }


def run_cases(args: argparse.Namespace, *, is_first: bool) -> None:
    """Train the case, or all cases; then compare all cases with the published results."""
    args.plots = find_spec("matplotlib") is not None
    if not args.plots:
        print("no plots without matplotlib: pip install 'allconv[plot]'")
    data = read_data(args)
    logs = {}
    for case in ac.article.CASES if args.case == "all" else args.case:
        started = time.perf_counter()
        logs[case] = train_case(case, args.out / case if args.case == "all" else args.out, data, args)
        print(f"case {case} took {time.perf_counter() - started:.0f} s")
    if args.case == "all":
        print(result_table(logs), end="")
        if is_first:
            with ac.checkpoint.atomic_write(args.out / "results.txt") as file:
                file.write(result_table(logs).encode())


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the checked command line."""
    parser = make_parser(__doc__, epochs=21, seed=678, checkpoint_every=500)
    add = parser.add_argument
    add("--case", required=True, choices=[*ac.article.CASES, "all"], help="its folder is runs/CASE; for all, DIR/CASE")
    add("--augment", choices=["native", "imgaug", "none"], default="native")
    add("--order", choices=["library", "published"], default="library", help=ORDER)
    add("--backward", choices=["gradient", "published"], default="gradient", help=BACKWARD)
    add("--statistics", action="store_true", help="draw filters and statistics of the layers after each epoch")
    add("--check-finite", action="store_true", help="stop at the first NaN, and name its layer")
    return parse_arguments(parser, argv, lambda args: Path("runs") if args.case == "all" else Path("runs", args.case))


def main(argv: list[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    args = parse(argv)
    return run_program(lambda is_first: run_cases(args, is_first=is_first), args.threads)


if __name__ == "__main__":
    sys.exit(main())
