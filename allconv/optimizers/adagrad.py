"""AdaGrad."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from allconv.optimizers.base import Optimizer
from allconv.optimizers.epsilon import check_eps_fits
from allconv.optimizers.groups import Groups
from allconv.optimizers.hyperparameter import Hyperparameter
from allconv.optimizers.pieces import limited_square, overflowed
from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import check_non_negative, check_positive


class AdaGrad(Optimizer):
    r"""AdaGrad: divide each gradient by the root of the sum of its squares so far.

    .. math::

        s_t = s_{t-1} + g_t^2, \qquad w_t = w_{t-1} - \eta \, \frac{g_t}{\sqrt{s_t} + \epsilon}

    Parameters
    ----------
    parameters : iterable of Parameter, or list of dict
        The parameters to update, at least one, or groups of them; see `Optimizer`.
    learning_rate : float, default 1e-2
        The learning rate :math:`\eta`, at least 0.
    eps : float, default 1e-10
        The positive number :math:`\epsilon` in the divisor, at least 1.1e-19 in float32.
    initial_accumulator : float, default 0.0
        The start :math:`s_0` of the sum of squares, at least 0.
    weight_decay : float, default 0.0
        The factor of the coupled (L2) weight decay, at least 0; see `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the parameters are not distinct; from `step`, as `Optimizer` says.

    Notes
    -----
    The conventions are PyTorch's; TensorFlow and Keras start the sum at 0.1. Duchi, Hazan and Singer (2011), Adaptive
    subgradient methods for online learning and stochastic optimization, section 1.1, the diagonal form.

    Examples
    --------
    >>> p = Parameter(np.array([1.0, 1.0])); optimizer = AdaGrad([p], learning_rate=0.1)
    >>> for _ in range(2):
    ...     p.add_grad(np.array([1e-3, -1e3])); optimizer.step()
    >>> p.value.round(4)  # 1 minus or plus 0.1 + 0.1 / sqrt(2)
    array([0.8293, 1.1707])
    """

    eps = Hyperparameter(check_positive)
    initial_accumulator = Hyperparameter(check_non_negative, fixed="the sum of squares has already started from it")

    def __init__(
        self,
        parameters: Iterable[Parameter] | Groups,
        learning_rate: float = 1e-2,
        *,
        eps: float = 1e-10,
        initial_accumulator: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rate, weight_decay=weight_decay)
        self.eps = eps
        self.initial_accumulator = initial_accumulator

    def after_setting(self, name: str) -> None:
        """Start the sum of squares."""
        if name == "initial_accumulator":
            self.add_slot("squares", self.initial_accumulator)

    def before_setting(self, name: str, value: Any) -> None:
        """Check a setting as `Optimizer` does, and that `eps` counts beside the smallest sum of squares."""
        super().before_setting(name, value)
        if name == "eps":
            check_eps_fits(value, self.parameters)

    def negligible(self, slot: str, dtype: np.dtype[Any]) -> float:  # noqa: ARG002 - the sum is the only slot
        """Return 0: a sum of squares does not fade, and stays."""
        return 0.0

    def update(self, w: Array, g: Array, squares: Array) -> None:
        """Change `w` and `squares` in place."""
        g, square = limited_square(g)
        squares += square
        if overflowed():  # The sum itself is at its end, and stays the largest number that there is.
            np.minimum(squares, np.finfo(squares.dtype).max, out=squares)
        u = np.sqrt(squares)
        u += self.eps
        np.divide(g, u, out=u)
        u *= self.learning_rate
        w -= u
