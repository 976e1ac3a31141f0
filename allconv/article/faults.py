r"""The faults of the published backward pass, as backward rules.

The backward pass of cases c, d, g and h was written by hand, and departs from the gradient in four places. Three of
these faults are rules here, for `override_backward`. The fourth is a loss whose gradient is summed over the images of a
step instead of averaged: ``SoftmaxCrossEntropy(reduction="sum")``.
"""

from contextlib import AbstractContextManager

from allconv.layers.base import Layer
from allconv.layers.elu import ELU
from allconv.layers.global_average_pool import GlobalAveragePool2D
from allconv.layers.mean_pool import MeanPool2D
from allconv.rules import Pattern, Rule, override_backward
from allconv.typing import Array, Cache
from allconv.validation import check_choice, check_floating, check_gradient_shape, check_instance, quietly


@quietly
def elu_twice(layer: Layer, dy: Array, cache: Cache) -> Array:
    r"""Go back through an ELU of alpha 1 with the published derivative.

    .. math:: [x > 0] + \mathrm{elu}(\min(x, 0)) + 1

    For x <= 0 this is the true derivative exp(x). For x > 0 it is 2 instead of 1: elu(0) + 1 = 1 is added to the
    indicator.

    Parameters
    ----------
    layer : ELU
        The layer whose backward pass is replaced.
    dy : array
        The gradient of the loss with respect to the layer's output.
    cache : object
        What the layer's forward pass returned beside its output.

    Returns
    -------
    array
        What the published code passes on, with the shape of the layer's input.

    Raises
    ------
    TypeError, ValueError
        If `layer` is no ELU, or `dy` does not fit its output.

    Examples
    --------
    >>> elu = ELU()
    >>> y, cache = elu.forward(np.array([-1.0, 2.0]))
    >>> elu_twice(elu, np.ones(2), cache).round(3)
    array([0.368, 2.   ])
    """
    check_instance("layer", layer, ELU)
    dy, y = check_floating("dy", dy), cache
    dx: Array = layer.backward(dy, cache) + (y > 0) * dy
    return dx


@quietly
def average_undivided(layer: Layer, dy: Array, cache: Cache) -> Array:
    """Give each of the H W positions of a global average the whole of dy, not a share of it.

    The gradient is H W times too large: 64 times for maps of 8x8.

    Parameters
    ----------
    layer : GlobalAveragePool2D
        The layer whose backward pass is replaced.
    dy : array
        The gradient of the loss with respect to the layer's output.
    cache : object
        What the layer's forward pass returned beside its output.

    Returns
    -------
    array
        What the published code passes on, with the shape of the layer's input.

    Raises
    ------
    TypeError, ValueError
        If `layer` is no GlobalAveragePool2D, or `dy` does not fit its output.

    Examples
    --------
    >>> pool = GlobalAveragePool2D()
    >>> y, cache = pool.forward(np.ones((1, 2, 2, 1)))
    >>> average_undivided(pool, np.ones((1, 1)), cache).ravel()
    array([1., 1., 1., 1.])
    """
    check_instance("layer", layer, GlobalAveragePool2D)
    (_, H, W, _), _ = cache
    dx: Array = H * W * layer.backward(dy, cache)
    return dx


@quietly
def pool_undivided(layer: Layer, dy: Array, cache: Cache) -> Array:
    """Give each position in a window of a mean pool the whole of dy, not a share of it.

    The gradient is too large by the number of positions that the mean counts: 4 times for a window of 2x2.

    Parameters
    ----------
    layer : MeanPool2D
        The layer whose backward pass is replaced.
    dy : array
        The gradient of the loss with respect to the layer's output.
    cache : object
        What the layer's forward pass returned beside its output.

    Returns
    -------
    array
        What the published code passes on, with the shape of the layer's input.

    Raises
    ------
    TypeError, ValueError
        If `layer` is no MeanPool2D, or `dy` does not fit its output.

    Examples
    --------
    >>> pool = MeanPool2D(2)
    >>> y, cache = pool.forward(np.ones((1, 2, 2, 1)))
    >>> pool_undivided(pool, np.ones((1, 1, 1, 1)), cache).ravel()
    array([1., 1., 1., 1.])
    """
    pool = check_instance("layer", layer, MeanPool2D)
    windows, shape, dtype = cache
    dy = check_gradient_shape(dy, shape, dtype)
    return pool.backward(dy * windows.divisor(pool.count_padding).astype(dtype), cache)


FAULTS: dict[str, dict[Pattern, Rule]] = {
    "ELU": {ELU: elu_twice},
    "global average": {GlobalAveragePool2D: average_undivided},
    "mean pool": {MeanPool2D: pool_undivided},
    "summed loss": {},
    "all": {ELU: elu_twice, GlobalAveragePool2D: average_undivided, MeanPool2D: pool_undivided},
}
"""The rules of each fault by its name. The summed loss needs no rule; "all" has the rules of all faults together."""


def rules_for(model: Layer, fault: str) -> dict[Pattern, Rule] | None:
    """Return the rules of a fault for the layers that a model has.

    Parameters
    ----------
    model : Layer
        The network.
    fault : str
        A key of `FAULTS`.

    Returns
    -------
    dict of Layer subclass to rule, or None
        For `override_backward`; None if the fault does not concern the model.

    Raises
    ------
    TypeError, ValueError
        If `model` is no Layer, or `fault` is no key of `FAULTS`.

    Examples
    --------
    >>> rules_for(ELU(), "mean pool") is None
    True
    >>> list(rules_for(ELU(), "all")) == [ELU]
    True
    """
    check_choice("fault", fault, FAULTS)
    layers = list(check_instance("model", model, Layer).walk())
    rules: dict[Pattern, Rule] = {
        kind: rule
        for kind, rule in FAULTS[fault].items()
        if isinstance(kind, type) and any(isinstance(layer, kind) for layer in layers)
    }
    return rules if rules or fault == "summed loss" else None


def published_backward(model: Layer) -> AbstractContextManager[None]:
    """Return a context in which a network of the article goes back as the published code did.

    The sum over the images in place of the mean is left out: it multiplies all gradients by the same factor, and the
    steps of AMSGrad do not depend on such a factor.

    Parameters
    ----------
    model : Layer
        A network with at least one ELU, global average or mean pool.

    Returns
    -------
    context manager
        While it is open, the layers of `model` follow the rules of ``FAULTS["all"]``.

    Raises
    ------
    ValueError
        The model has none of these layers.

    Examples
    --------
    >>> elu = ELU()
    >>> y, cache = elu.forward(np.array([2.0]))
    >>> with published_backward(elu):
    ...     elu.backward(np.ones(1), cache)
    array([2.])
    """
    return override_backward(model, rules_for(model, "all") or {})
