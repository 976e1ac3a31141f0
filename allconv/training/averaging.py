"""Averages of a model's weights over the steps of training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from allconv.layers.base import Layer
from allconv.typing import Array
from allconv.validation import check_floating, check_instance, check_real, describe


class AveragedWeights:
    r"""Averages that follow a model's weights, its BatchNorms' running statistics included.

    .. math:: a_t = d\, a_{t-1} + (1 - d)\, w_t

    One object serves two methods. An exponential moving average (EMA) is tested and saved in place of the last weights,
    which are noisy: see `in_model`. Look-ahead goes back to the averages every few steps, and trains on from there: see
    `copy_to_model`.

    Parameters
    ----------
    model : Layer
        The model whose weights are averaged.
    values : dict of str to array, optional
        The averages of an earlier run, by the names of the parameters. They change in place, so a dict that
        ``run.keep`` holds is in all checkpoints. An empty dict is filled with the weights of the model. The default is
        a new dict.

    Attributes
    ----------
    values : dict of str to array
        The averages.

    Raises
    ------
    TypeError, ValueError
        If `values` is no dict of floating arrays, or has other names or shapes than the parameters.

    Notes
    -----
    Polyak and Juditsky (1992), Acceleration of stochastic approximation by averaging, study the equal mean of all
    steps, from which the EMA descends. Zhang et al. (2019), Lookahead optimizer: k steps forward, 1 step back.

    Examples
    --------
    >>> from allconv.layers.linear import Linear
    >>> layer = Linear(1, 1, bias=False)
    >>> layer.weight.value = np.array([[1.0]])
    >>> averages = AveragedWeights(layer)
    >>> layer.weight.value = np.array([[3.0]])
    >>> averages.update(0.75)
    >>> with averages.in_model():
    ...     print(layer.weight.value)
    [[1.5]]
    >>> layer.weight.value
    array([[3.]], dtype=float32)
    """

    def __init__(self, model: Layer, values: dict[str, Any] | None = None) -> None:
        self._weights = {name: p.value for name, p in check_instance("model", model, Layer).named_parameters()}
        self.values: dict[str, Array] = {} if values is None else _check_values(values, self._weights)
        for name, value in self._weights.items():
            self.values.setdefault(name, value.copy())

    def update(self, decay: float) -> None:
        """Move the averages towards the weights of the model.

        Parameters
        ----------
        decay : float
            The share d that the averages keep, in [0, 1].

        Raises
        ------
        TypeError, ValueError
            If `decay` is out of its range.
        """
        decay = check_real("decay", decay, minimum=0.0, maximum=1.0)
        for name, average in self.values.items():
            average *= decay
            average += (1 - decay) * self._weights[name]

    def copy_to_model(self) -> None:
        """Give the model the averages as its weights."""
        for name, average in self.values.items():
            self._weights[name][...] = average

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Give the model the averages within a ``with`` block, and its own weights back at its end.

        Yields
        ------
        None
            Nothing.
        """
        weights = {name: value.copy() for name, value in self._weights.items()}
        try:
            self.copy_to_model()
            yield
        finally:
            for name, value in weights.items():
                self._weights[name][...] = value

    def __repr__(self) -> str:
        return f"AveragedWeights({len(self.values)} parameters)"


def _check_values(values: object, weights: dict[str, Array]) -> dict[str, Array]:
    """Return the dict itself, which must be empty or fit the weights; its arrays become writable and of their dtype."""
    if not isinstance(values, dict):
        raise TypeError(f"values must be a dict of arrays by the names of parameters, got {describe(values)}")
    if values and values.keys() != weights.keys():
        raise ValueError(f"values must have the names of the model's parameters, got {', '.join(map(str, values))}")
    arrays = {}
    for name, value in values.items():
        arrays[name] = np.array(check_floating(f"values[{name!r}]", value, weights[name].dtype))
        if arrays[name].shape != weights[name].shape:
            raise ValueError(f"values[{name!r}] must have shape {weights[name].shape}, got {describe(value)}")
    values.update(arrays)
    return values
