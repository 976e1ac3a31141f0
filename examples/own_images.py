"""From a folder of pictures, one subfolder a class, to a trained network, saved weights and predictions.

    pictures/cat/1.jpg              python examples/own_images.py pictures
    pictures/cat/2.jpg              python examples/own_images.py --predict new.jpg other.png
    pictures/dog/a.png              python examples/own_images.py pictures --predict new.jpg --out runs/pets
    ...

Needs Pillow (pip install 'allconv[plot]'). Each picture is turned upright as its camera says, cropped to a square and
scaled; a fifth of them is kept out of training to measure the accuracy. OUT/weights.npz and OUT/classes.json are all
that --predict needs: the network begins with a BatchNorm, which learns the pictures' mean and deviation, and so the
weights hold the normalization too.
"""

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import allconv as ac
from allconv.typing import Array

SIZE = 32  # pixels a side; more show finer detail, at a cost that grows with the square


def read(path: Path) -> Array:
    """Return a picture as (SIZE, SIZE, 3) uint8."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            if picture.mode[0] in "IF":  # Pillow would clip what is above 255
                raise ValueError(f"mode {picture.mode}")  # noqa: TRY301
            picture = ImageOps.exif_transpose(picture).convert("RGBA").convert("RGB")
            return np.asarray(ImageOps.fit(picture, (SIZE, SIZE)))
    except Exception as error:  # each decoder has errors of its own
        raise ValueError(f"{path} must be a picture of 8 bits a channel that Pillow reads, got {error!r}") from error


def read_folder(folder: Path) -> ac.data.Dataset:
    """Return all pictures of a folder, shuffled, with the names of its subfolders as classes."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = [sorted(path for path in (folder / name).iterdir() if not path.name.startswith(".")) for name in names]
    if len(names) < 2:
        raise ValueError(f"{folder} must have a subfolder for each of two classes or more, got {len(names)}")
    for name, found in zip(names, files, strict=True):
        if len(found) < 5:
            raise ValueError(f"{folder / name} must hold five pictures or more, got {len(found)}")
    labels = np.repeat(np.arange(len(names)), [len(found) for found in files])
    images = np.stack([read(path) for found in files for path in found])
    order = np.random.default_rng(0).permutation(len(images))
    return ac.data.Dataset(images[order], labels[order], names=names)


def build(classes: int) -> ac.Sequential:
    """Return the untrained network."""
    rng = np.random.default_rng(0)
    return ac.Sequential(ac.BatchNorm(3), ac.models.residual_net(1, classes=classes, rng=rng))


def train(folder: Path, out: Path, epochs: int) -> None:
    """Train on the pictures in `folder`; write the weights and the names of the classes to `out`."""
    dataset = read_folder(folder)
    out.mkdir(parents=True, exist_ok=True)
    kept_out = len(dataset) // 5
    loader = ac.data.Loader(dataset[kept_out:], 32)
    test_loader = ac.data.Loader(dataset[:kept_out], 32, shuffle=False)
    model, loss = build(len(dataset.names)), ac.SoftmaxCrossEntropy()
    for record in ac.train(model, loss, ac.Adam(model.parameters()), loader, epochs=epochs):
        print(f"{record}  test accuracy {ac.evaluate(model, loss, test_loader).accuracy:.4f}")
    ac.save_weights(model, out / "weights.npz")
    with ac.checkpoint.atomic_write(out / "classes.json") as file:
        file.write(json.dumps(dataset.names).encode())


def predict(files: list[Path], out: Path) -> None:
    """Print the likeliest class of each picture, and the probability that the network in `out` gives it."""
    names = json.loads((out / "classes.json").read_text(encoding="utf-8"))
    model = build(len(names))
    ac.load_weights(model, out / "weights.npz")
    images = np.stack([read(path) for path in files]) / np.float32(255)  # The loader scales pixels to 0..1 too.
    for path, shares in zip(files, ac.Softmax()(ac.predict(model, images)), strict=True):
        print(f"{path}: {names[shares.argmax()]} ({shares.max():.1%})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="train on the pictures in its subfolders")
    parser.add_argument("--predict", type=Path, nargs="+", metavar="FILE", help="print the classes of these pictures")
    parser.add_argument("--out", type=Path, default=Path("runs/own_images"), metavar="DIR")
    parser.add_argument("--quick", action="store_true", help="2 epochs in place of 30")
    args = parser.parse_args()
    if not (args.folder or args.predict):
        parser.error("give a folder to train on, or --predict FILE")
    if find_spec("PIL") is None:
        parser.error("Pillow is missing: pip install 'allconv[plot]'")
    try:
        if args.folder:
            train(args.folder, args.out, 2 if args.quick else 30)
        if args.predict:
            predict(args.predict, args.out)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
