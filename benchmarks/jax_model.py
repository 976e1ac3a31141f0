"""A model of ours with its weights for JAX, translated layer by layer.

JAX has images in the layout of allconv, (N, H, W, C), and kernels in its order, so nothing is turned or mirrored.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import allconv as ac
from allconv.functional.padding import resolve_padding
from allconv.typing import Array

Apply = Callable[[Any, Any], Any]


def to_jax(layer: ac.Layer) -> tuple[Any, Apply]:
    """Return the weights of a model as nested lists, and the function (weights, x) -> y that it computes in training.

    BatchNorm normalizes by the batch. It keeps no running means, which saves JAX a little time.
    """
    match layer:
        case ac.Sequential():
            return _chain([to_jax(part) for part in layer])
        case ac.Skip():
            unchanged: tuple[Any, Apply] = [], lambda _, x: x
            return _sum_of(unchanged if layer.shortcut is None else to_jax(layer.shortcut), to_jax(layer.body))
        case ac.Conv2D():
            return _weights(layer), lambda w, x: _with_bias(_convolution(layer, w[0], x), w)
        case ac.Linear():
            return _weights(layer), lambda w, x: _with_bias(x @ w[0], w)
        case ac.BatchNorm():
            return _weights(layer), lambda w, x: _normalized(layer, w, x)
    function = _without_weights(layer)
    return [], lambda _, x: function(x)


def _without_weights(layer: ac.Layer) -> Callable[[Any], Any]:
    match layer:
        case ac.MaxPool2D():
            return lambda x: _pooled(layer, x, -jnp.inf, jax.lax.max)
        case ac.MeanPool2D():
            size = layer.kernel_size[0] * layer.kernel_size[1]
            return lambda x: _pooled(layer, x, 0.0, jax.lax.add) / size
        case ac.GlobalAveragePool2D():
            return lambda x: x.mean((1, 2))
        case ac.Flatten():
            return lambda x: x.reshape(len(x), -1)
        case ac.ReLU():
            return lambda x: jax.nn.relu(x)
        case ac.ELU():
            return lambda x: jax.nn.elu(x, layer.alpha)
        case ac.GELU():
            return lambda x: jax.nn.gelu(x, approximate=False)
    raise NotImplementedError(f"no translation of {layer!r}")


def _sum_of(shortcut: tuple[Any, Apply], body: tuple[Any, Apply]) -> tuple[Any, Apply]:
    return [shortcut[0], body[0]], lambda w, x: shortcut[1](w[0], x) + body[1](w[1], x)


def _chain(parts: list[tuple[Any, Apply]]) -> tuple[Any, Apply]:
    def apply(weights: Any, x: Any) -> Any:
        for own, (_, part) in zip(weights, parts, strict=True):
            x = part(own, x)
        return x

    return [weights for weights, _ in parts], apply


def _weights(layer: ac.Conv2D | ac.Linear | ac.BatchNorm) -> list[Any]:
    return [jnp.array(p.value) for p in (layer.weight, layer.bias) if p is not None]


def _with_bias(y: Any, weights: list[Any]) -> Any:
    return y + weights[1] if len(weights) == 2 else y


def _convolution(layer: ac.Conv2D, weight: Any, x: Any) -> Any:
    return jax.lax.conv_general_dilated(
        x,
        weight,
        layer.stride,
        resolve_padding(layer.padding, x.shape[1:3], layer.kernel_size, layer.stride),
        rhs_dilation=layer.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=layer.groups,
    )


def _normalized(layer: ac.BatchNorm, weights: list[Any], x: Any) -> Any:
    axes = tuple(range(x.ndim - 1))
    scale = weights[0] * jax.lax.rsqrt(x.var(axes) + layer.eps)
    return (x - x.mean(axes)) * scale + weights[1]


def _pooled(layer: ac.MaxPool2D | ac.MeanPool2D, x: Any, start: float, combine: Any) -> Any:
    pads = resolve_padding(layer.padding, x.shape[1:3], layer.kernel_size, layer.stride)
    return jax.lax.reduce_window(
        x, start, combine, (1, *layer.kernel_size, 1), (1, *layer.stride, 1), ((0, 0), *pads, (0, 0))
    )


def jax_step(model: ac.Sequential, images: Array, labels: Array, rate: float) -> Callable[[], float]:
    """Return a compiled training step by AMSGrad."""
    weights, apply = to_jax(model)
    optimizer = optax.amsgrad(rate)
    state = optimizer.init(weights)
    x, target = jnp.array(images), jnp.array(labels)

    def loss(weights: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(apply(weights, x), target).mean()

    def update(weights: Any, state: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(weights)
        updates, state = optimizer.update(gradient, state, weights)
        return value, optax.apply_updates(weights, updates), state

    compiled = jax.jit(update)

    def step() -> float:
        nonlocal weights, state
        value, weights, state = jax.block_until_ready(compiled(weights, state))
        return float(value)

    return step


def jax_prediction(model: ac.Sequential, images: Array) -> Callable[[], Array]:
    """Return a compiled prediction, for a model without BatchNorm."""
    weights, apply = to_jax(model)
    x, predict = jnp.array(images), jax.jit(apply)
    return lambda: np.asarray(predict(weights, x))
