r"""What a gradient check finds where the shortcuts are there in the backward pass alone.

    python examples/dilated_gradient.py
    python examples/dilated_gradient.py --quick --out folder

Dilated back-propagation, as first published, leaves the forward pass as it is, and lets the gradient take a shortcut
around a layer, r times as strong: here `Skip(body, scale=r, in_forward=False)`. With J the Jacobian of the body f, the
forward pass is y = f(x), its gradient J^T dy, and what goes back is J^T dy + r dy. No loss has that gradient: a
gradient check must fail, and fail in exactly this way. The network is the article's All-CNN at its initial weights,
with a Skip around convolutions 2, 5 and 8:

1. Checked layer by layer, the Skips are wrong, and everything else is right.
2. At the input of each Skip, what goes back minus the central differences is r dy.
3. Below, that term is pulled back through the layers, and the next Skip adds its own: where the chain rule has the
   product of the J^T, there is the product of the (J^T + r). The cosine between the two gradients and the ratio of
   their norms say how far they are apart.
4. With r = 0.8 / (1 + epoch), as the article has it, they come together as training goes on.

OUT/dilated_gradient.png shows the last three.
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import allconv as ac
from allconv.gradcheck import Comparison, check, compare
from allconv.typing import Array, Cache

EPOCHS = (0, 1, 3, 20)
STEP = 1e-5  # The central differences move the input by this much.


def rate(epoch: int) -> float:
    """Return r, the strength of the shortcuts."""
    return 0.8 / (1 + epoch)


def network(*, in_backward: bool) -> tuple[ac.Sequential, dict[str, ac.Skip]]:
    """Return the All-CNN with Skips that its forward pass leaves out, and these by path; the same weights each time."""
    model = ac.models.article_net("allcnn", dilated=True, dtype=np.float64, rng=np.random.default_rng(0))
    skips = {path: layer for path, layer in model.named_layers() if isinstance(layer, ac.Skip)}
    for skip in skips.values():
        skip.scale, skip.in_forward, skip.in_backward = rate(0), False, in_backward
    return model, skips


def excess(skip: ac.Skip, x: Array, places: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return what goes back minus the central differences, and r dy, at random places of the Skip's input `x`."""
    y, cache = skip.forward(x)
    dy = rng.standard_normal(y.shape)
    chosen = rng.choice(x.size, places, replace=False)
    differences = np.empty(places)
    for k, place in enumerate(chosen):
        shift = np.zeros_like(x)
        shift.flat[place] = STEP
        differences[k] = np.sum(dy * (skip(x + shift) - skip(x - shift))) / (2 * STEP)
    return skip.backward(dy, cache).flat[chosen] - differences, skip.scale * dy.flat[chosen]


def dilated(layer: ac.Layer, dy: Array, cache: Cache) -> Array:
    """Go back through a Skip that is in neither pass as if it were in the backward one: J^T dy + r dy."""
    assert isinstance(layer, ac.Skip)  # noqa: S101 - for the type checker
    return layer.backward(dy, cache) + layer.scale * dy


def draw(path: Path, found: dict[str, tuple[Array, Array]], comparisons: dict[int, Comparison]) -> None:
    """Draw the excess at the Skips, and the convolutions' cosines and ratios, a curve an epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.2), layout="constrained")
    at_skips, cosines, ratios = figure.subplots(1, 3)
    for (name, (measured, expected)), marker in zip(found.items(), "o^s", strict=True):
        at_skips.plot(expected, measured, marker, markersize=6, alpha=0.6, label=f"Skip {name}")
    at_skips.axline((0, 0), slope=1, color="black", linewidth=0.8, label="equal")
    at_skips.set(title="At the input of each Skip, epoch 0", xlabel="r dy", ylabel="backward - central difference")
    for epoch, comparison in comparisons.items():
        weights = [row for row in reversed(comparison.rows) if row.what == "weight"]
        numbers, label = range(1, len(weights) + 1), f"epoch {epoch}, r = {rate(epoch):.2g}"
        cosines.plot(numbers, [row.cosine for row in weights], ".-", markersize=9, label=label)
        ratios.plot(numbers, [row.ratio for row in weights], ".-", markersize=9, label=label)
    cosines.set(title="Gradients of the weights: cosine", xlabel="convolution", xticks=numbers)
    ratios.set(title="Gradients of the weights: |dilated| / |true|", xlabel="convolution", xticks=numbers)
    for axes in (at_skips, cosines, ratios):
        axes.grid(alpha=0.3)
        axes.legend()
    with ac.checkpoint.atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def run(out: Path, images: int, places: int) -> None:
    """Print and draw what is found with so many images, and central differences at so many places a Skip."""
    out.mkdir(parents=True, exist_ok=True)
    x = ac.data.per_step(ac.data.shapes(images, seed=0).images).astype(np.float64)
    model, skips = network(in_backward=True)
    report = check(model, x[:1, ::4, ::4], elements=0)
    starts = ", ".join(report.starts)
    print(f"Gradient check: {len(report.failures)} of {len(report.rows)} rows fail; the departures start in {starts}")

    found: dict[str, tuple[Array, Array]] = {}
    rng, a = np.random.default_rng(1), x[:1]
    for path, layer in model.children():
        if path in skips:
            found[path] = measured, expected = excess(skips[path], a, places, rng)
            error = np.abs(measured - expected).max() / np.abs(expected).max()
            print(f"Skip {path}: backward minus central differences is r dy to {error:.0e} of the largest")
        a = layer(a)

    model, skips = network(in_backward=False)
    comparisons = {}
    for epoch in EPOCHS:
        for skip in skips.values():
            skip.scale = rate(epoch)
        comparisons[epoch] = compare(model, x, {ac.Skip: dilated})
    print(comparisons[0])
    draw(out / "dilated_gradient.png", found, comparisons)
    print(f"drawn in {out / 'dilated_gradient.png'}")


def main(argv: list[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer images and places")
    parser.add_argument("--out", type=Path, default=Path("runs/dilated_gradient"), metavar="DIR")
    args = parser.parse_args(argv)
    if find_spec("matplotlib") is None:
        print("error: the drawing needs matplotlib: pip install 'allconv[plot]'", file=sys.stderr)
        return 1
    try:
        run(args.out, *(2, 20) if args.quick else (16, 100))
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
