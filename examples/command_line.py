"""What the programs that train on CIFAR-10 share: reading the data, and checking the command line and a resumed run."""

import argparse
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import allconv as ac

QUICK_IMAGES = 100


def positive(text: str) -> int:
    """Return the command-line argument as a positive int."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a positive int, got {text}")
    return number


def read_data(args: argparse.Namespace) -> tuple[ac.data.Dataset, ac.data.Dataset, str]:
    """Return training and test images, and where they come from in words."""
    if args.data == "shapes":
        source: Path | None = None
    elif args.data == "auto":
        source = ac.data.find_cifar10()
        if source is None and sys.stdin.isatty() and not args.quick:
            answer = input("CIFAR-10 was not found on this machine. Download it (about 170 MB)? [y/N] ")
            source = ac.data.download_cifar10() if answer.strip().lower() in ("y", "yes") else None
        if source is None:
            print("CIFAR-10 was not found: training on the drawn shapes instead (--data PATH for a copy elsewhere)")
    else:
        source = Path(args.data)
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


def check_seed_and_folder(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse a seed that is none, and a folder that holds something else or another run."""
    if args.seed < 0:
        parser.error(f"argument --seed: must be a non-negative int, got {args.seed}")
    if args.out.exists() and not args.out.is_dir():
        parser.error(f"argument --out: must be a folder, got the file {args.out}")
    if not args.resume and args.out.is_dir() and any(args.out.iterdir()):
        parser.error(f"argument --out: must be empty unless --resume is given, got {args.out}, which is not")


def check_same_run(saved: dict[str, Any], config: dict[str, Any], out: Path) -> None:
    """Refuse to resume a run with other settings than it began with; more epochs are fine."""
    changed = {
        key: (saved.get(key), value)
        for key, value in config.items()
        if key not in ("epochs", "versions", "threads", "ranks", "command") and saved.get(key) != value
    }
    if changed:
        listed = ", ".join(f"{key} was {old!r}, is {new!r}" for key, (old, new) in changed.items())
        raise ValueError(f"--resume must have the settings that {out} began with, got others: {listed}")


def versions(augment: str) -> dict[str, str]:
    """Return what the bits of a run depend on."""
    packages = ["allconv", "numpy", "scipy", *(["imgaug"] if augment == "imgaug" else [])]
    found = {name: version(name) for name in packages}
    return {"python": platform.python_version(), "machine": platform.machine(), **found}
