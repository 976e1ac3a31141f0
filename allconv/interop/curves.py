"""Which layer computes a curve: an activation that a file spells out in several operators is known by its values."""

import copy
import functools
from collections.abc import Callable

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.dropout import Dropout
from allconv.layers.elu import ELU
from allconv.layers.gelu import GELU
from allconv.layers.leaky_relu import LeakyReLU
from allconv.layers.prelu import PReLU
from allconv.layers.relu import ReLU
from allconv.layers.relu6 import ReLU6
from allconv.layers.sigmoid import Sigmoid
from allconv.layers.silu import SiLU
from allconv.layers.tanh import Tanh
from allconv.typing import Array


def _erf(x: Array) -> Array:
    from scipy.special import erf  # Importing scipy.special takes longer than importing the rest of the library.

    return np.asarray(erf(x))


# A column of points, where curves are compared; those of layers here differ well within.
POINTS = np.linspace(-9, 9, 181)[:, None]
UNARY: dict[str, Callable[[Array], Array]] = {
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "Erf": _erf,
    "Exp": np.exp,
    "Neg": np.negative,
    "Softplus": lambda x: np.logaddexp(x, 0),
    "Abs": np.abs,
}
BINARY = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power, "Min": np.minimum,
    "Max": np.maximum,
}  # fmt: skip
_LAYERS = (Dropout(0.0), ReLU(), ReLU6(), Sigmoid(), Tanh(), SiLU(), GELU(), GELU("tanh"), ELU())


@functools.cache
def _outputs() -> Array:
    """Return a column for each of `_LAYERS`: its output at `POINTS`."""
    return np.stack([layer(POINTS) for layer in _LAYERS])


def layer_of(values: Array) -> Layer | None:
    """Return a new layer whose output at `POINTS` is `values`, or None; Dropout(0.0) is the identity.

    The values are a column, or have a column for each channel.
    """
    channels = values.shape[1]
    if channels == 1:
        alike = (np.abs(_outputs() - values) <= 1e-5).all(axis=(1, 2))
        if alike.any():
            return copy.copy(_LAYERS[int(alike.argmax())])
    slopes = values[0] / POINTS[0]
    wanted = np.where(POINTS < 0, slopes * POINTS, POINTS)
    if not (np.abs(wanted - values) <= 1e-5).all():
        return None
    if channels == 1:
        return LeakyReLU(float(slopes[0])) if slopes[0] > 0 else None
    layer = PReLU(channels)
    layer.weight.value = slopes.astype(np.float32)
    return layer
