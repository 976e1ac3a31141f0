"""docs/howto/matching.md keeps its word: every row of its tables is evaluated, theirs and ours, and compared."""

import functools
import re
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from helpers.peers import PEERS, SHAPE
from helpers.trajectories import assert_close, ours
from scipy import stats
from test_readme import blocks

import allconv as ac

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "howto" / "matching.md").read_text(encoding="utf-8")
STEPS = tuple(range(1, 51))
SIZES = {"any": [(4, 7), (7, 6)], "even": [(6, 4)], "odd": [(5, 7)]}
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}


class Row(NamedTuple):
    section: str
    peer: str
    theirs: str
    here: str
    more: str


def rows():
    for section, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        for line in text.splitlines():
            if line.startswith("| ") and not line.startswith("| |"):
                peer, theirs, here, *more = (cell.strip() for cell in line.strip("|").split(" | "))
                yield Row(section, peer, theirs.strip("`"), here.strip("`"), more[0] if more else "any")


ROWS = list(rows())
LAYOUTS = {(row.peer, row.theirs): row.here for row in ROWS if row.section == "Shapes"}


CODE = {}
exec("\n".join(blocks(PAGE, "python")), CODE)
KINDS = [ac.Conv2D, ac.ConvTranspose2D, ac.Linear, ac.BatchNorm, ac.GroupNorm, ac.PReLU, CODE["KerasBatchNorm"]]
IN_FLOAT64 = {kind.__name__: functools.partial(kind, dtype=np.float64) for kind in KINDS}
AC = SimpleNamespace(**{name: getattr(ac, name) for name in ac.__all__} | IN_FLOAT64)


def evaluate(cell, **more):
    """Return what an expression of the right column gives, with layers in float64."""
    return eval(cell, CODE | IN_FLOAT64 | {"ac": AC} | more)


def layout(row):
    """Return the page's expression for the weight of the layer in a row, or None where it has none."""
    found = [here for (peer, layer), here in LAYOUTS.items() if peer == row.peer and f"{layer}(" in row.theirs]
    return found[0] if found else None


class Masks:
    """Stands in for Dropout's generator, and draws the mask of another library."""

    def __init__(self, kept):
        self.kept = kept

    def random(self, shape, dtype):
        return self.kept.astype(dtype)  # 1 is at least the rate, 0 is not


def check_layer(row, peer):
    rng = np.random.default_rng(1)
    for size in SIZES[row.more]:
        layer = evaluate(row.here)
        shape = (2, 5) if isinstance(layer, ac.Linear) else (2, *size, 4)
        sizes = {name: p.value.shape for name, p in layer.named_parameters() if p.trainable}
        other = peer.layer(row.theirs, layout(row), shape, sizes)
        assert set(other.weights()) == {name for name, _ in layer.named_parameters()}
        for name, value in other.weights().items():
            getattr(layer, name).value = value
        # tf.nn.dropout is for training; at inference it is left out of the graph.
        for training in (True, True, "tf.nn.dropout" in row.theirs):
            x = rng.normal(size=shape)
            dy = rng.normal(size=(len(x), *layer.output_shape(shape[1:])))
            y, dx, gradients = other.run(x, dy, training)
            if isinstance(layer, ac.Dropout):
                layer.rng = Masks(y != 0)
            mine, cache = layer.forward(x, training=training)
            np.testing.assert_allclose(mine, y, **TOLERANCE)
            np.testing.assert_allclose(layer.backward(dy, cache), dx, **TOLERANCE)
            for name, value in gradients.items():
                np.testing.assert_allclose(getattr(layer, name).grad, value, **TOLERANCE)
                getattr(layer, name).grad = None
            for name, value in other.weights().items():
                np.testing.assert_allclose(getattr(layer, name).value, value, **TOLERANCE)


def check_loss(row, peer):
    rng = np.random.default_rng(2)
    arrays = {"scores": 3 * rng.normal(size=(7, 3))}
    if "labels" in row.here:
        arrays["labels"] = rng.integers(0, 3, 7)
        if "ignore_index" in row.here:
            arrays["labels"][2] = -100
    else:
        arrays["rows"] = rng.dirichlet(np.ones(3), 7)
    value, gradient = evaluate(row.here, **arrays)
    other, other_gradient = peer.loss(row.theirs, **arrays)
    assert value == pytest.approx(other, rel=1e-9)
    np.testing.assert_allclose(gradient, other_gradient, **TOLERANCE)


def trajectories(row, peer):
    theirs = "amsgrad(3e-4)" if row.peer == "the article" else row.theirs
    return ours(lambda p: evaluate(row.here, p=p), STEPS), peer.trajectory(theirs, STEPS)


def check_optimizer(row, peer):
    assert_close(*trajectories(row, peer))


def check_initializer(row, peer):
    """The largest distance between the two distributions of 10,368 numbers is what chance would leave."""
    draws = evaluate(row.here)(np.random.default_rng(3), SHAPE, np.dtype(np.float64))
    other = peer.sample(row.theirs)
    if isinstance(other, np.ndarray):
        assert other.shape == draws.shape
        assert stats.ks_2samp(draws.ravel(), other.ravel()).pvalue > 0.01
    else:
        assert stats.kstest(draws.ravel(), other.cdf).pvalue > 0.01
    if "orthogonal" in row.here:
        for w in (draws, other):
            matrix = w.reshape(-1, SHAPE[-1])
            np.testing.assert_allclose(matrix.T @ matrix, np.eye(SHAPE[-1]), **TOLERANCE)


def check_difference(row, peer):
    last = [weights[-1] for weights in trajectories(row, peer)]
    assert max(np.abs(a - b).max() for a, b in zip(*last, strict=True)) > 1e-6


CHECKS = {
    "Convolution": check_layer,
    "Upsampling": check_layer,
    "Linear layers": check_layer,
    "Mean pooling": check_layer,
    "Max pooling": check_layer,
    "Activations": check_layer,
    "Batch normalization": check_layer,
    "Group normalization": check_layer,
    "Dropout": check_layer,
    "Losses": check_loss,
    "Momentum": check_optimizer,
    "Adam": check_optimizer,
    "AMSGrad": check_optimizer,
    "RMSprop and AdaGrad": check_optimizer,
    "Initial weights": check_initializer,
    "What cannot be had": check_difference,
}
COMPARED = [row for row in ROWS if row.section != "Shapes"]


def test_the_page_has_its_rows_and_each_is_of_a_section_that_is_checked():
    assert {row.section for row in COMPARED} == set(CHECKS)
    assert {row.peer for row in ROWS} == set(PEERS)
    assert len(COMPARED) == PAGE.count("\n| ") - PAGE.count("\n| |") - len(LAYOUTS) > 90


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")  # a matter of speed
@pytest.mark.parametrize(
    ("row", "source"),
    [
        pytest.param(row, source, id=f"{row.peer}-{source}-{row.theirs}-{row.here}")
        for row in COMPARED
        for source in PEERS[row.peer]
    ],
)
def test_a_row(row, source):
    CHECKS[row.section](row, PEERS[row.peer][source]())


def test_a_whole_network():
    """The last two blocks of the page: PyTorch's weights taken over, then both trained and compared on the way."""
    pytest.importorskip("torch").set_num_threads(1)
    (theirs,) = blocks(PAGE, "py")
    page = {}
    exec("\n".join([*blocks(PAGE, "python"), theirs]), page)
    page["take_over"]()
    started = [p.value.copy() for p in page["model"].parameters()]
    for _ in range(5):
        page["train"](10)
        page["peer_train"](10)
        scores = page["peer"](page["x"]).detach().numpy()  # in training mode: a step of the statistics for both
        mine, _ = page["model"].forward(page["images"], training=True)
        np.testing.assert_allclose(mine, scores, **TOLERANCE)
    trained = [p.value.copy() for p in page["model"].parameters()]
    page["take_over"]()
    for value, theirs, before in zip(trained, page["model"].parameters(), started, strict=True):
        np.testing.assert_allclose(value, theirs.value, **TOLERANCE)
        assert np.abs(value - before).max() > 1e-2
