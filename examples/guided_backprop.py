"""Look inside a trained All-CNN: saliency, deconvnet, guided backpropagation, class activation maps.

    python examples/guided_backprop.py
    python examples/guided_backprop.py --data shapes --out folder
    python examples/guided_backprop.py --make-weights runs/h

The figures are those of section 4 of Springenberg et al. (2015), from case h of the experiment, the dilated All-CNN,
whose weights lie in docs/weights. OUT/classes.png asks which pixels speak for the class that the network sees;
OUT/units.png what single units of three layers react to. The images are CIFAR-10's test images where CIFAR-10 is found,
and drawn ones, which the network was not trained on, otherwise.

With --make-weights the weights are renewed from the newest checkpoint of a run of case h, rounded to float16, and the
accuracy before and after that is measured and written beside them.
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import allconv as ac
from allconv import explain
from allconv.checkpoint import atomic_write, load_model_state
from allconv.data import CIFAR10_CLASSES as CLASSES
from allconv.typing import Array

WEIGHTS = Path(__file__).resolve().parents[1] / "docs" / "weights" / "allcnn_h.npz"
UNITS_FROM = 500  # images among which those are looked for that units react to
LAYERS = {"4": "convolution 3", "9": "convolution 6", "12": "convolution 8"}  # with their activations
METHODS = {
    "saliency": explain.saliency,
    "deconvnet": explain.deconvnet,
    "guided\nbackpropagation": explain.guided_backprop,
}


def network() -> ac.Sequential:
    """Return the network of case h."""
    return ac.models.article_net("allcnn", dilated=True)


def read_images(data: str) -> tuple[ac.data.Dataset, Array]:
    """Return test images, and the same standardized as the article does: each pixel over the whole set."""
    source = ac.data.find_cifar10() if data == "auto" else None if data == "shapes" else Path(data)
    if source is None:
        print("drawn images")
        test_set = ac.data.shapes(UNITS_FROM, seed=0)
    else:
        print(f"CIFAR-10 from {source}")
        _, test_set = ac.data.cifar10(source)
    return test_set, ac.data.Standardize.fit(test_set.images, per="pixel")(test_set.images)


def make_weights(run: Path, data: str, path: Path) -> None:
    """Write the weights of the run's newest checkpoint to `path` in float16, and the facts about them beside it."""
    state = ac.checkpoint.load(run / "checkpoints")
    if state["config"]["case"] != "h":
        raise ValueError(f"--make-weights must name a run of case h, got one of {state['config']['case']!r}")
    model = network()
    load_model_state(model, state)
    test_set, images = read_images(data)
    before = ac.predict(model, images).argmax(axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    ac.save_weights(model, path, dtype="float16")
    ac.load_weights(model, path)
    after = ac.predict(model, images).argmax(axis=1)

    labels = test_set.labels
    facts = {
        "case": "h",
        "seed": state["config"]["seed"],
        "epochs of training": f"{state['step'] / 2000:g}",
        f"accuracy on {len(labels)} test images, float32": f"{np.mean(before == labels):.4f}",
        "the same, float16": f"{np.mean(after == labels):.4f}",
        "images with another answer": np.count_nonzero(before != after),
        "bytes": path.stat().st_size,
    }
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]
    with atomic_write(path.with_suffix(".txt")) as file:
        file.write(("\n".join(lines) + "\n").encode())
    print(*lines, sep="\n")


def choose(labels: Array, predicted: Array, count: int) -> Array:
    """Return the place of an image of each of `count` classes: the first classified right, or else the first."""
    places = []
    for label in np.unique(labels)[:count]:
        own = np.flatnonzero(labels == label)
        right = own[predicted[own] == label]
        places.append(own[0] if right.size == 0 else right[0])
    return np.array(places)


def standing_out(y: Array, count: int) -> Array:
    """Return the channels of y (N, h, w, K) whose highest value is most standard deviations above their mean."""
    flat = y.reshape(-1, y.shape[-1])
    heights = (flat.max(axis=0) - flat.mean(axis=0)) / (flat.std(axis=0) + 1e-6)
    order: Array = np.argsort(-heights)
    return order[:count]


def grey(gradient: Array) -> Array:
    """Return the largest absolute value over the channels, 0..1, as Simonyan et al. show a saliency map."""
    size: Array = np.abs(gradient).max(axis=-1)
    return np.clip(size / (np.percentile(size, 99.5) or 1), 0, 1)


def colours(gradient: Array) -> Array:
    """Return the gradient (H, W, 3) around mid grey, 0..1, as the paper shows it."""
    return np.clip(0.5 + 0.5 * gradient / (np.percentile(np.abs(gradient), 99.5) or 1), 0, 1)


def panels(rows: int, columns: list[str], width: float, left: float) -> tuple[Any, Any]:
    """Return a figure and its axes, without ticks, with a heading over each column; sizes are in inches."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    size = width * len(columns) + left, width * rows + 0.5
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.02, wspace=0, hspace=0))
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for place in axes.flat:
        place.set(xticks=[], yticks=[])
        place.spines[:].set_visible(False)
    for place, title in zip(axes[0], columns, strict=True):
        place.set_title(title, fontsize=9)
    return figure, axes


def beside(axes: Any, text: str) -> None:
    """Write a caption to the left of a row."""
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9)


def save(figure: Any, path: Path) -> None:
    """Write the figure as a PNG."""
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=90)
    print(f"drawn in {path}")


def show(axes: Any, pictures: list[Array]) -> None:
    """Draw the three methods' pictures: saliency in grey, the others in colour."""
    for place, picture in zip(axes, pictures, strict=True):
        if place is axes[0]:
            place.imshow(grey(picture), cmap="gray", vmin=0, vmax=1)
        else:
            place.imshow(colours(picture))


def frame(axes: Any, gradient: Array) -> None:
    """Draw a frame around all pixels that the unit sees: those with a gradient."""
    from matplotlib.patches import Rectangle

    rows, columns, _ = np.nonzero(gradient)
    if rows.size:
        corner, height, width = (columns.min() - 0.5, rows.min() - 0.5), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="yellow", clip_on=False))


def draw_classes(model: ac.Sequential, dataset: ac.data.Dataset, x: Array, names: tuple[str, ...], path: Path) -> None:
    """Draw, for an image of each of eight classes, what speaks for the class that the network sees."""
    seen = ac.predict(model, x[:UNITS_FROM]).argmax(axis=1)
    chosen = choose(dataset.labels[:UNITS_FROM], seen, 8)
    figure, axes = panels(len(chosen), ["image", *METHODS, "class\nactivation map"], 1.1, 1.4)
    pictures = [method(model, x[chosen]) for method in METHODS.values()]
    maps = explain.class_activation_map(model, x[chosen])
    for k, (row, place) in enumerate(zip(axes, chosen, strict=True)):
        image = dataset.images[place]
        beside(row[0], f"{dataset.names[dataset.labels[place]]}\nseen: {names[seen[place]]}")
        row[0].imshow(image)
        show(row[1:4], [picture[k] for picture in pictures])
        row[4].imshow(image.mean(axis=-1), cmap="gray")
        row[4].imshow(maps[k], cmap="inferno", alpha=0.65, interpolation="bilinear", extent=(-0.5, 31.5, 31.5, -0.5))
    save(figure, path)


def draw_units(model: ac.Sequential, dataset: ac.data.Dataset, x: Array, path: Path) -> None:
    """Draw, for three units of each layer, the image in which the unit is highest, and what it reacts to in there."""
    x = x[:UNITS_FROM]
    figure, axes = panels(3 * len(LAYERS), ["image", *METHODS], 1.1, 1.4)
    rows = iter(axes)
    for layer, name in LAYERS.items():
        y = ac.predict(ac.Sequential(*model.layers[: int(layer) + 1]), x)
        for channel in standing_out(y, 3):
            row, place = next(rows), int(y[..., channel].max(axis=(1, 2)).argmax())
            beside(row[0], f"{name}\nmap {channel}")
            image = x[place : place + 1]
            found = [method(model, image, int(channel), layer=layer)[0] for method in METHODS.values()]
            row[0].imshow(dataset.images[place])
            frame(row[0], found[0])
            show(row[1:], found)
    save(figure, path)


def run(args: argparse.Namespace) -> None:
    """Make the weights, or draw both figures."""
    if args.make_weights:
        make_weights(args.make_weights, args.data, args.weights)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    model = network()
    ac.load_weights(model, args.weights)
    dataset, x = read_images(args.data)
    draw_classes(model, dataset, x, CLASSES, args.out / "classes.png")
    draw_units(model, dataset, x, args.out / "units.png")


def main(argv: list[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="auto", metavar="PATH|auto|shapes", help="default auto: look on this machine")
    parser.add_argument("--out", type=Path, default=Path("runs/guided_backprop"), metavar="DIR")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, metavar="FILE", help="default those in docs/weights")
    parser.add_argument("--make-weights", type=Path, metavar="RUN", help="renew the weights from this run of case h")
    args = parser.parse_args(argv)
    if not args.make_weights and find_spec("matplotlib") is None:
        print("error: the drawing needs matplotlib: pip install 'allconv[plot]'", file=sys.stderr)
        return 1
    try:
        run(args)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
