r"""A layer of one's own: derived, checked by differences, and trained.

    python examples/new_layer.py
    python examples/new_layer.py --quick

The layer is Swish with a slope that is learnt, one for each channel c (Ramachandran et al., 2017):

    y = x s,  where  s = sigmoid(b_c x)

With slope 0 it is the line x / 2, with a steep one nearly ReLU: each channel finds its own place between the two.
Since ds/du = s (1 - s) for s = sigmoid(u), the product and the chain rule give

    dL/dx   = dL/dy (s + b_c x s (1 - s))
    dL/db_c = sum over n, h, w of dL/dy x^2 s (1 - s)

The sum is there because every position of every image uses the same b_c.
"""

import argparse

import numpy as np
from numpy.typing import DTypeLike
from scipy.special import expit as sigmoid

import allconv as ac
from allconv.typing import Array, Cache
from allconv.validation import check_dtype, check_gradient, check_images, check_int


class LearntSwish(ac.Layer):
    """Swish with a learnt slope for each channel; input and output ``(N, H, W, C)``, slope ``(C,)``, 1 at first."""

    def __init__(self, channels: int, *, dtype: DTypeLike = np.float32) -> None:
        self.channels = check_int("channels", channels)
        # Being an attribute makes it a parameter of the model: trained, saved and listed under its path. Slopes are
        # no weights that should be small, so weight decay leaves them alone.
        self.slope = ac.Parameter(np.ones(self.channels, check_dtype("dtype", dtype)), decay=False)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y = x s."""
        x = check_images("x", x, self.slope.value.dtype, self.channels)
        s = sigmoid(self.slope.value * x)
        return x * s, (x, s)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx = dL/dy (s + b x s (1 - s)), and add dL/db = sum of dL/dy x^2 s (1 - s)."""
        x, s = cache
        dy = check_gradient(dy, x)
        bend = x * s * (1 - s)
        if self.slope.trainable:
            self.slope.add_grad((dy * x * bend).sum(axis=(0, 1, 2)))
        dx: Array = dy * (s + self.slope.value * bend)
        return dx

    def __repr__(self) -> str:
        return f"LearntSwish({self.channels})"


def check() -> None:
    """Compare the layer's backward pass with central differences, and stop if the two disagree."""
    layer = LearntSwish(3, dtype=np.float64)
    layer.slope.value = np.array([-0.5, 1.0, 2.0])  # Different slopes show a mix-up of channels.
    report = ac.gradcheck.check(layer, np.random.default_rng(0).standard_normal((2, 4, 4, 3)))
    print(report)
    report.raise_if_failed()


def train(images: int, epochs: int) -> None:
    """Train a small network with the layer on drawn shapes, and print what became of the slopes."""
    rng = np.random.default_rng(0)
    model = ac.Sequential(
        ac.Conv2D(3, 16, 3, stride=2, rng=rng),
        LearntSwish(16),
        ac.Conv2D(16, 32, 3, stride=2, rng=rng),
        LearntSwish(32),
        ac.Conv2D(32, 64, 3, stride=2, rng=rng),
        LearntSwish(64),
        ac.Conv2D(64, 10, 1, rng=rng),
        ac.GlobalAveragePool2D(),
    )
    print(model.summary((32, 32, 3)))
    train_set, test_set = ac.data.shapes(images, seed=0), ac.data.shapes(500, seed=1)
    normalize = ac.data.Standardize.fit(train_set.images)
    loader = ac.data.Loader(train_set, 50, normalize=normalize)
    test_loader = ac.data.Loader(test_set, 50, shuffle=False, normalize=normalize)
    loss = ac.SoftmaxCrossEntropy()
    for record in ac.train(model, loss, ac.Adam(model.parameters(), 3e-3), loader, epochs=epochs):
        print(record)
    print(f"test accuracy {ac.evaluate(model, loss, test_loader).accuracy:.3f}")
    for path, parameter in model.named_parameters():
        if path.endswith("slope"):
            low, middle, high = np.quantile(parameter.value, [0, 0.5, 1])
            print(f"{path}: from 1 to between {low:.2f} and {high:.2f}, median {middle:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short epochs instead of eight")
    quick = parser.parse_args().quick
    check()
    train(*(400, 2) if quick else (2000, 8))
