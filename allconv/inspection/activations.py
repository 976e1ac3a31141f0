"""What flows through a network: statistics of each layer's output and gradients on one batch, and its dead filters."""

import math
from dataclasses import dataclass, replace

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.intercept import Call
from allconv.layers.observe import observe
from allconv.layers.signatures import output_and_cache
from allconv.layers.snapshot import private_copy
from allconv.parallel.blas import single_threaded_blas
from allconv.typing import Array, Cache, Loss
from allconv.validation import check_array, check_batch, check_callable, check_instance, describe, value_and_gradient


@dataclass(frozen=True)
class LayerStatistics:
    """One layer's output y on a batch, the gradients there, and those of its parameters.

    Attributes
    ----------
    path, layer : str
        Its path in the model, and its constructor form.
    channels : int
        The size of y's last axis: the filters of a convolution or of the activation after it.
    mean, std : float
        The mean and the standard deviation of all elements of y.
    zeros : float
        The share of y's elements that are exactly 0, in 0..1.
    dead : int or None
        How many channels have one and the same value at every place of every image: 0 after a ReLU whose filter never
        fires, -alpha after an ELU. None where each channel has only one value, which shows nothing.
    gradient_rms : float
        The root mean square of dL/dy; NaN where the backward pass did not reach the layer.
    parameter_gradient_rms : dict of str to float
        The root mean square of dL/dp for each trainable parameter p of the layer, by its name (``"weight"``,
        ``"bias"``).
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

    The model makes one forward and one backward pass, as at inference: Dropout is off, BatchNorm uses its running
    statistics. Values, gradients, running statistics and generators are afterwards what they were, so training goes on
    with the same bits.

    Parameters
    ----------
    model : Layer
        Layers that only hold others, such as `Sequential` and `Skip`, are represented by what they hold.
    loss : callable
        ``loss(scores, labels) -> (value, gradient)``. With a mean over the batch, gradients of outputs shrink as the
        batch grows: compare batches of one size.
    images : array (N, ...)
        A batch for ``model.forward``, of the model's dtype.
    labels : array (N, ...)
        The labels of the images, as `loss` takes them.

    Returns
    -------
    list of LayerStatistics
        A layer that stands in several places has a row for each, with the gradients of its parameters summed over all.
        Sums are in float64; what is not finite gives a NaN or an infinity, so that a network that diverged can be
        looked at.

    Raises
    ------
    TypeError, ValueError
        If `model` is no Layer, `loss` cannot be called, `images` are no batch, or `labels` are of another number.

    Examples
    --------
    >>> from allconv import Linear, ReLU, Sequential, SoftmaxCrossEntropy
    >>> model = Sequential(Linear(2, 3, rng=np.random.default_rng(0)), ReLU(), Linear(3, 2))
    >>> model[0].weight.value[:, 1], model[0].bias.value[1] = 0, -1  # the second unit cannot fire
    >>> rows = layer_statistics(model, SoftmaxCrossEntropy(), np.ones((2, 2)) * [[1], [2]], np.array([0, 1]))
    >>> [(row.path, row.channels, row.dead) for row in rows]
    [('0', 3, 1), ('1', 3, 1), ('2', 2, 0)]
    """
    check_instance("model", model, Layer)
    check_callable("loss", loss, takes="scores, labels")
    images, labels = check_batch("images", images), check_array("labels", labels)
    if labels.ndim == 0 or len(labels) != len(images):
        raise ValueError(f"labels must have one entry for each of {len(images)} images, got {describe(labels)}")
    rows: list[LayerStatistics] = []
    visited: list[Layer] = []
    places: dict[int, list[str]] = {}
    model = private_copy(model)
    for path, layer in model.leaves():
        places.setdefault(id(layer), []).append(path)

    def forward(call: Call, x: Array) -> tuple[Array, Cache]:
        y, cache = call(x)
        paths = places[id(call.layer)]
        rows.append(_of_output(paths.pop(0) if len(paths) > 1 else paths[0], call.layer, y))
        visited.append(call.layer)
        # The cache carries the number of the row: a layer that stands twice goes backward by the right one.
        return y, (len(rows) - 1, cache)

    def backward(call: Call, dy: Array, cache: Cache) -> Array | None:
        number, own_cache = cache
        rows[number] = replace(rows[number], gradient_rms=_rms(dy))
        dx: Array | None = call(dy, own_cache)
        return dx

    with single_threaded_blas(), observe(model.leaves(), forward=forward, backward=backward):
        scores, cache = output_and_cache(model, model.forward(images))
        model.backward(value_and_gradient(loss(scores, labels))[1], cache)
        return [
            replace(row, parameter_gradient_rms=_of_parameters(layer)) for row, layer in zip(rows, visited, strict=True)
        ]


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


def _of_parameters(layer: Layer) -> dict[str, float]:
    """Return the root mean square of each gradient that the parameters of a layer have."""
    return {name: _rms(parameter.grad) for name, parameter in layer.named_parameters() if parameter.grad is not None}


def _rms(array: Array) -> float:
    """Return the root mean square of the elements."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.sqrt(np.square(array, dtype=np.float64).mean())
