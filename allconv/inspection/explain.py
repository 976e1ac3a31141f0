"""Looking inside a network: which pixels a score, or a unit of an intermediate layer, depends on.

`saliency` is the gradient with respect to the image. `deconvnet` and `guided_backprop` follow another rule at the
rectifiers. `class_activation_map` shows where the last feature maps speak for a class. All leave the model unchanged.
"""

# This file is longer than 300 lines because its docstrings have the equations of five methods; the code is short.

from contextlib import nullcontext

import numpy as np

from allconv import rules
from allconv.layers.base import Layer
from allconv.layers.branches import Branches
from allconv.layers.dropout import Dropout
from allconv.layers.elu import ELU
from allconv.layers.flatten import Flatten
from allconv.layers.gelu import GELU
from allconv.layers.global_average_pool import GlobalAveragePool2D
from allconv.layers.leaky_relu import LeakyReLU
from allconv.layers.linear import Linear
from allconv.layers.prelu import PReLU
from allconv.layers.relu import ReLU
from allconv.layers.relu6 import ReLU6
from allconv.layers.sequential import Sequential
from allconv.layers.signatures import output_and_cache
from allconv.layers.silu import SiLU
from allconv.layers.skip import Skip
from allconv.layers.snapshot import private_copy
from allconv.layers.softmax import LogSoftmax, Softmax
from allconv.typing import Array, Pair
from allconv.validation import check_array, check_images, check_instance, check_pair, describe

__all__ = ["class_activation_map", "deconvnet", "guided_backprop", "saliency"]
RECTIFIERS = (ReLU, ReLU6, LeakyReLU, PReLU, ELU, GELU, SiLU)
Target = int | Array | None


def saliency(
    model: Layer, images: Array, target: Target = None, *, layer: str | None = None, position: Pair | None = None
) -> Array:
    r"""Return the gradient of one unit's value with respect to the pixels of each image.

    .. math:: s_n = \frac{\partial y_{n,c}(x_n)}{\partial x_n}

    with y the model's output and c the class, or y an intermediate layer's output and c a channel, at one position.

    Parameters
    ----------
    model : Layer
        Should end in logits: the gradient of a probability is small wherever the network is sure.
    images : array, shape (N, H, W, C)
        As the model takes them: floating, normalized. They go through the model in one batch.
    target : int or array of int, shape (N,), optional
        The class, or the layer's channel, counted from 0: one for all images or one for each. Left out, it is for each
        image the one with the highest value.
    layer : str, optional
        The path of the layer whose units are meant, such as ``"5"`` or ``"2.body.0"``; the model itself by default. It
        may lie in `Sequential`, `Skip` and `Branches` layers.
    position : pair of int, optional
        (row, column) of the unit, where the layer's output is (N, h, w, K). Left out, it is for each image the place
        where the channel is highest.

    Returns
    -------
    array, shape (N, H, W, C)
        In the dtype of the model; signed.

    Raises
    ------
    TypeError, ValueError
        For a class, channel, position or path that is not there, or an output that is neither (N, K) nor (N, h, w, K).

    Notes
    -----
    Simonyan, Vedaldi and Zisserman (2014), section 3, who show the largest absolute value over the channels.

    Examples
    --------
    >>> from allconv import Flatten, Linear, Sequential
    >>> model = Sequential(Flatten(), Linear(12, 5, rng=np.random.default_rng(0)))
    >>> s = saliency(model, np.ones((1, 2, 2, 3), np.float32), 4)
    >>> np.testing.assert_array_equal(s.ravel(), model[1].weight.value[:, 4])
    """
    return _send_back(model, images, target, layer, position, None)


def deconvnet(
    model: Layer, images: Array, target: Target = None, *, layer: str | None = None, position: Pair | None = None
) -> Array:
    r"""Return what a deconvnet reconstructs from one unit: `saliency` with another rule at the rectifiers.

    .. math:: dx = [dy > 0]\, dy

    at every ReLU, ReLU6, LeakyReLU, PReLU, ELU, GELU and SiLU, whatever the forward pass saw there. All other layers go
    back by their own backward pass; a max pool's sends the signal to where the maximum was, the deconvnet's "switches".
    Without such pools nothing of the image enters but the choice of the unit: two images of one class get the same
    picture.

    Parameters
    ----------
    model, images, target, layer, position : see `saliency`
        The same arguments.

    Returns
    -------
    array, shape (N, H, W, C)
        As for `saliency`.

    Raises
    ------
    TypeError, ValueError
        As for `saliency`, and for a model without a rectifier.

    Notes
    -----
    Zeiler and Fergus (2014), section 2.1; Springenberg et al. (2015), section 4 and figure 1.

    Examples
    --------
    >>> from allconv import ReLU
    >>> deconvnet(ReLU(), np.array([-1.0, 2]).reshape(1, 1, 2, 1), position=(0, 0)).ravel()
    array([1., 0.])
    """
    return _send_back(model, images, target, layer, position, rules.deconvnet)


def guided_backprop(
    model: Layer, images: Array, target: Target = None, *, layer: str | None = None, position: Pair | None = None
) -> Array:
    r"""Return what guided backpropagation shows of one unit: `saliency` with another rule at the rectifiers.

    .. math:: dx = [y > 0]\, [dy > 0]\, dy

    at every ReLU: no negative gradient goes further, nor any where the forward input was negative. A ReLU6, LeakyReLU,
    PReLU, ELU, GELU or SiLU multiplies the positive part of dy by its own derivative.

    Parameters
    ----------
    model, images, target, layer, position : see `saliency`
        The same arguments.

    Returns
    -------
    array, shape (N, H, W, C)
        As for `saliency`.

    Raises
    ------
    TypeError, ValueError
        As for `saliency`, and for a model without a rectifier.

    Notes
    -----
    Springenberg et al. (2015), section 4 and figure 1.

    Examples
    --------
    >>> from allconv import ReLU
    >>> guided_backprop(ReLU(), np.array([-1.0, 2]).reshape(1, 1, 2, 1), position=(0, 0)).ravel()
    array([0., 0.])
    """
    return _send_back(model, images, target, layer, position, rules.guided)


def class_activation_map(model: Layer, images: Array, target: Target = None) -> Array:
    r"""Return where in each image the last feature maps speak for a class.

    .. math:: M_{n,h,w} = \sum_k W_{k,c} \, f_{n,h,w,k}

    with f the input of the global average pool and W the weights of the `Linear` layer after it; without one, as in all
    convolutional networks, the map of the class itself, :math:`M_{n,h,w} = f_{n,h,w,c}`. The mean of M over the
    positions, plus the bias of the class if there is one, is the score.

    Parameters
    ----------
    model : Sequential
        One of its layers must be a `GlobalAveragePool2D`, with at most one `Linear` after it, and besides only Flatten,
        Dropout and a final Softmax or LogSoftmax.
    images : array, shape (N, H, W, C)
        As the model takes them: floating, normalized.
    target : int or array of int, shape (N,), optional
        The class, one for all images or one for each; that of the highest score by default.

    Returns
    -------
    array, shape (N, h, w)
        At the size of the feature maps, in the dtype of the model; signed.

    Raises
    ------
    TypeError, ValueError
        For another kind of model, or a class that is not there.

    Notes
    -----
    Zhou et al. (2016), section 2, equation 2, where the score is the sum over the positions and not their mean.

    Examples
    --------
    >>> from allconv import GlobalAveragePool2D, ReLU, Sequential
    >>> images = np.arange(-4.0, 8).reshape(1, 2, 2, 3)
    >>> class_activation_map(Sequential(ReLU(), GlobalAveragePool2D()), images, 2).tolist()
    [[[0.0, 1.0], [4.0, 7.0]]]
    """
    images = check_images("images", images)
    body, linear, rest = _split_at_average(model)
    maps = body(images) if body else images
    scores = rest(maps).reshape(len(maps), -1)
    classes = _check_target(target, scores) if target is not None else scores.argmax(axis=1)
    if linear is None:
        return maps[np.arange(len(maps)), :, :, classes]
    weights = linear.weight.value[:, classes].T  # (N, K): for each image those of its class
    return np.asarray(np.einsum("nhwk,nk->nhw", maps, weights))


def _send_back(
    model: Layer, images: Array, target: Target, layer: str | None, position: Pair | None, rule: rules.Rule | None
) -> Array:
    """Return dL/dx for L the chosen unit of each image, with `rule` at the rectifiers."""
    check_instance("model", model, Layer)
    if rule and not any(isinstance(inner, RECTIFIERS) for inner in model.walk()):
        names = ", ".join(kind.__name__ for kind in RECTIFIERS)
        raise ValueError(f"model must have a rectifier ({names}), got {describe(model)}")
    if not isinstance(layer, str | None):
        raise TypeError(f"layer must be a path in the model, or None, got {describe(layer)}")
    images = check_images("images", images)
    part = private_copy(_up_to(model, layer or "", layer or ""))
    rectifiers = [path for path, inner in part.named_layers() if isinstance(inner, RECTIFIERS)]
    y, cache = output_and_cache(part, part.forward(images))
    dy = _one_unit(y, target, position)
    # A unit may lie below the first rectifier: then all the rules agree.
    ruled = rules.override_backward(part, dict.fromkeys(rectifiers, rule)) if rule and rectifiers else nullcontext()
    for parameter in part.parameters():
        parameter.trainable = False  # The layers then spare the work for its gradient.
    with ruled:
        return part.backward(dy, cache)


def _up_to(model: Layer, rest: str, path: str) -> Layer:
    """Return a model of the same layers that ends with the one at `rest`, the end of the whole `path`."""
    if not rest:
        return model
    name, _, rest = rest.partition(".")
    children = dict(model.children())
    if name not in children:
        raise ValueError(f"layer must be a path in the model, got {describe(path)}")
    if isinstance(model, Sequential):
        return Sequential(*model.layers[: int(name)], _up_to(children[name], rest, path))
    if isinstance(model, Branches | Skip):
        return _up_to(children[name], rest, path)  # inside, the other branches have not joined yet
    raise ValueError(
        f"layer must lie in Sequential, Skip and Branches layers, got {path!r}, in a {type(model).__name__}"
    )


def _one_unit(y: Array, target: Target, position: Pair | None) -> Array:
    """Return the gradient of the chosen unit of each image with respect to the output y: 1 there, 0 elsewhere."""
    if y.ndim not in (2, 4):
        raise ValueError(f"layer must have an output (N, K) or (N, h, w, K), got {describe(y)}")
    if position is not None and y.ndim == 2:
        raise ValueError(f"position must be None where the output is (N, K), got {describe(position)}")
    maps = y.reshape(len(y), -1, y.shape[-1])  # (N, positions, K)
    candidates = np.ones(maps.shape, bool)
    if position is not None:
        row, column = check_pair("position", position, minimum=0)
        _, height, width, _ = y.shape
        if row >= height or column >= width:
            raise ValueError(f"position must lie in an output of {height}x{width}, got {describe(position)}")
        candidates &= (np.arange(height * width) == row * width + column)[:, None]
    if target is not None:
        candidates &= (np.arange(y.shape[-1]) == _check_target(target, y)[:, None])[:, None]
    highest = np.where(candidates, np.nan_to_num(maps), -np.inf).reshape(len(y), -1).argmax(axis=1)
    dy = np.zeros_like(y)
    dy.reshape(len(y), -1)[np.arange(len(y)), highest] = 1
    return dy


def _check_target(target: Target, y: Array) -> Array:
    """Return the classes or channels of y, one for each image."""
    count, channels = len(y), y.shape[-1]
    rule = f"an int in 0..{channels - 1}, or {count} of them"
    classes = check_array("target", target)
    if classes.dtype.kind not in "iu":
        raise TypeError(f"target must be {rule}, got {describe(target)}")
    if classes.shape not in ((), (count,)) or classes.min() < 0 or classes.max() >= channels:
        raise ValueError(f"target must be {rule}, got {describe(target)}")
    return np.broadcast_to(classes, (count,))


def _split_at_average(model: Layer) -> tuple[Sequential | None, Linear | None, Sequential]:
    """Return the layers before the global average pool, the Linear after it, and all from the pool on."""
    if not isinstance(model, Sequential):
        raise TypeError(f"model must be a Sequential with a GlobalAveragePool2D, got {describe(model)}")
    places = [k for k, inner in enumerate(model) if isinstance(inner, GlobalAveragePool2D)]
    if not places:
        raise ValueError("model must be a Sequential with a GlobalAveragePool2D, got one without")
    before, rest = model.layers[: places[-1]], model.layers[places[-1] :]
    head = [inner for inner in rest[1:] if not isinstance(inner, Flatten | Dropout)]
    head = head[:-1] if head and isinstance(head[-1], Softmax | LogSoftmax) else head
    linear = head[0] if len(head) == 1 and isinstance(head[0], Linear) else None
    if head and linear is None:
        listed = ", ".join(type(inner).__name__ for inner in head)
        raise ValueError(f"model must have at most a Linear layer after its GlobalAveragePool2D, got {listed}")
    return Sequential(*before) if before else None, linear, Sequential(*rest)
