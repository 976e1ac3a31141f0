"""Train by the recipe of examples/fast_cifar10.py with one of its parts replaced, to see what that part brings.

    python experiments/fast/ablation.py --without whitening --seed 0 --data PATH --out DIR
    python experiments/fast/ablation.py --without flip --quick --data shapes

The recipe is the one for 0.94 with SGD, since Muon's recipe has no averaging. A replaced part gives way to the usual
choice: whitening to a trained first layer of the same size, initialization to uniform weights without the identity,
averaging to none, views to one view of each test image, and flip to random mirroring.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import allconv as ac
from allconv.initializers import fan_in_uniform
from allconv.typing import Array

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))
from command_line import make_parser, parse_arguments, run_program
from fast_cifar10 import RECIPES, make_model, train

Widths = tuple[int, int, int]


def draw_weight(layer: ac.Conv2D, rng: np.random.Generator) -> None:
    """Give a convolution the usual uniform weight."""
    layer.weight.value = fan_in_uniform(rng, layer.weight.value.shape, layer.weight.value.dtype)


def trained_first_layer(filters: Array, widths: Widths, seed: int) -> ac.Sequential:
    """Return the network with an ordinary first layer, whose weight and bias are trained to the end."""
    model = make_model(filters, widths, seed)
    first = next(layer for layer in model if isinstance(layer, ac.Conv2D))
    draw_weight(first, np.random.default_rng([seed, 1]))
    first.weight.trainable = True
    return model


def without_identity(filters: Array, widths: Widths, seed: int) -> ac.Sequential:
    """Return the network with uniform weights in all convolutions but the whitening layer."""
    model, rng = make_model(filters, widths, seed), np.random.default_rng([seed, 1])
    for layer in model:
        if isinstance(layer, ac.Conv2D) and layer.weight.trainable:
            draw_weight(layer, rng)
    return model


def random_flips(train_set: ac.data.Dataset, batch: int, normalize: ac.data.Standardize, seed: int) -> ac.data.Loader:
    """Return the batches with each image mirrored with probability 1/2, in every epoch anew."""
    augment = ac.data.Sequential([ac.data.Fliplr(0.5), ac.data.RandomShift(2)])
    return ac.data.Loader(
        train_set, batch, drop_last=True, augment=augment, normalize=normalize, seed=seed, prefetch=True
    )


COMPLETE = RECIPES["sgd", 0.94]
VARIANTS = {
    # No step freezes the bias of a first layer that is trained.
    "whitening": replace(COMPLETE, without="whitening", make_model=trained_first_layer, whitening_steps=sys.maxsize),
    "initialization": replace(COMPLETE, without="initialization", make_model=without_identity),
    "averaging": replace(COMPLETE, without="averaging", averaging=False),
    "views": replace(COMPLETE, without="views", views=False),
    "flip": replace(COMPLETE, without="flip", make_loader=random_flips),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    parser = make_parser(__doc__, epochs=None, seed=0, checkpoint_every=100)
    parser.add_argument("--without", choices=VARIANTS, required=True, help="the part that is replaced")
    parser.set_defaults(target=0.94, optimizer="sgd")
    args = parse_arguments(parser, argv, lambda args: Path("runs", f"sgd-0.94-{args.seed}-without-{args.without}"))
    return run_program(lambda _: train(args, VARIANTS[args.without]), args.threads)


if __name__ == "__main__":
    sys.exit(main())
