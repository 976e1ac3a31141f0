"""The command line: ``python -m allconv predict FOLDER IMAGE...`` prints the five most probable classes of each image.

The folder is one that `allconv.deploy.save` has written. No code in it is executed.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from allconv import deploy
from allconv.typing import Array

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's names of images with so many channels


def main(argv: list[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m allconv", description="What a deployed network sees in images.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser("predict", help="print the five most probable classes of each image")
    predict.add_argument("folder", type=Path, metavar="FOLDER", help="a folder that allconv.deploy.save has written")
    predict.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGE", help="a picture; one of another size is resized"
    )
    arguments = parser.parse_args(argv)
    try:
        _predict(arguments.folder, arguments.images)
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _predict(folder: Path, images: list[Path]) -> None:
    """Print the name of each image, and below it the probability and name of each class."""
    model = deploy.load(folder)
    for path in images:
        (best,) = model.top(_read_image(path, model.input_shape)[None])
        print(path)
        for name, probability in best:
            print(f"  {probability:.3f}  {name}")


def _read_image(path: Path, shape: tuple[int, ...]) -> Array:
    """Return a picture as uint8 of a shape: resized where its size is another, its channels converted."""
    if len(shape) != 3 or shape[2] not in _MODES:
        raise ValueError(f"the network must take images with 1, 3 or 4 channels, got inputs of shape {shape}")
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImportError("to read images, Pillow must be installed: pip install 'allconv[plot]'") from None
    try:
        with Image.open(path) as picture:
            if picture.mode[0] in "IF":  # Pillow would clip what is above 255.
                raise ValueError(f"mode {picture.mode}")  # noqa: TRY301
            converted = ImageOps.exif_transpose(picture).convert(_MODES[shape[2]])
    except Exception as error:  # Each decoder has errors of its own, and one is for a size that would fill the memory.
        raise ValueError(f"{path} must be a picture of 8 bits a channel that Pillow reads, got {error!r}") from error
    if converted.size != (shape[1], shape[0]):
        converted = converted.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(converted).reshape(shape)


if __name__ == "__main__":
    sys.exit(main())
