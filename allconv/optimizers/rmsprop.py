"""RMSprop."""

from collections.abc import Iterable

import numpy as np

from allconv.optimizers.base import Optimizer
from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import check_bool, check_fraction, check_positive


class RMSprop(Optimizer):
    r"""Divides each gradient by a running root mean square.

    .. math::

        v_t = \alpha v_{t-1} + (1 - \alpha) g_t^2, \qquad w_t = w_{t-1} - \eta \, \frac{g_t}{\sqrt{v_t} + \epsilon}

    Centered, the running mean :math:`\bar g_t = \alpha \bar g_{t-1} + (1 - \alpha) g_t` makes it a standard deviation:
    :math:`v_t - \bar g_t^2` stands for :math:`v_t` under the root. With a momentum :math:`\mu`, the fraction goes into
    a velocity: :math:`u_t = \mu u_{t-1} + g_t / (\sqrt{v_t} + \epsilon)`, :math:`w_t = w_{t-1} - \eta u_t`.

    Parameters
    ----------
    parameters : iterable of Parameter
        What to update.
    learning_rate : float, default 1e-2
        :math:`\eta`, at least 0.
    decay : float, default 0.99
        :math:`\alpha` in [0, 1).
    eps : float, default 1e-8
        :math:`\epsilon`, positive.
    momentum : float, default 0.0
        :math:`\mu` in [0, 1).
    centered : bool, default False
        Whether to divide by the standard deviation.
    weight_decay : float, default 0.0
        Coupled (L2), at least 0.

    Notes
    -----
    PyTorch's conventions; TensorFlow adds eps under the root. Hinton, Srivastava and Swersky (2012), Neural networks
    for machine learning, lecture 6e; centered: Graves (2013), Generating sequences with recurrent neural networks,
    equations 38 to 45. Rounding can put the variance a little below 0; it is then taken as 0.

    Examples
    --------
    >>> p = Parameter(np.array([1.0, 1.0])); p.add_grad(np.array([1e-3, -1e3]))
    >>> RMSprop([p], learning_rate=0.01, decay=0.99).step()
    >>> p.value.round(3)  # 0.01 / sqrt(1 - 0.99), either way
    array([0.9, 1.1])
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        learning_rate: float = 1e-2,
        *,
        decay: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rate, weight_decay=weight_decay)
        self.decay = check_fraction("decay", decay)
        self.eps = check_positive("eps", eps)
        self.momentum = check_fraction("momentum", momentum)
        self.centered = check_bool("centered", centered)
        self.add_slot("v")
        if self.centered:
            self.add_slot("mean")
        if self.momentum:
            self.add_slot("velocity")

    def update(self, w: Array, g: Array, v: Array, mean: Array | None = None, velocity: Array | None = None) -> None:
        """Change `w` and the slots in place."""
        v *= self.decay
        v += (1 - self.decay) * (g * g)
        variance = v
        if mean is not None:
            mean *= self.decay
            mean += (1 - self.decay) * g
            variance = np.maximum(v - mean * mean, 0)
        u = np.sqrt(variance)
        u += self.eps
        np.divide(g, u, out=u)
        if velocity is not None:
            velocity *= self.momentum
            velocity += u
            u = velocity
        w -= self.learning_rate * u
