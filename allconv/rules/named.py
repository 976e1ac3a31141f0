"""The rules that publications name, and a factor."""

from collections.abc import Callable

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.nesting import parameters_in
from allconv.typing import Array, Cache
from allconv.validation import check_floating, check_instance, check_real, quiet

Rule = Callable[[Layer, Array, Cache], Array]
"""``rule(layer, dy, cache) -> dx``."""


def guided(layer: Layer, dy: Array, cache: Cache) -> Array:
    r"""Return dL/dx of guided backpropagation: only positive gradients enter the layer's own backward pass.

    .. math:: \frac{\partial L}{\partial x} = [y > 0] \, [dy > 0] \, dy

    for a ReLU: a gradient passes only where both it and the forward input are positive. The backward pass of any other
    layer gets ``max(dy, 0)`` in the place of `dy`.

    Parameters
    ----------
    layer : Layer
        Any layer.
    dy : array
        The gradient at the layer's output.
    cache : object
        What the layer's forward pass has returned for its backward pass.

    Returns
    -------
    array
        The gradient at the layer's input, in its shape.

    Raises
    ------
    TypeError, ValueError
        If `layer` is no Layer, or `dy` is not floating.

    Notes
    -----
    Springenberg et al. (2015), section 4 and figure 1.

    Examples
    --------
    >>> from allconv import ReLU
    >>> relu = ReLU()
    >>> y, cache = relu.forward(np.array([1.0, 1.0, -1.0]))
    >>> guided(relu, np.array([3.0, -3.0, 3.0]), cache)
    array([3., 0., 0.])
    """
    return check_instance("layer", layer, Layer).backward(np.maximum(check_floating("dy", dy), 0), cache)


def deconvnet(layer: Layer, dy: Array, cache: Cache) -> Array:  # noqa: ARG001 - what the forward pass saw plays no part
    """Return ``max(dy, 0)``, the deconvnet's rectification, whatever the forward input was.

    Parameters
    ----------
    layer : Layer
        Any layer that keeps the shape and has no parameters.
    dy : array
        The gradient at the layer's output.
    cache : object
        What the layer's forward pass has returned for its backward pass. It is not used.

    Returns
    -------
    array
        The gradient at the layer's input, in the shape of `dy`.

    Raises
    ------
    TypeError, ValueError
        If `dy` is not floating.

    Notes
    -----
    Zeiler and Fergus (2014), section 2.1; Springenberg et al. (2015), section 4.

    Examples
    --------
    >>> from allconv import ReLU
    >>> deconvnet(ReLU(), np.array([3.0, -3.0]), None)
    array([3., 0.])
    """
    return np.maximum(check_floating("dy", dy), 0)


def straight_through(layer: Layer, dy: Array, cache: Cache) -> Array:
    """Return `dy`, as if the layer were the identity; its parameters get their own gradients.

    Parameters
    ----------
    layer : Layer
        A layer that keeps the shape: a step or a rounding, for instance, whose derivative is 0 almost everywhere.
    dy : array
        The gradient at the layer's output.
    cache : object
        What the layer's forward pass has returned for its backward pass.

    Returns
    -------
    array
        `dy` itself.

    Raises
    ------
    TypeError, ValueError
        If `layer` is no Layer, or `dy` is not floating.

    Notes
    -----
    Bengio, Leonard and Courville (2013), section 2.3.

    Examples
    --------
    >>> from allconv import ReLU
    >>> straight_through(ReLU(), np.array([3.0, -3.0]), None)
    array([ 3., -3.])
    """
    dy = check_floating("dy", dy)
    if parameters_in(check_instance("layer", layer, Layer)):
        layer.backward(dy, cache)
    return dy


def scaled(factor: float) -> Rule:
    """Return the rule that multiplies the layer's dL/dx by `factor`; its parameters' gradients stay as they are.

    Parameters
    ----------
    factor : float
        Any finite number: 0 stops the gradient, -1 reverses it.

    Returns
    -------
    callable
        The rule, whose name is ``scaled(factor)``.

    Raises
    ------
    TypeError, ValueError
        If `factor` is not a finite number.

    Examples
    --------
    >>> from allconv import Tanh
    >>> tanh = Tanh()
    >>> y, cache = tanh.forward(np.zeros(2))
    >>> scaled(-1)(tanh, np.array([3.0, 5.0]), cache)
    array([-3., -5.])
    """
    factor = check_real("factor", factor)

    def rule(layer: Layer, dy: Array, cache: Cache) -> Array:
        dx = check_instance("layer", layer, Layer).backward(dy, cache)
        with quiet():
            return factor * dx if factor else np.zeros_like(dx)  # 0 stops an infinite gradient too.

    rule.__name__ = f"scaled({factor:g})"
    return rule
