"""Train a case as `examples/cifar10_allcnn.py` does, but with one change that may explain the published curves.

    pip install pillow
    python benchmarks/variants.py --change encoded-again --case f --data PATH --out runs/f-encoded-again
    python benchmarks/variants.py --change published-backward --case h --data PATH --out runs/h-published-backward

"encoded-again": the originals are not at hand, so what one encoding as JPEG (quality 75, colour at half the resolution)
costs is estimated by that of a second one, of training and test images. Its blocks are shifted by four pixels against
the first one's: on the same grid a second encoding would find every coefficient already rounded, and change little.

"encoded-coarsely": the second encoding finds the finest detail gone, so that the first may have cost more. This one,
with quality 25 and colour at a quarter of the resolution, presumably takes more than the first did, in mean square. Of
the brightness: the program prints its root mean square change, and that of rounding with the steps of quality 75, if
every coefficient is spread evenly over its step. Of the colour: natural images have less in the detail between full and
half of the resolution, which the first took, than between half and a quarter.

"published-backward": the backward pass of the published code, which in cases c, g and h, and presumably in d, is
not the gradient (docs/faults.md). Its summed loss is left out: a factor that all layers share, which AMSGrad hides.

All other arguments are the example's, and so are the logs. `experiment_report.py` makes a table of
``benchmarks/results/variants/CASE-CHANGE/log.csv``; `first_steps.py` makes the same changes for a short run.
"""

import argparse
import io
import sys
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image
from tqdm import tqdm

import allconv as ac
from allconv.rules import override_backward

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import cifar10_allcnn
from cifar10_allcnn import build
from command_line import read_data
from published_faults import rules_for

QUALITY = {"encoded-again": 75, "encoded-coarsely": 25}
CHANGES = (*QUALITY, "published-backward")
BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue, as JPEG has it
SHIFT, BLOCK = 4, 16  # pixels; with colour at half the resolution, 16x16 are encoded together


def encode(images: np.ndarray, change: str) -> np.ndarray:
    """Return images (N, 32, 32, 3) uint8 after one more encoding, its blocks shifted."""
    frame = (SHIFT, BLOCK - SHIFT)
    framed = np.pad(images, ((0, 0), frame, frame, (0, 0)), mode="edge")
    result = np.empty_like(images)
    for index, values in enumerate(tqdm(framed, desc="encoding", leave=False)):
        image = Image.fromarray(values)
        if change == "encoded-coarsely":
            brightness, *colours = image.convert("YCbCr").split()
            quartered = (colour.reduce(4).resize(image.size, Image.Resampling.BILINEAR) for colour in colours)
            image = Image.merge("YCbCr", [brightness, *quartered]).convert("RGB")
        file = io.BytesIO()
        image.save(file, "JPEG", quality=QUALITY[change], subsampling="4:2:0")
        result[index] = np.asarray(Image.open(file))[SHIFT : SHIFT - BLOCK, SHIFT : SHIFT - BLOCK]
    return result


def rounding() -> float:
    """Return the root mean square change of the brightness by rounding as the first encoding did, evenly spread."""
    file = io.BytesIO()
    Image.new("RGB", (BLOCK, BLOCK)).save(file, "JPEG", quality=75)
    steps = np.array(Image.open(file).quantization[0])
    return float(np.sqrt(np.mean(steps**2) / 12))


def changed_images(dataset: ac.data.Dataset, change: str) -> ac.data.Dataset:
    """Return the images, encoded again if that is the change, and print what that does to the brightness."""
    if change not in QUALITY:
        return dataset
    images = encode(dataset.images, change)
    difference = (images - dataset.images.astype(np.float32)) @ BRIGHTNESS
    print(
        f"{change}: the brightness changes by {np.sqrt(np.mean(difference**2)):.2f} of 255, root mean square; "
        f"by rounding at quality 75, evenly spread, by {rounding():.2f}"
    )
    return ac.data.Dataset(images, dataset.labels)


def changed_backward(model: ac.Layer, change: str) -> AbstractContextManager[object]:
    """Return a context in which the model goes back as the published code does, if that is the change."""
    rules = rules_for(model, "all") if change == "published-backward" else None
    return override_backward(model, rules) if rules else nullcontext()


def main() -> int:
    """Put the change in the place of what it changes, run the example, and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--change", required=True, choices=CHANGES)
    args, rest = parser.parse_known_args()

    def read_changed(options: argparse.Namespace) -> tuple[ac.data.Dataset, ac.data.Dataset, str]:
        train, test, source = read_data(options)
        # The name of the change keeps --resume from going on with another.
        return changed_images(train, args.change), changed_images(test, args.change), f"{source}, {args.change}"

    with ExitStack() as stack:

        def build_changed(case: str, rng: np.random.Generator) -> tuple[ac.Sequential, ac.Optimizer, float]:
            model, optimizer, factor = build(case, rng)
            stack.enter_context(changed_backward(model, args.change))
            return model, optimizer, factor

        stack.enter_context(mock.patch.multiple(cifar10_allcnn, read_data=read_changed, build=build_changed))
        return cifar10_allcnn.main(rest)


if __name__ == "__main__":
    sys.exit(main())
