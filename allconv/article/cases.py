"""The eight cases of the article: four ways to train each of two networks.

=========================================  ============  =======
optimizer                                  ConvPool-CNN  All-CNN
=========================================  ============  =======
momentum 0.9, 30 times the learning rate   a             e
Adam                                       b             f
AMSGrad                                    c             g
AMSGrad with dilated back-propagation      d             h
=========================================  ============  =======
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from allconv.layers.sequential import Sequential
from allconv.models.article import article_net
from allconv.optimizers.adam import Adam
from allconv.optimizers.amsgrad import AMSGrad
from allconv.optimizers.base import Optimizer
from allconv.optimizers.dilated import DilatedAMSGrad
from allconv.optimizers.sgd import SGD
from allconv.schedules import inverse_time
from allconv.validation import check_choice

CASES = "abcdefgh"
"""The names of the eight cases."""

HAND_WRITTEN = "cdgh"
"""The cases whose published backward pass was written by hand; case d's code is not public, and is presumed alike."""

BASE_RATE = inverse_time(0.0003, 0.001)
"""The article's learning rate, as a function of the number of finished epochs: 0.0003 / (1 + 0.001 epochs)."""

_MOMENTUM_FACTOR = 30.0  # Cases a and e train with this multiple of the base rate.
_AMSGRAD: dict[str, Any] = {"betas": (0.9, 0.9), "bias_correction": "none", "maximum": "tensor"}


@dataclass(frozen=True)
class Case:
    """A case of the article, ready to train.

    Attributes
    ----------
    name : str
        A letter from a to h.
    model : Sequential
        The network, with its initial weights.
    optimizer : Optimizer
        The optimizer of the model's parameters.
    rate_factor : float
        The case's learning rate divided by the base rate.
    """

    name: str
    model: Sequential
    optimizer: Optimizer
    rate_factor: float

    def schedule(self, epochs: float) -> float:
        """Return the learning rate, which stays the same within an epoch.

        Parameters
        ----------
        epochs : float
            The number of epochs that have passed.

        Returns
        -------
        float
            The learning rate.
        """
        return self.rate_factor * BASE_RATE(math.floor(epochs))


def build_case(name: str, rng: np.random.Generator) -> Case:
    """Return a case of the article, untrained.

    Parameters
    ----------
    name : {"a", "b", "c", "d", "e", "f", "g", "h"}
        The article's letter; the table of ``allconv.article.cases`` says what each stands for.
    rng : numpy.random.Generator
        Draws the initial weights.

    Returns
    -------
    Case
        Network, optimizer and learning rate.

    Raises
    ------
    ValueError
        For another name.

    Examples
    --------
    >>> case = build_case("a", np.random.default_rng(678))
    >>> case.optimizer
    SGD(9 parameters, learning_rate=0.009)
    >>> [round(case.schedule(epochs), 7) for epochs in (0, 0.5, 1)]
    [0.009, 0.009, 0.008991]
    """
    method = "abcd"[CASES.index(check_choice("name", name, tuple(CASES))) % 4]
    kind = "convpool" if name in "abcd" else "allcnn"
    model = article_net(kind, dilated=method == "d", rng=rng)
    rate = BASE_RATE(0)
    if method == "a":
        momentum = SGD(model.parameters(), _MOMENTUM_FACTOR * rate, momentum=0.9)
        return Case(name, model, momentum, _MOMENTUM_FACTOR)
    if method == "b":
        return Case(name, model, Adam(model.parameters(), rate, epsilon_hat=True), 1.0)
    if method == "c":
        return Case(name, model, AMSGrad(model.parameters(), rate, **_AMSGRAD), 1.0)
    return Case(name, model, DilatedAMSGrad(model, rate, initial_scale=0.8, **_AMSGRAD), 1.0)
