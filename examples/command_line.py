"""What the programs that train on CIFAR-10 share: common options, the data, and how a program ends."""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import allconv as ac

QUICK_IMAGES = 100
QUICK_EPOCHS = 2

Data = tuple[ac.data.Dataset, ac.data.Dataset, str]  # training images, test images, where they come from in words


def positive(text: str) -> int:
    """Return the command-line argument as a positive int."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a positive int, got {text}")
    return number


def make_parser(
    description: str | None, *, epochs: int | None, seed: int, checkpoint_every: int
) -> argparse.ArgumentParser:
    """Return a parser with the options that all programs have, and these defaults; None leaves the epochs to them."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    default = "the recipe's" if epochs is None else epochs
    add("--epochs", type=positive, metavar="N", help=f"default {default}, with --quick {QUICK_EPOCHS}")
    add("--data", default="auto", metavar="PATH|auto|shapes", help="default auto: look on this machine")
    add("--limit", type=positive, metavar="N", help="use the first N training and N test images")
    add("--quick", action="store_true", help=f"a look at everything, on {QUICK_IMAGES} images")
    add("--seed", type=int, default=seed, help=f"default {seed}")
    add("--out", type=Path, metavar="DIR", help="the folder of the run, by default in runs/")
    add("--resume", action="store_true", help="go on from the last checkpoint in DIR, if there is one")
    add("--checkpoint-every", type=positive, default=checkpoint_every, metavar="N",
        help=f"steps between two checkpoints of an epoch, default {checkpoint_every}")  # fmt: skip
    add("--checkpoint-minutes", type=positive, default=10, metavar="N", help="minutes until a checkpoint, default 10")
    add("--until-step", type=positive, metavar="N", help="save and stop after step N, counted over all epochs")
    add("--threads", type=positive, metavar="N", help="threads of a process, default: its share of the cores")
    parser.set_defaults(full_epochs=epochs)
    return parser


def parse_arguments(
    parser: argparse.ArgumentParser, argv: list[str] | None, folder: Callable[[argparse.Namespace], Path]
) -> argparse.Namespace:
    """Return the arguments, complete and checked; `folder` gives the default of --out."""
    args = parser.parse_args(argv)
    args.epochs = args.epochs or (QUICK_EPOCHS if args.quick else args.full_epochs)
    args.out = args.out or folder(args)
    if args.seed < 0:
        parser.error(f"argument --seed: must be a non-negative int, got {args.seed}")
    if args.out.exists() and not args.out.is_dir():
        parser.error(f"argument --out: must be a folder, got the file {args.out}")
    if not args.resume and args.out.is_dir() and any(args.out.iterdir()):
        parser.error(f"argument --out: must be empty unless --resume is given, got {args.out}, which is not")
    return args


def run_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the command line says to `ac.open_run`."""
    return {
        "resume": args.resume,
        "checkpoint_every": args.checkpoint_every,
        "checkpoint_minutes": args.checkpoint_minutes,
        "until_step": args.until_step,
    }


def read_data(args: argparse.Namespace) -> Data:
    """Return training and test images, and where they come from in words."""
    source = ac.data.find_cifar10() if args.data == "auto" else None if args.data == "shapes" else Path(args.data)
    if source is None and args.data == "auto":
        print(
            "looked for CIFAR-10 in ALLCONV_DATA, allconv's cache, the current folder, data, datasets, ../data, "
            "~/.keras/datasets, ~/data and ~/datasets"
        )
        if sys.stdin.isatty() and not args.quick:
            answer = input("CIFAR-10 was not found on this machine. Download it (about 170 MB)? [y/N] ")
            source = ac.data.download_cifar10() if answer.strip().lower() in ("y", "yes") else None
        if source is None:
            print("CIFAR-10 was not found: training on the drawn shapes instead (--data PATH for a copy elsewhere)")
    if source is None:
        train_set, test_set = ac.data.shapes(5000, seed=args.seed), ac.data.shapes(1000, seed=args.seed + 1)
        name = "shapes"
    else:
        train_set, test_set = ac.data.cifar10(source)
        name = "cifar10"
        print(f"CIFAR-10 from {source}")
    if args.limit is not None:
        train_set, test_set = train_set[: args.limit], test_set[: args.limit]
    if args.quick:
        train_set, test_set = train_set[:QUICK_IMAGES], test_set[:QUICK_IMAGES]
    return train_set, test_set, name


def run_program(program: Callable[[bool], None], threads: int | None) -> int:
    """Run ``program(is_first)`` on each process of mpiexec, and return the exit status; only rank 0 prints."""
    try:
        group = ac.distributed.start(threads)
    except (RuntimeError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere if group.rank > 0 else sys.stdout):
            program(group.rank == 0)
    except ac.Stopped as stopped:
        if group.rank == 0:
            print("stopped and saved; the same command with --resume goes on from here", file=sys.stderr)
        group.barrier()  # The first process to end with another status than 0 ends all, so rank 0 must have printed.
        return stopped.exit_status
    except KeyboardInterrupt:
        print("\nstopped; the same command with --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        rank = f" on rank {group.rank}" if group.size > 1 else ""
        print(f"error{rank}: {error}", file=sys.stderr)
        return 1
    return 0
