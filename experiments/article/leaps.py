"""Measure the leaps of the article's AMSGrad: steps in which a weight moves by many learning rates at once.

    python experiments/article/leaps.py --data PATH     # make the trainings, some minutes each on one core
    python experiments/article/leaps.py --run FOLDER    # print by how much v_bar exceeds v in a run of the example
    python experiments/article/leaps.py                 # write the table of docs/experiment/leaps.md

Each training makes 700 steps of a case by the article's protocol, in the published order of the images. The results
lie beside this file as `leaps.csv`. A training that it has is not made again; delete the file to begin anew.
"""

import argparse
import csv
import dataclasses
import io
import statistics
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import allconv as ac
from allconv.optimizers import Optimizer
from allconv.tables import markdown
from allconv.typing import Array

RESULTS = Path(__file__).with_name("leaps.csv")
TABLE = Path(__file__).resolve().parents[2] / "docs" / "_static" / "results" / "leaps.md"

STEPS, SEED = 700, 678
END = 100  # The loss at the end is the mean over this many steps.
FAR = 10.0  # A weight leaps when it moves by more than this many learning rates in one step.
TRAININGS = [  # case, backward pass, kind of maximum
    ("d", "published", "tensor"),
    ("d", "published", "elementwise"),
    ("d", "gradient", "tensor"),
    ("h", "published", "tensor"),
    ("h", "published", "elementwise"),
]

Row = dict[str, Any]


def build(name: str, maximum: str) -> ac.article.Case:
    """Return a case whose optimizer takes this kind of maximum."""
    case = ac.article.build_case(name, np.random.default_rng(SEED))
    if maximum == "tensor":
        return case
    own = case.optimizer
    assert isinstance(own, ac.DilatedAMSGrad)
    optimizer = ac.DilatedAMSGrad(case.model, own.learning_rate, initial_scale=own.initial_scale, betas=own.betas,
                                  bias_correction=own.bias_correction, maximum=maximum)  # fmt: skip
    return dataclasses.replace(case, optimizer=optimizer)


def losses(case: ac.article.Case, train_set: ac.data.Dataset) -> Iterator[float]:
    """Train, and yield the loss of each step, measured before its update."""
    augment = ac.data.KeepOriginals(ac.data.article_augment())
    loader = ac.article.PublishedOrder(train_set, 25, augment=augment, normalize=ac.data.per_step, seed=SEED)
    training = ac.train(
        case.model, ac.SoftmaxCrossEntropy(), case.optimizer, loader, epochs=1, schedule=case.schedule, report_every=1
    )
    total = 0.0
    for record in training:
        yield record.loss * record.step - total
        total = record.loss * record.step
        if record.step == STEPS:
            return


def farthest(moves: list[Array], optimizer: Optimizer) -> Row:
    """Return the convolution whose weight has moved farthest, and at that weight the roots of v and v_bar."""
    number = int(np.argmax([move.max() for move in moves]))
    place = np.unravel_index(moves[number].argmax(), moves[number].shape)
    slots, path = optimizer.state(), optimizer.parameters[number].name
    v, v_bar = (float(np.sqrt(slots[f"{slot}/{path}"][place])) for slot in ("v", "vmax"))
    return {"move": float(moves[number].max()), "convolution": number + 1, "root_v": v, "root_v_bar": v_bar}


def excess(state: dict[str, Any]) -> float:
    """Return by which factor the sum of v_bar exceeds the sum of v: the median over the convolutions."""
    sums = {key: float(array.sum()) for key, array in state.items() if key.startswith(("v/", "vmax/"))}
    return statistics.median(sums["vmax" + key[1:]] / total for key, total in sums.items() if key.startswith("v/"))


def measure(name: str, backward: str, maximum: str, train_set: ac.data.Dataset) -> Row:
    """Make one training, and return its row."""
    case = build(name, maximum)
    parameters = case.model.parameters()
    rules = ac.article.published_backward(case.model) if backward == "published" else nullcontext()
    before = [parameter.value.copy() for parameter in parameters]
    seen: list[float] = []
    leaping: list[int] = []
    best: Row = {"move": 0.0}
    with rules:
        for loss in tqdm(losses(case, train_set), f"{name}, {backward}, {maximum}", STEPS, unit="step"):
            seen.append(loss)
            moves = [abs(p.value - old) / case.schedule(0) for p, old in zip(parameters, before, strict=True)]
            before = [parameter.value.copy() for parameter in parameters]
            largest = max(float(move.max()) for move in moves)
            if largest > best["move"]:
                best = farthest(moves, case.optimizer) | {"step": len(seen)}
            if largest > FAR:
                leaping.append(len(seen))
    return {
        "case": name, "backward": backward, "maximum": maximum, "steps": len(seen),
        "leaping": len(leaping), "last": max(leaping, default=0), **best,
        "largest_loss": max(seen), "last_loss": statistics.fmean(seen[-END:]), "excess": excess(case.optimizer.state()),
    }  # fmt: skip


def kept() -> list[dict[str, str]]:
    """Return the rows of the trainings that were made."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def make(data: str) -> None:
    """Make the trainings that leaps.csv lacks."""
    train_set, _ = ac.data.cifar10(data)
    for training in TRAININGS:
        rows: list[Row] = [*kept()]
        if training not in [(row["case"], row["backward"], row["maximum"]) for row in rows]:
            write([*rows, measure(*training, train_set)])


def write(rows: list[Row]) -> None:
    """Write leaps.csv, whole or not at all: each row took minutes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[-1]))
    writer.writeheader()
    writer.writerows(rows)
    with ac.checkpoint.atomic_write(RESULTS) as file:
        file.write(text.getvalue().encode())


def table(rows: list[dict[str, str]]) -> str:
    """Return the table of the page."""
    lines = [["case, backward pass, maximum", "steps with a leap", "the last of them", "farthest move"]]
    lines[0] += ["its step, convolution", "√v, √v̄ there", "largest loss of a step", f"mean loss, last {END} steps"]
    lines[0] += ["v̄ over v at the end"]
    for row in rows:
        lines.append([", ".join((row["case"], row["backward"], row["maximum"])), row["leaping"], row["last"]])
        lines[-1] += [f"{float(row['move']):.3g}", f"{row['step']}, {row['convolution']}"]
        lines[-1] += [f"{float(row['root_v']):.2g}, {float(row['root_v_bar']):.2g}"]
        lines[-1] += [f"{float(row['largest_loss']):.3g}", f"{float(row['last_loss']):.2f}"]
        lines[-1] += [f"{float(row['excess']):.2g}"]
    return markdown(lines)


def main() -> None:
    """Make the trainings if there is a path to the data, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="the folder of CIFAR-10; without it the table is written from leaps.csv")
    parser.add_argument("--run", type=Path, help="the folder of a run of case c, d, g or h")
    arguments = parser.parse_args()
    if arguments.run:
        state = ac.checkpoint.load(arguments.run / "checkpoints")
        print(f"after {state['optimizer']['step_count']} steps: {excess(state['optimizer']):.2g}")
        return
    if arguments.data:
        make(arguments.data)
    with ac.checkpoint.atomic_write(TABLE) as file:
        file.write(table(kept()).encode())


if __name__ == "__main__":
    main()
