"""Gradient descent with momentum."""

from collections.abc import Iterable
from typing import Any

from allconv.optimizers.base import Optimizer
from allconv.optimizers.groups import Groups
from allconv.optimizers.hyperparameter import Hyperparameter
from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import check_bool, check_fraction, check_real


def _check_dampening(name: str, value: object) -> float:
    return check_real(name, value, minimum=0.0, maximum=1.0)


class SGD(Optimizer):
    r"""Stochastic gradient descent, with or without momentum.

    .. math::

        u_1 = g_1, \qquad u_t = \mu u_{t-1} + (1 - \tau) g_t, \qquad w_t = w_{t-1} - \eta u_t

    or, with Nesterov's momentum, :math:`w_t = w_{t-1} - \eta (g_t + \mu u_t)`.

    Parameters
    ----------
    parameters : iterable of Parameter, or list of dict
        The parameters to update, at least one, or groups of them; see `Optimizer`.
    learning_rate : float
        The learning rate :math:`\eta`, at least 0.
    momentum : float, default 0.0
        The momentum :math:`\mu`, in [0, 1). Where it is set to 0, the velocity is forgotten.
    nesterov : bool, default False
        Whether a step looks one step of the velocity ahead (Nesterov's momentum). It needs a momentum and no dampening.
    dampening : float, default 0.0
        The share :math:`\tau`, in [0, 1], of each gradient after the first that is left out of the velocity.
    weight_decay : float, default 0.0
        The factor of the coupled (L2) weight decay, at least 0; see `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the parameters are not distinct, or `nesterov` comes without a momentum
        or with a dampening; from `step`, as `Optimizer` says.

    Notes
    -----
    The conventions are PyTorch's. TensorFlow 1's ``MomentumOptimizer``, which the 2018 article uses, is the same
    without dampening. Sutskever et al. (2013), On the importance of initialization and momentum in deep learning,
    section 2, scale the gradient by the learning rate, and not the velocity. Both agree for a constant rate.

    Examples
    --------
    >>> p = Parameter(np.array([1.0]))
    >>> optimizer = SGD([p], learning_rate=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     p.add_grad(np.array([1.0])); optimizer.step()
    >>> p.value  # 1 - 0.1 - 0.1 * (0.9 + 1)
    array([0.71])
    """

    momentum = Hyperparameter(check_fraction)
    nesterov = Hyperparameter(check_bool)
    dampening = Hyperparameter(_check_dampening)

    def __init__(
        self,
        parameters: Iterable[Parameter] | Groups,
        learning_rate: float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rate, weight_decay=weight_decay)
        self.momentum = momentum
        self.dampening = dampening
        self.nesterov = nesterov

    def before_setting(self, name: str, value: Any) -> None:
        """Check a setting as `Optimizer` does, and against the others."""
        super().before_setting(name, value)
        settings = vars(self) | {name: value}
        if settings.get("nesterov") and (settings["momentum"] == 0 or settings["dampening"] != 0):
            raise ValueError(
                "nesterov must be False without a momentum or with a dampening, "
                f"got nesterov=True, momentum={settings['momentum']:g}, dampening={settings['dampening']:g}"
            )

    def after_setting(self, name: str) -> None:
        """Make or forget the velocity of a momentum."""
        if name == "momentum" and self._keep_slot("velocity", needed=self.momentum != 0):
            self._first_velocity = self.step_count + 1

    def update(self, w: Array, g: Array, velocity: Array | None = None) -> None:
        """Change `w` and `velocity` in place."""
        u = g
        if velocity is not None:
            velocity *= self.momentum
            dampened = self.dampening != 0 and self.step_count != self._first_velocity
            velocity += (1 - self.dampening) * g if dampened else g
            u = g + self.momentum * velocity if self.nesterov else velocity
        w -= self.learning_rate * u
