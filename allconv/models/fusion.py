"""A copy of a model for prediction: the same function in fewer passes over memory."""

import copy
from typing import Any, NoReturn

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.batchnorm import BatchNorm
from allconv.layers.branches import Branches
from allconv.layers.conv import Conv2D
from allconv.layers.elu import ELU
from allconv.layers.gelu import GELU
from allconv.layers.leaky_relu import LeakyReLU
from allconv.layers.linear import Linear
from allconv.layers.relu import ReLU
from allconv.layers.relu6 import ReLU6
from allconv.layers.sequential import Sequential
from allconv.layers.sigmoid import Sigmoid
from allconv.layers.silu import SiLU
from allconv.layers.skip import Skip
from allconv.layers.tanh import Tanh
from allconv.models.fused_layers import FusedConv2D, FusedLinear
from allconv.models.planning import Plans
from allconv.parallel.blas import single_threaded_blas
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_bool, check_instance

_ACTIVATIONS = (ELU, GELU, LeakyReLU, ReLU, ReLU6, Sigmoid, SiLU, Tanh)


class Fused(Sequential):
    """What `fuse` returns: layers in a row that only predict."""

    def __init__(self, *layers: Layer) -> None:
        super().__init__(*layers)
        self._plans = Plans(self.layers)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle or a copy needs; plans, which hold memory, are made again."""
        return {"layers": self.layers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the state of a pickle or a copy."""
        vars(self).update(state)
        self._plans = Plans(self.layers)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:
        """Return the output, and None in the place of a cache."""
        if check_bool("training", training):
            raise ValueError("training must be False for a fused copy, which is for prediction only, got True")
        return self(x), None

    def backward(self, dy: Array, cache: Cache, *, release: bool = False) -> NoReturn:  # noqa: ARG002
        """Raise: a fused copy keeps nothing that a backward pass needs."""
        raise RuntimeError("backward must be called on the model itself: a fused copy is for prediction only")

    def backward_parameters(self, dy: Array, cache: Cache, *, release: bool = False) -> NoReturn:  # noqa: ARG002
        """Raise as `backward` does."""
        self.backward(dy, cache)

    def __call__(self, x: Array) -> Array:
        """Return the last layer's output: by a plan where one serves, or else layer by layer."""
        x = check_batch("x", x)
        with single_threaded_blas():
            y = self._plans.predict(x)
            return super().__call__(x) if y is None else y

    def __repr__(self) -> str:
        return super().__repr__().replace("Sequential", "Fused", 1)


def fuse(model: Layer) -> Fused:
    r"""Return a frozen copy of `model` for prediction, which later training of `model` does not change.

    - A `BatchNorm` right after a `Conv2D` or `Linear` is folded into it, by output channel:

      .. math:: \gamma\, \frac{x W + b - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta
          = x\,(s W) + s\,(b - \mu) + \beta, \qquad s = \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}

    - An activation right after a convolution is applied to each block of the output while the block is in the cache.
    - The weights that Winograd's algorithm may use are transformed once, which takes 2.3 to 16 times their memory. A
      second copy, cut into channels, is made where two threads share the prediction of an image.
    - A prediction of few images is prepared once for their shape. The next one makes no choices and no new arrays but
      its result, and calls NumPy a few times for each layer. The memory for it counts towards the memory limit.

    Parameters
    ----------
    model : Layer
        The model. What a `Sequential`, a `Skip` or a `Branches` holds is fused; any other layer is copied unchanged.

    Returns
    -------
    Fused
        The copy, whose outputs equal those of `model` up to rounding. ``training=True`` and `backward` raise, and so
        does writing to a fused weight. It can be pickled and copied; the copies are independent, and frozen too.

    Raises
    ------
    TypeError
        If `model` is not a Layer.

    Examples
    --------
    >>> from allconv import BatchNorm, Conv2D, ReLU
    >>> model = Sequential(Conv2D(3, 8, 3, bias=False), BatchNorm(8), ReLU())
    >>> fuse(model)
    Fused(
        Conv2D(3, 8, 3) + ReLU(),
    )
    """
    check_instance("model", model, Layer)
    return Fused(*_fused(model))


def _fused(model: Layer) -> list[Layer]:
    """Return fused layers that do what `model` does."""
    # Subclasses may compute something else, so only the classes themselves are known here.
    if type(model) is Skip:
        fused_skip = copy.copy(model)
        fused_skip.body = Sequential(*_fused(model.body))
        fused_skip.shortcut = None if model.shortcut is None else Sequential(*_fused(model.shortcut))
        return [fused_skip]
    if type(model) is Branches:
        return [Branches(*(Sequential(*_fused(layer)) for layer in model.layers), merge=model.merge)]
    waiting = list(model) if type(model) is Sequential else [model]
    fused: list[Layer] = []
    while waiting:
        layer = waiting.pop(0)
        if type(layer) is Sequential:
            waiting[:0] = layer
        elif type(layer) in (Branches, Skip):
            fused += _fused(layer)
        elif type(layer) is Conv2D or type(layer) is Linear:
            weight, bias = _folded(layer, waiting)
            if isinstance(layer, Linear):
                fused.append(FusedLinear(layer, weight, bias))
            else:
                activation = waiting.pop(0) if waiting and type(waiting[0]) in _ACTIVATIONS else None
                fused.append(FusedConv2D(layer, weight, bias, copy.deepcopy(activation)))
        else:
            fused.append(copy.deepcopy(layer))
    return fused


def _folded(layer: Conv2D | Linear, waiting: list[Layer]) -> tuple[Array, Array | None]:
    """Return the weight and the bias of `layer` and the BatchNorms that follow, which are taken off the list."""
    weight = layer.weight.value.astype(np.float64)
    bias = None if layer.bias is None else layer.bias.value.astype(np.float64)
    while waiting and type(norm := waiting[0]) is BatchNorm:
        waiting.pop(0)
        scale = norm.weight.value / np.sqrt(norm.running_var.value.astype(np.float64) + norm.eps)
        weight *= scale
        bias = norm.bias.value + scale * ((0.0 if bias is None else bias) - norm.running_mean.value)
    return weight, bias
