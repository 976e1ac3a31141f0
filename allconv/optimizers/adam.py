"""Adam, and Adam with decoupled weight decay."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from allconv.optimizers.base import Optimizer
from allconv.optimizers.epsilon import check_eps_fits, negligible_square
from allconv.optimizers.groups import Groups
from allconv.optimizers.hyperparameter import Hyperparameter
from allconv.optimizers.pieces import Piece, limited_square
from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import check_bool, check_fraction, check_positive, describe, items_of


def check_betas(name: str, value: Any) -> tuple[float, float]:
    """Return `value`, which must be a pair of numbers in [0, 1), as floats."""
    betas = items_of(value) if isinstance(value, np.ndarray) else value
    if not isinstance(betas, tuple | list):
        raise TypeError(f"{name} must be a pair of numbers in [0, 1), got {describe(value)}")
    if len(betas) != 2:
        raise ValueError(f"{name} must be a pair of numbers in [0, 1), got {describe(value)}")
    return check_fraction(f"{name}[0]", betas[0]), check_fraction(f"{name}[1]", betas[1])


class Adam(Optimizer):
    r"""Adam (adaptive moments): divide a running mean of each weight's gradient by its running root mean square.

    .. math::

        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        w_t &= w_{t-1} - \eta \, \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    parameters : iterable of Parameter, or list of dict
        The parameters to update, at least one, or groups of them; see `Optimizer`.
    learning_rate : float, default 1e-3
        The learning rate :math:`\eta`, at least 0.
    betas : pair of float, default (0.9, 0.999)
        The decays :math:`\beta_1` of the mean and :math:`\beta_2` of the mean square, each in [0, 1).
    eps : float, default 1e-8
        The positive number :math:`\epsilon` in the divisor, at least 1.1e-19 in float32.
    weight_decay : float, default 0.0
        The factor of the coupled (L2) weight decay, at least 0; `AdamW` has the decoupled one.
    epsilon_hat : bool, default False
        Whether to add `eps` to :math:`\sqrt{v_t}` before its bias is corrected, as TensorFlow and Keras do. The default
        follows Algorithm 1 of the paper, as PyTorch and optax do.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the parameters are not distinct; from `step`, as `Optimizer` says.

    Notes
    -----
    A gradient whose square the dtype can't hold counts as one of 2^63 = 9e18 in float32, which makes the same step.

    All parameters share t, the number of the optimizer's steps; PyTorch counts those of each parameter. So the moments
    of a parameter that is unfrozen late lack their correction. Its first step is up to
    :math:`(1 - \beta_1) / \sqrt{1 - \beta_2}` times the learning rate, by default 3.2 times. A new optimizer starts at
    t = 1 for all.

    Kingma and Ba (2015), Adam: a method for stochastic optimization, Algorithm 1. The code takes the equal form at the
    end of their section 2, which saves two passes over the arrays:
    :math:`w_t = w_{t-1} - \eta_t m_t / (\sqrt{v_t} + \hat\epsilon)`, with
    :math:`\eta_t = \eta \sqrt{1 - \beta_2^t} / (1 - \beta_1^t)` and
    :math:`\hat\epsilon = \epsilon \sqrt{1 - \beta_2^t}`. With `epsilon_hat`, :math:`\hat\epsilon = \epsilon`.

    Examples
    --------
    The first step has the size of the learning rate, whatever the size of the gradient:

    >>> p = Parameter(np.array([1.0, 1.0])); p.add_grad(np.array([1e-3, -1e3]))
    >>> Adam([p], learning_rate=0.1).step()
    >>> p.value.round(3)
    array([0.9, 1.1])
    """

    betas = Hyperparameter(check_betas)
    eps = Hyperparameter(check_positive)
    epsilon_hat = Hyperparameter(check_bool)

    def __init__(
        self,
        parameters: Iterable[Parameter] | Groups,
        learning_rate: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        epsilon_hat: bool = False,
    ) -> None:
        super().__init__(parameters, learning_rate, weight_decay=weight_decay)
        self.betas = betas
        self.eps = eps
        self.epsilon_hat = epsilon_hat
        self.add_slot("m")
        self.add_slot("v")

    def before_setting(self, name: str, value: Any) -> None:
        """Check a setting as `Optimizer` does, and that `eps` counts beside the smallest mean square."""
        super().before_setting(name, value)
        if name == "eps":
            check_eps_fits(value, self.parameters)

    def negligible(self, slot: str, dtype: np.dtype[Any]) -> float:
        """Return the size below which an element of a slot is set to zero; that of v depends on `eps`."""
        limit = super().negligible(slot, dtype)
        return negligible_square(self.eps, limit) if slot == "v" else limit

    def update(self, w: Array, g: Array, m: Array, v: Array) -> None:
        """Change `w`, `m` and `v` in place."""
        self._moments(g, m, v)
        self._move(w, m, v, *self._corrections())

    def _corrections(self) -> tuple[float, float]:
        """Return the divisors that correct the bias of m and of v at this step."""
        beta1, beta2 = self.betas
        return 1 - beta1**self.step_count, 1 - beta2**self.step_count

    def _moments(self, g: Array, m: Array, v: Array) -> None:
        """Set m to beta1 m + (1 - beta1) g, and v to beta2 v + (1 - beta2) g^2, in place."""
        beta1, beta2 = self.betas
        g, square = limited_square(g)
        square *= 1 - beta2
        v *= beta2
        v += square
        share = np.multiply(g, 1 - beta1, out=square)
        m *= beta1
        m += share

    def _move(self, w: Array, m: Array, v: Array, correction1: float, correction2: float) -> None:
        """Subtract eta (m / correction1) / (sqrt(v / correction2) + eps) from w, in place."""
        root = math.sqrt(correction2)
        u = np.sqrt(v)
        u += self.eps if self.epsilon_hat else self.eps * root
        np.divide(m, u, out=u)
        u *= self.learning_rate * root / correction1
        w -= u


class AdamW(Adam):
    r"""Adam with decoupled weight decay: the weights shrink by a factor, and the moments never see the decay.

    .. math:: w_t = (1 - \eta \lambda) w_{t-1} - \text{the step of Adam}

    Parameters
    ----------
    parameters : iterable of Parameter, or list of dict
        The parameters to update, at least one, or groups of them; see `Optimizer`.
    learning_rate : float, default 1e-3
        The learning rate :math:`\eta`, at least 0.
    betas : pair of float, default (0.9, 0.999)
        The decays :math:`\beta_1` of the mean and :math:`\beta_2` of the mean square, each in [0, 1).
    eps : float, default 1e-8
        The positive number :math:`\epsilon` in the divisor, at least 1.1e-19 in float32.
    weight_decay : float, default 0.01
        The factor :math:`\lambda`, at least 0, for every parameter with ``decay=True``.
    epsilon_hat : bool, default False
        Whether to add `eps` before the bias is corrected, as in `Adam`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the parameters are not distinct; from `step`, as `Optimizer` says.

    Notes
    -----
    Loshchilov and Hutter (2019), Decoupled weight decay regularization, Algorithm 2. The decay is multiplied by the
    learning rate, as in PyTorch and Keras. All parameters share t, as `Adam` says: by default, the first step of a
    parameter that is unfrozen late is up to 3.2 times the learning rate.

    Examples
    --------
    >>> p = Parameter(np.array([1.0])); p.add_grad(np.array([0.0]))
    >>> AdamW([p], learning_rate=0.1, weight_decay=0.5).step()
    >>> p.value
    array([0.95])
    """

    def __init__(
        self,
        parameters: Iterable[Parameter] | Groups,
        learning_rate: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        epsilon_hat: bool = False,
    ) -> None:
        super().__init__(
            parameters, learning_rate, betas=betas, eps=eps, weight_decay=weight_decay, epsilon_hat=epsilon_hat
        )

    def _apply_weight_decay(self, piece: Piece) -> Array:
        """Shrink the weights in place, and return the gradient unchanged."""
        if self.weight_decay and piece.decay:
            w = piece.w
            w *= 1 - self.learning_rate * self.weight_decay
        return piece.g
