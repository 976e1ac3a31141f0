"""Reproduce a published experiment: ConvPool-CNN and All-CNN on CIFAR-10, eight cases a to h.

    python examples/cifar10_allcnn.py --case h
    python examples/cifar10_allcnn.py --case all --quick
    mpiexec -n 4 python -m mpi4py examples/cifar10_allcnn.py --case d

Cases a to d train the ConvPool-CNN, e to h the All-CNN: with momentum (a, e), Adam (b, f), AMSGrad (c, g), and
AMSGrad with dilated back-propagation (d, h). Each step takes 25 images and their 25 augmented copies; an epoch has
2,000 steps. What an epoch came to is printed, and kept in OUT/log.txt, OUT/log.csv and OUT/plots/; OUT/checkpoints/
holds what --resume needs. Under mpiexec each step's images are shared over the processes, of which the first prints
and saves.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from article_log import Row, log_block, result_table, write_logs, write_plots
from article_pictures import Entry, statistics_entry, write_filters, write_statistics
from command_line import check_same_run, check_seed_and_folder, positive, read_data, versions
from published_faults import rules_for
from published_order import PublishedOrder
from tqdm import tqdm

import allconv as ac
from allconv.checkpoint.atomic import atomic_write
from allconv.parallel.process_group import Group
from allconv.rules import override_backward
from allconv.training.evaluation import Evaluation
from allconv.training.interrupts import Stop, stop_on_signals
from allconv.training.loop import Record

BASE_RATE = ac.schedules.inverse_time(0.0003, 0.001)  # of the epochs finished, not of their fractions
ARTICLE_AMSGRAD: dict[str, Any] = {"betas": (0.9, 0.9), "bias_correction": "none", "maximum": "tensor"}
CASES = "abcdefgh"
HAND_WRITTEN = "cdgh"  # the cases whose published backward pass was written by hand; d's code is not public
QUICK_EPOCHS = 2


def build(case: str, rng: np.random.Generator) -> tuple[ac.Sequential, ac.Optimizer, float]:
    """Return the case's network, its optimizer, and the factor of its learning rate."""
    method = "abcd"[CASES.index(case) % 4]
    model = ac.models.article_net("convpool" if case in "abcd" else "allcnn", dilated=method == "d", rng=rng)
    if method == "a":
        return model, ac.SGD(model.parameters(), 30 * BASE_RATE(0), momentum=0.9), 30.0
    if method == "b":
        return model, ac.Adam(model.parameters(), BASE_RATE(0), epsilon_hat=True), 1.0
    if method == "c":
        return model, ac.AMSGrad(model.parameters(), BASE_RATE(0), **ARTICLE_AMSGRAD), 1.0
    return model, ac.DilatedAMSGrad(model, BASE_RATE(0), initial_scale=0.8, **ARTICLE_AMSGRAD), 1.0


def backward_of(case: str, args: argparse.Namespace) -> str:
    """Return the backward pass of a case: where TensorFlow derived it, the published pass is the gradient."""
    return str(args.backward) if case in HAND_WRITTEN else "gradient"


def backward_pass(model: ac.Layer, name: str) -> AbstractContextManager[None]:
    """Return a context in which `model` goes back by the pass `name`.

    The published pass is that of docs/faults.md, without the sum over the images in place of the mean: a factor that
    all layers share, which the steps of AMSGrad do not depend on.
    """
    rules = rules_for(model, "all") if name == "published" else None
    return override_backward(model, rules) if rules else nullcontext()


def training_loader(train_set: ac.data.Dataset, args: argparse.Namespace) -> ac.data.Loader:
    """Return the steps of 25 images and their 25 augmented copies; without augmentation, of 50 images."""
    recipes: dict[str, Callable[[], Any]] = {
        "native": ac.data.article_augment,
        "imgaug": ac.data.imgaug_article_augment,
    }
    augment = ac.data.KeepOriginals(recipes[args.augment]()) if args.augment in recipes else None
    size = 25 if augment else 50
    loader = PublishedOrder if args.order == "published" else ac.data.Loader
    return loader(train_set, size, augment=augment, normalize=ac.data.per_step, seed=args.seed)


def run_case(
    case: str,
    train_set: ac.data.Dataset,
    test_set: ac.data.Dataset,
    out: Path,
    args: argparse.Namespace,
    config: dict[str, Any],
    stop: Stop,
    group: Group,
) -> list[Row] | None:
    """Train one case to the end, from its last checkpoint if it has one, and return its log.

    None if it ended before, at ``--until-step``; Stopped, when what there is has been saved, after a signal.
    """
    model, optimizer, factor = build(case, np.random.default_rng(args.seed))
    with backward_pass(model, config["backward"]):
        return train_case(case, model, optimizer, factor, train_set, test_set, out, args, config, stop, group)


def train_case(
    case: str,
    model: ac.Sequential,
    optimizer: ac.Optimizer,
    factor: float,
    train_set: ac.data.Dataset,
    test_set: ac.data.Dataset,
    out: Path,
    args: argparse.Namespace,
    config: dict[str, Any],
    stop: Stop,
    group: Group,
) -> list[Row] | None:
    """Do what `run_case` says, with this network and optimizer."""
    loss = ac.SoftmaxCrossEntropy()
    loader = training_loader(train_set, args)
    # The article standardizes the test images over the whole test set.
    over_all = ac.data.Standardize.fit(test_set.images, per="pixel")
    test_loader = ac.data.Loader(test_set, 50, shuffle=False, normalize=over_all)
    last_step = ac.data.Loader(test_set[-50:], 50, shuffle=False, normalize=over_all)

    checkpoints = out / "checkpoints"
    saved = ac.checkpoint.load(checkpoints) if args.resume and ac.checkpoint.exists(checkpoints) else None
    if saved is not None:
        before = {"order": "library", "backward": "gradient"}  # what a run has that began when there was no other
        check_same_run(before | saved["config"], config, out)
    settings = {name: config[name] for name in ("case", "order", "backward", "seed")}
    rows: list[Row] = [settings | row for row in saved["rows"]] if saved else []
    blocks: list[str] = saved["blocks"] if saved else []
    statistics: list[Entry] = saved.get("statistics", []) if saved else []
    looked_at = over_all(test_set.images[:50]), test_set.labels[:50]

    training = ac.train(
        model,
        loss,
        optimizer,
        loader,
        epochs=args.epochs,
        schedule=lambda epochs: factor * BASE_RATE(math.floor(epochs)),
        report_every=1,
        check_finite=args.check_finite,
        resume=saved,
    )

    saved_at = time.monotonic()

    def save(*, best: bool = False) -> None:
        # The checkpoint holds the log, so that neither can be ahead of the other.
        nonlocal saved_at
        ac.distributed.check_same_model(model)
        if group.rank == 0:
            state = {**training.state, "config": config, "rows": rows, "blocks": blocks, "statistics": statistics}
            ac.checkpoint.save(checkpoints, state, best=best)
            write_logs(out, rows, blocks)
        saved_at = time.monotonic()

    if group.rank == 0:
        with atomic_write(out / "config.json") as file:
            file.write(json.dumps(config, indent=2).encode())
    if saved is None:
        save()
    elif group.rank == 0:
        write_logs(out, rows, blocks)  # cut back to the checkpoint, should they have been ahead of it
    print(f"case {case}: {len(train_set)} training and {len(test_set)} test images, results in {out}")
    bar = None
    begun, began_at = time.monotonic(), training.epoch * len(loader) + training.step
    for record in training:
        done = record.epoch * record.steps + record.step
        if bar is None:
            bar = tqdm(
                desc=f"epoch {record.epoch}",
                total=record.steps,
                initial=record.step - 1,
                unit="step",
                disable=group.rank > 0,
            )
        left = (time.monotonic() - begun) / (done - began_at) * (args.epochs * record.steps - done)
        bar.update()
        bar.set_postfix_str(
            f"loss {record.loss:.4f}, accuracy {record.accuracy:.4f}, {record.images_per_second:.0f} images/s, "
            f"all epochs in {tqdm.format_interval(left)}",
            refresh=False,
        )
        # Clocks and signals differ from rank to rank: what one has to do, all do.
        late = time.monotonic() - saved_at >= 60 * args.checkpoint_minutes
        stopped_by, late = group.gather(np.array([[stop.number, late]]), group.size).max(axis=0).tolist()
        if record.epoch_ended:
            bar.close()
            bar = None
            test, last = ac.evaluate(model, loss, test_loader), ac.evaluate(model, loss, last_step)
            row = log_row(settings, record, test)
            rows.append(row)
            blocks.append(
                log_block(
                    row,
                    BASE_RATE(record.epoch),
                    f"batch {(len(test_set) - 1) // 50 * 50}  cost {last.loss:.4f}  accuracy {last.accuracy:.4f}",
                )
            )
            print(blocks[-1], end="", flush=True)
            if args.statistics and group.rank == 0:
                layers = ac.layer_statistics(model, loss, *looked_at)
                statistics.append(statistics_entry(record.epoch, layers))
            save(best=test.accuracy == max(row["test_accuracy"] for row in rows))
            if args.plots and group.rank == 0:
                write_plots(out / "plots", rows)
                if args.statistics:
                    write_filters(out / "plots", model.parameters()[0].value)
                    write_statistics(out / "plots", statistics)
        elif stopped_by or late or done == args.until_step or record.step % args.checkpoint_every == 0:
            save()
        if done == args.until_step and not stopped_by:
            return None
        if stopped_by:
            if bar is not None:
                bar.close()
            raise Stopped(128 + stopped_by)
    return rows


def log_row(settings: dict[str, Any], record: Record, test: Evaluation) -> Row:
    """Return what log.csv has of an epoch."""
    return {
        **settings,
        "epoch": record.epoch,
        "learning_rate": record.learning_rate,
        "dilated_rate": record.scale,
        "train_accuracy": record.accuracy,
        "test_accuracy": test.accuracy,
        "train_cost": record.loss,
        "test_cost": test.loss,
        "seconds": round(record.seconds + test.seconds, 1),
    }


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """A signal asked to stop, and what there is has been saved."""

    def __init__(self, exit_status: int) -> None:
        super().__init__(exit_status)
        self.exit_status = exit_status


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the checked command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--case", required=True, choices=[*CASES, "all"])
    parser.add_argument("--epochs", type=positive, metavar="N", help="default 21, with --quick 2")
    parser.add_argument("--data", default="auto", metavar="PATH|auto|shapes", help="default auto: look on this machine")
    parser.add_argument("--limit", type=positive, metavar="N", help="use the first N training and N test images")
    parser.add_argument("--quick", action="store_true", help="a look at everything, within 30 seconds")
    parser.add_argument("--seed", type=int, default=678, help="default 678, the article's")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default runs/CASE; for all, DIR/CASE")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in DIR, if there is one")
    parser.add_argument("--checkpoint-every", type=positive, default=500, metavar="N", help="steps, default 500")
    parser.add_argument("--checkpoint-minutes", type=positive, default=10, metavar="N", help="at most, default 10")
    parser.add_argument("--until-step", type=positive, metavar="N", help="stop when step N of all epochs is saved")
    parser.add_argument("--augment", choices=["native", "imgaug", "none"], default="native")
    parser.add_argument(
        "--order",
        choices=["library", "published"],
        default="library",
        help="of the images; published: that of the published runs, whatever the seed",
    )
    parser.add_argument(
        "--backward",
        choices=["gradient", "published"],
        default="gradient",
        help="published: the hand-written pass of the published code in c, g, h (presumed in d), which is not the "
        "gradient; the other cases had the gradient, and have it with either",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="of a process; default: the cores, shared among those of a machine",
    )
    parser.add_argument(
        "--statistics", action="store_true", help="filters and layer statistics as pictures, each epoch"
    )
    parser.add_argument("--check-finite", action="store_true", help="stop at the first NaN, and name its layer")
    args = parser.parse_args(argv)
    args.epochs = args.epochs or (QUICK_EPOCHS if args.quick else 21)
    args.out = args.out or (Path("runs") if args.case == "all" else Path("runs", args.case))
    check_seed_and_folder(parser, args)
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    args = parse(argv)
    try:
        group = ac.distributed.start(args.threads)
    except (RuntimeError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere if group.rank > 0 else sys.stdout):
        return run(args, group)


def run(args: argparse.Namespace, group: Group) -> int:
    """Run the cases, as one of the processes of `group`, and return the exit status."""
    args.plots = find_spec("matplotlib") is not None
    if not args.plots:
        print("no plots without matplotlib: pip install 'allconv[plot]'")
    try:
        train_set, test_set, source = read_data(args)
        logs = {}
        for case in CASES if args.case == "all" else args.case:
            config = {
                "case": case,
                "epochs": args.epochs,
                "seed": args.seed,
                "data": source,
                "augment": args.augment,
                "order": args.order,
                "backward": backward_of(case, args),
                "images": [len(train_set), len(test_set)],
                "threads": ac.get_num_threads(),
                "ranks": group.size,
                "versions": versions(args.augment),
                "command": command(case, args),
            }
            started = time.perf_counter()
            out = args.out / case if args.case == "all" else args.out
            with (
                ac.checkpoint.lock(out / "checkpoints") if group.rank == 0 else nullcontext(),
                stop_on_signals() as stop,
            ):
                rows = run_case(case, train_set, test_set, out, args, config, stop, group)
            if rows is None:
                return 0
            logs[case] = rows
            print(f"case {case} took {time.perf_counter() - started:.0f} s")
        if args.case == "all" and group.rank == 0:
            print(result_table(logs), end="")
            with atomic_write(args.out / "results.txt") as file:
                file.write(result_table(logs).encode())
    except Stopped as stopped:
        if group.rank == 0:
            print("stopped and saved; the same command with --resume goes on from here", file=sys.stderr)
        group.wait()  # for the one that saves and prints: with another status than 0 the first to end ends all
        return stopped.exit_status
    except KeyboardInterrupt:
        print("\nstopped; the same command with --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        rank = f" on rank {group.rank}" if group.size > 1 else ""
        print(f"error{rank}: {error}", file=sys.stderr)
        return 1
    return 0


def command(case: str, args: argparse.Namespace) -> list[str]:
    """Return the program and the arguments that train this case: what `allconv.checkpoint verify` runs again."""
    data = args.data if args.data in ("auto", "shapes") else str(Path(args.data).resolve())
    options = ["--case", case, "--epochs", args.epochs, "--data", data, "--seed", args.seed, "--augment", args.augment]
    options += ["--order", args.order, "--backward", args.backward, "--threads", ac.get_num_threads()]
    options += ["--limit", args.limit] if args.limit else []
    options += ["--quick"] if args.quick else []
    options += ["--statistics"] if args.statistics else []
    return [str(Path(__file__).resolve()), *map(str, options)]


if __name__ == "__main__":
    sys.exit(main())
