"""What does the JPEG copy of CIFAR-10 cost? The first steps of a case, on the images as they are and encoded once more.

    pip install pillow
    python benchmarks/jpeg_cost.py --data PATH [--case h] [--steps 1000] [--seed 678]

The originals are not at hand, so the cost of one encoding (quality 75, colour at half the resolution) is estimated by
that of a second one. Its blocks are shifted by four pixels against the first one's: on the same grid a second encoding
would find every coefficient already rounded, and change little. Training and test images are both encoded again; both
runs share weights, order and augmentation. The rows go to benchmarks/results/jpeg.csv, from which
`experiment_report.py` makes a table.
"""

import argparse
import csv
import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from short_run import short_run
from tqdm import tqdm

import allconv as ac

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))
from cifar10_allcnn import build  # noqa: E402 - found only through the line above

RESULT = ROOT / "benchmarks" / "results" / "jpeg.csv"

SHIFT, BLOCK = 4, 16  # pixels; with colour at half the resolution, 16x16 are encoded together


def encode_again(images: np.ndarray) -> np.ndarray:
    """Return images (N, 32, 32, 3) uint8 after one more encoding, its blocks shifted."""
    frame = (SHIFT, BLOCK - SHIFT)
    framed = np.pad(images, ((0, 0), frame, frame, (0, 0)), mode="edge")
    result = np.empty_like(images)
    for index, image in enumerate(tqdm(framed, desc="encoding", leave=False)):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=75, subsampling="4:2:0")
        result[index] = np.asarray(Image.open(file))[SHIFT : SHIFT - BLOCK, SHIFT : SHIFT - BLOCK]
    return result


def main() -> None:
    """Train on both, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--case", choices=list("abcdefgh"), default="h")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=678)
    args = parser.parse_args()
    rows = []
    for name in ("as they are", "encoded again"):
        train, test = ac.data.cifar10(args.data)
        change = 0.0
        if name == "encoded again":
            original = test.images
            train, test = (ac.data.Dataset(encode_again(part.images), part.labels) for part in (train, test))
            change = float(np.abs(test.images.astype(float) - original).mean())
        model, optimizer, _ = build(args.case, np.random.default_rng(args.seed))
        train_accuracy, test_accuracy = short_run(model, optimizer, train, test, steps=args.steps, seed=args.seed)
        rows.append(
            {
                "case": args.case,
                "seed": args.seed,
                "steps": args.steps,
                "images": name,
                "change": f"{change:.2f}",
                "train_accuracy": f"{train_accuracy:.4f}",
                "test_accuracy": f"{test_accuracy:.4f}",
            }
        )
        print(rows[-1], flush=True)
    with RESULT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
