"""What flows through a network: statistics of each layer's output and gradients on one batch, and its dead filters."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from allconv.layers.base import Layer
from allconv.parallel.threads import single_threaded_blas
from allconv.typing import Array, Cache, Loss
from allconv.validation import check_batch, describe


@dataclass(frozen=True)
class LayerStatistics:
    """One layer's output y on a batch, the gradients there, and those of its parameters.

    Attributes
    ----------
    path, layer : str
        Its path in the model, and its constructor form.
    channels : int
        The size of y's last axis: a convolution's filters, and what an activation makes of them.
    mean, std : float
        Over all elements of y.
    zeros : float
        The share of y's elements that are exactly 0, in 0..1.
    dead : int or None
        How many channels have one and the same value at every place of every image: 0 after a ReLU whose filter never
        fires, -alpha after an ELU. None where a channel has a single value, which says nothing.
    gradient_rms : float
        The root mean square of dL/dy; NaN where the backward pass never came by.
    parameter_gradient_rms : dict of str to float
        That of dL/dp for each trainable parameter p of the layer, by its attribute's name (``"weight"``, ``"bias"``).
    """

    path: str
    layer: str
    channels: int
    mean: float
    std: float
    zeros: float
    dead: int | None
    gradient_rms: float
    parameter_gradient_rms: dict[str, float]


def layer_statistics(model: Layer, loss: Loss, images: Array, labels: Array) -> list[LayerStatistics]:
    """Return the statistics of each layer on a batch, in the order of the forward pass.

    A copy of the model makes one forward and one backward pass, as at inference: Dropout is off, BatchNorm uses its
    running statistics. The model itself is only read, so training goes on with the same bits: values, gradients,
    running statistics and generators stay as they are.

    Parameters
    ----------
    model : Layer
        Containers (`Sequential`, `Skip`) are represented by what they hold.
    loss : callable
        ``loss(scores, labels) -> (value, gradient)``. With a mean over the batch, gradients of outputs shrink as the
        batch grows: compare batches of one size.
    images : array (N, ...)
        A batch as for ``model.forward``, of the model's dtype.
    labels : array (N, ...)
        As for `loss`.

    Returns
    -------
    list of LayerStatistics
        A layer that stands in several places has a row for each, with the gradients of its parameters summed over all.
        Sums are in float64; what is not finite gives a NaN or an infinity, so that a network that diverged can be
        looked at.

    Raises
    ------
    TypeError, ValueError
        For a model that is no Layer, a loss that cannot be called, no batch of images, or another number of labels.

    Examples
    --------
    >>> from allconv import Linear, ReLU, Sequential, SoftmaxCrossEntropy
    >>> model = Sequential(Linear(2, 3, rng=np.random.default_rng(0)), ReLU(), Linear(3, 2))
    >>> model[0].weight.value[:, 1], model[0].bias.value[1] = 0, -1  # the second unit cannot fire
    >>> rows = layer_statistics(model, SoftmaxCrossEntropy(), np.ones((2, 2)) * [[1], [2]], np.array([0, 1]))
    >>> [(row.path, row.channels, row.dead) for row in rows]
    [('0', 3, 1), ('1', 3, 1), ('2', 2, 0)]
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a Layer, got {describe(model)}")
    if not callable(loss):
        raise TypeError(f"loss must be callable, got {describe(loss)}")
    images, labels = check_batch("images", images), np.asarray(labels)
    if labels.ndim == 0 or len(labels) != len(images):
        raise ValueError(f"labels must have one entry for each of {len(images)} images, got {describe(labels)}")
    model = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.grad = None
    rows: list[LayerStatistics] = []
    visited: list[Layer] = []
    places: dict[int, tuple[Layer, list[str]]] = {}
    for path, layer in _leaves(model, ""):
        places.setdefault(id(layer), (layer, []))[1].append(path)
    for layer, paths in places.values():
        _observe(layer, paths, rows, visited)
    with single_threaded_blas():
        scores, cache = model.forward(images)
        model.backward(loss(scores, labels)[1], cache)
    for number, layer in enumerate(visited):
        sizes = {
            name: _rms(parameter.grad) for name, parameter in layer.named_parameters() if parameter.grad is not None
        }
        rows[number] = replace(rows[number], parameter_gradient_rms=sizes)
    return rows


def _leaves(layer: Layer, path: str) -> Iterator[tuple[str, Layer]]:
    """Yield (path, layer) for the layers that are not made of others, in forward order, each place of a shared one."""
    if not layer.composite:
        yield path, layer
        return
    for name, child in layer.children():
        yield from _leaves(child, f"{path}.{name}" if path else name)


def _observe(layer: Layer, paths: list[str], rows: list[LayerStatistics], visited: list[Layer]) -> None:
    """Make `layer` add a row with each forward pass, and fill in the gradient when the same visit goes backward."""
    own_forward, own_backward, remaining = layer.forward, layer.backward, iter(paths)

    def forward(x: Array, *, training: bool = False) -> tuple[Array, Cache]:
        y, cache = own_forward(x, training=training)
        rows.append(_of_output(next(remaining, paths[-1]), layer, y))
        visited.append(layer)
        # The cache carries the number of the row: a layer that stands twice goes backward by the right one.
        return y, (len(rows) - 1, cache)

    def backward(dy: Array, cache: Cache) -> Array:
        number, own_cache = cache
        rows[number] = replace(rows[number], gradient_rms=_rms(dy))
        return own_backward(dy, own_cache)

    vars(layer).update(forward=forward, backward=backward)


def _of_output(path: str, layer: Layer, y: Array) -> LayerStatistics:
    """Return the row of a layer whose backward pass is still to come."""
    by_channel = y.reshape(-1, y.shape[-1] if y.ndim > 1 else 1)
    constant = by_channel.min(axis=0) == by_channel.max(axis=0)  # False for NaN
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(y.mean(dtype=np.float64)), float(y.std(dtype=np.float64))
    return LayerStatistics(
        path,
        repr(layer),
        channels=by_channel.shape[1],
        mean=mean,
        std=std,
        zeros=1 - int(np.count_nonzero(y)) / y.size,
        dead=int(np.count_nonzero(constant)) if len(by_channel) > 1 else None,
        gradient_rms=math.nan,
        parameter_gradient_rms={},
    )


def _rms(array: Array) -> float:
    """Return the root mean square of the elements."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.sqrt(np.square(array, dtype=np.float64).mean())
