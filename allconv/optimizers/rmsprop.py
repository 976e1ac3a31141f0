"""RMSprop."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from allconv.optimizers.base import Optimizer
from allconv.optimizers.epsilon import check_eps_fits, negligible_square
from allconv.optimizers.groups import Groups
from allconv.optimizers.hyperparameter import Hyperparameter
from allconv.optimizers.pieces import limited_square
from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import check_bool, check_fraction, check_positive


class RMSprop(Optimizer):
    r"""RMSprop: divide each gradient by its running root mean square.

    .. math::

        v_t = \alpha v_{t-1} + (1 - \alpha) g_t^2, \qquad w_t = w_{t-1} - \eta \, \frac{g_t}{\sqrt{v_t} + \epsilon}

    With ``centered=True``, the divisor is a running standard deviation: :math:`v_t - \bar g_t^2` takes the place of
    :math:`v_t` under the root, where :math:`\bar g_t = \alpha \bar g_{t-1} + (1 - \alpha) g_t`. With a momentum
    :math:`\mu`, the fraction goes into a velocity :math:`u_t = \mu u_{t-1} + g_t / (\sqrt{v_t} + \epsilon)`, and
    :math:`w_t = w_{t-1} - \eta u_t`.

    Parameters
    ----------
    parameters : iterable of Parameter, or list of dict
        The parameters to update, at least one, or groups of them; see `Optimizer`.
    learning_rate : float, default 1e-2
        The learning rate :math:`\eta`, at least 0.
    decay : float, default 0.99
        The decay :math:`\alpha` of the running means, in [0, 1).
    eps : float, default 1e-8
        The positive number :math:`\epsilon` in the divisor, at least 1.1e-19 in float32.
    momentum : float, default 0.0
        The momentum :math:`\mu`, in [0, 1). Where it is set to 0, the velocity is forgotten.
    centered : bool, default False
        Whether to divide by the standard deviation.
    weight_decay : float, default 0.0
        The factor of the coupled (L2) weight decay, at least 0; see `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the parameters are not distinct; from `step`, as `Optimizer` says.

    Notes
    -----
    The conventions are PyTorch's; TensorFlow adds eps under the root. Hinton, Srivastava and Swersky (2012), Neural
    networks for machine learning, lecture 6e; centered: Graves (2013), Generating sequences with recurrent neural
    networks, equations 38 to 45. A variance that rounding puts below 0 is taken as 0.

    Examples
    --------
    >>> p = Parameter(np.array([1.0, 1.0])); p.add_grad(np.array([1e-3, -1e3]))
    >>> RMSprop([p], learning_rate=0.01, decay=0.99).step()
    >>> p.value.round(3)  # 1 minus or plus 0.01 / sqrt(1 - 0.99)
    array([0.9, 1.1])
    """

    decay = Hyperparameter(check_fraction)
    eps = Hyperparameter(check_positive)
    momentum = Hyperparameter(check_fraction)
    centered = Hyperparameter(check_bool, fixed="a running mean of the gradients starts with the optimizer")

    def __init__(
        self,
        parameters: Iterable[Parameter] | Groups,
        learning_rate: float = 1e-2,
        *,
        decay: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rate, weight_decay=weight_decay)
        self.add_slot("v")
        self.decay = decay
        self.eps = eps
        self.centered = centered
        self.momentum = momentum

    def before_setting(self, name: str, value: Any) -> None:
        """Check a setting as `Optimizer` does, and that `eps` counts."""
        super().before_setting(name, value)
        if name == "eps":
            check_eps_fits(value, self.parameters)

    def after_setting(self, name: str) -> None:
        """Make or forget the velocity of a momentum, and the running mean of a centered divisor."""
        if name == "momentum":
            self._keep_slot("velocity", needed=self.momentum != 0)
        if name == "centered":
            self._keep_slot("mean", needed=self.centered)

    def negligible(self, slot: str, dtype: np.dtype[Any]) -> float:
        """Return the size below which an element of a slot is set to zero; that of v depends on `eps`."""
        limit = super().negligible(slot, dtype)
        return negligible_square(self.eps, limit) if slot == "v" else limit

    def update(self, w: Array, g: Array, v: Array, mean: Array | None = None, velocity: Array | None = None) -> None:
        """Change `w` and the slots in place."""
        g, square = limited_square(g)
        v *= self.decay
        v += (1 - self.decay) * square
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
