r"""What the faults of the published code do to the gradient: each as a switch, measured and checked.

    python examples/published_faults.py
    python examples/published_faults.py --write docs/experiment/faults.md

The hand-written backward pass of cases c, d, g and h departs from the gradient in four places
(docs/experiment/protocol.md, "Faults of the published code"). Three are backward rules in `allconv.article`:
`elu_twice`, `average_undivided` and `pool_undivided`. `rules.override_backward` puts a rule in the place
of a layer's backward pass. The fourth fault is a loss with ``reduction="sum"``.

The first tables compare the gradients of the weights under each fault with the true gradients. They do so for both
networks of the article at their initial weights, on one step of 50 drawn images. The last table says what the gradient
check finds. With --write, the tables replace the text between the two comments in a Markdown file.
"""

import argparse
import math
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import allconv as ac
from allconv.article import FAULTS, rules_for
from allconv.gradcheck import Report, check, check_loss
from allconv.rules import Pattern, Rule, override_backward
from allconv.typing import Array, Cache

IMAGES = 50  # in a step
BEGIN = "<!-- faults: begin: `python examples/published_faults.py --write docs/experiment/faults.md` -->"
END = "<!-- faults: end -->"


def gradients(
    model: ac.Layer, scores: Array, cache: Cache, labels: Array, rules: Mapping[Pattern, Rule], *, summed: bool
) -> dict[str, Array]:
    """Return the gradients of the weights by path from one backward pass under `rules`."""
    _, dscores = ac.SoftmaxCrossEntropy(reduction="sum" if summed else "mean")(scores, labels)
    if rules:
        with override_backward(model, rules):
            model.backward(dscores, cache)
    else:
        model.backward(dscores, cache)
    found = {}
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None  # noqa: S101 - for the type checker
        found[path], parameter.grad = parameter.grad, None
    return found


def measure(kind: str, images: int) -> dict[str, list[tuple[float, float]]]:
    """Return, for each fault of the network, cosine and ratio |faulty| / |true| of each convolution's weights."""
    model = ac.models.article_net(kind, rng=np.random.default_rng(678))
    dataset = ac.data.shapes(images, seed=0)
    scores, cache = model.forward(ac.data.per_step(dataset.images), training=True)
    true = gradients(model, scores, cache, dataset.labels, {}, summed=False)
    found = {}
    for fault in FAULTS:
        rules = rules_for(model, fault)
        if rules is not None:
            summed = fault in ("summed loss", "all")
            faulty = gradients(model, scores, cache, dataset.labels, rules, summed=summed)
            found[fault] = [cosine_and_ratio(true[path], faulty[path]) for path in true]
    return found


def cosine_and_ratio(true: Array, faulty: Array) -> tuple[float, float]:
    """Return the cosine between two gradients, and the norm of the faulty one divided by the norm of the true one."""
    a, b = true.astype(np.float64).ravel(), faulty.astype(np.float64).ravel()
    sizes = math.sqrt(a @ a), math.sqrt(b @ b)
    return float(a @ b) / (sizes[0] * sizes[1]), sizes[1] / sizes[0]


def published_loss(scores: Array, labels: Array) -> tuple[float, Array]:
    """Return the mean loss with the gradient of the sum."""
    return ac.SoftmaxCrossEntropy()(scores, labels)[0], ac.SoftmaxCrossEntropy(reduction="sum")(scores, labels)[1]


def check_network(kind: str, fault: str) -> Report | None:
    """Return what the gradient check finds in the network, on one small image, or None without such a fault."""
    model = ac.models.article_net(kind, dtype=np.float64, rng=np.random.default_rng(678))
    rules = rules_for(model, fault)
    if not rules:
        return None
    x = ac.data.per_step(ac.data.shapes(2, seed=0).images).astype(np.float64)[:1, ::4, ::4]
    with override_backward(model, rules):
        return check(model, x, elements=0)


def check_alone(fault: str) -> Report:
    """Return what the gradient check finds in the layer, or the loss, that has the fault."""
    rng = np.random.default_rng(0)
    if fault == "summed loss":
        return check_loss(published_loss, rng.standard_normal((IMAGES, 4)), rng.integers(0, 4, IMAGES))
    layer = {"ELU": ac.ELU(), "global average": ac.GlobalAveragePool2D(), "mean pool": ac.MeanPool2D(2)}[fault]
    with override_backward(layer, {type(layer): next(iter(FAULTS[fault].values()))}):
        return check(layer, rng.standard_normal((1, 8, 8, 3)))


def gradient_table(kind: str, images: int = IMAGES) -> str:
    """Return the Markdown table of `measure`."""
    found = measure(kind, images)
    rows = [["convolution", *found]]
    for k in range(9):
        cells = (f"{cosine:.3f}, {ratio:.4g}" for cosine, ratio in (found[fault][k] for fault in found))
        rows.append([str(k + 1), *cells])
    return markdown(rows)


def check_table() -> str:
    """Return the Markdown table of what the gradient check says."""
    rows = [["fault", "by itself", "in the ConvPool-CNN", "in the All-CNN"]]
    for fault in [fault for fault in FAULTS if fault != "all"]:
        alone = next(row.note.partition(";")[0] for row in check_alone(fault).failures if row.check == "elements")
        cells = [fault, alone]
        for kind in ("convpool", "allcnn"):
            report = check_network(kind, fault)
            starts = [f"`{path}`" for path in report.starts] if report is not None else []
            cells.append(f"starts in {', '.join(starts)}" if starts else "-")
        rows.append(cells)
    return markdown(rows)


def markdown(rows: list[list[str]]) -> str:
    """Return rows of cells, of which the first is the head, as a Markdown table."""
    head, *body = (f"| {' | '.join(row)} |\n" for row in rows)
    return head + "|" + "---|" * len(rows[0]) + "\n" + "".join(body)


def page() -> str:
    """Return all tables, in Markdown."""
    titles = {"convpool": "ConvPool-CNN", "allcnn": "All-CNN"}
    parts = [f"{title}:\n\n{gradient_table(kind)}" for kind, title in titles.items()]
    return "\n".join([*parts, f"The gradient check:\n\n{check_table()}"]).rstrip()


def main(argv: list[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this Markdown file")
    args = parser.parse_args(argv)
    try:
        text = args.write.read_text(encoding="utf-8") if args.write else f"{BEGIN}\n{END}"
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not (begin and end):
            print(f"error: {args.write} must have the lines {BEGIN} and {END}, and lacks one", file=sys.stderr)
            return 1
        tables = page()
        if args.write:
            with ac.checkpoint.atomic_write(args.write) as file:
                file.write(f"{before}{BEGIN}\n{tables}\n{END}{after}".encode())
    except (OSError, UnicodeDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
