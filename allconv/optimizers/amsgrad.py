"""AMSGrad in its four variants."""

from collections.abc import Iterable

import numpy as np

from allconv.optimizers.adam import Adam
from allconv.optimizers.base import Piece, over_slices
from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import check_choice


class AMSGrad(Adam):
    r"""Adam that divides by the largest mean square so far, so that no weight's step size grows again.

    .. math::

        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \bar v_t &= \max(\bar v_{t-1}, v_t), \qquad
        w_t = w_{t-1} - \eta \, \frac{m_t / (1 - \beta_1^t)}{\sqrt{\bar v_t / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    parameters : iterable of Parameter
        What to update.
    learning_rate : float, default 1e-3
        :math:`\eta`, at least 0.
    betas : pair of float, default (0.9, 0.999)
        :math:`\beta_1` and :math:`\beta_2`, each in [0, 1).
    eps : float, default 1e-8
        :math:`\epsilon`, positive.
    weight_decay : float, default 0.0
        Coupled (L2), at least 0.
    epsilon_hat : bool, default False
        Add `eps` before the bias of :math:`\bar v_t` is corrected, as Keras does; not with "before_max".
    bias_correction : {"after_max", "before_max", "none"}, default "after_max"
        "after_max" is the equation above, and PyTorch's code. "before_max" takes the maximum of
        :math:`v_t / (1 - \beta_2^t)`, as optax does. "none" leaves both divisors out: the original.
    maximum : {"elementwise", "tensor"}, default "elementwise"
        "tensor" is the article's: :math:`\bar v_t` is the one of :math:`v_t` and :math:`\bar v_{t-1}` whose sum over
        the whole parameter is larger.

    Notes
    -----
    Reddi, Kale and Kumar (2018), On the convergence of Adam and beyond, Algorithm 2. The article's AMSGrad is
    ``AMSGrad(parameters, betas=(0.9, 0.9), bias_correction="none", maximum="tensor")``. In all variants
    :math:`v_t` itself goes on without the maximum.

    Examples
    --------
    After one large gradient, small ones move the weight less than with Adam:

    >>> p, q = Parameter(np.zeros(1)), Parameter(np.zeros(1))
    >>> amsgrad, adam = AMSGrad([p], betas=(0.9, 0.9)), Adam([q], betas=(0.9, 0.9))
    >>> for g in [10.0] + 60 * [0.1]:
    ...     p.add_grad(np.array([g])); amsgrad.step()
    ...     q.add_grad(np.array([g])); adam.step()
    >>> p.value > q.value
    array([ True])
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        learning_rate: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        epsilon_hat: bool = False,
        bias_correction: str = "after_max",
        maximum: str = "elementwise",
    ) -> None:
        super().__init__(
            parameters, learning_rate, betas=betas, eps=eps, weight_decay=weight_decay, epsilon_hat=epsilon_hat
        )
        self.bias_correction = check_choice("bias_correction", bias_correction, ("after_max", "before_max", "none"))
        self.maximum = check_choice("maximum", maximum, ("elementwise", "tensor"))
        if self.epsilon_hat and self.bias_correction == "before_max":
            # Its v is corrected before eps comes in, so there is no other place for eps.
            raise ValueError("epsilon_hat must be False with bias_correction='before_max', got True")
        self.add_slot("vmax")

    # One slot more than Adam's; only `step` calls it, with the slots that there are.
    def update(self, w: Array, g: Array, m: Array, v: Array, vmax: Array) -> None:  # type: ignore[override]
        """Change `w`, `m`, `v` and `vmax` in place; the maximum is taken element by element."""
        early, *late = self._divisors()
        self._moments(g, m, v)
        np.maximum(vmax, v if early == 1 else v / early, out=vmax)
        self._move(w, m, vmax, *late)

    def _divisors(self) -> tuple[float, float, float]:
        """Return what v is divided by before the maximum, then m and vmax after it."""
        correction1, correction2 = self._corrections()
        return {
            "after_max": (1.0, correction1, correction2),
            "before_max": (correction2, correction1, 1.0),
            "none": (1.0, 1.0, 1.0),
        }[self.bias_correction]

    def _apply(self, pieces: list[Piece]) -> None:
        if self.maximum == "elementwise":
            super()._apply(pieces)
            return
        early, *late = self._divisors()

        def moments(piece: Piece) -> float:
            self._moments(self._decayed(piece), piece.slots["m"], piece.slots["v"])
            return float(piece.slots["v"].sum()) / early - float(piece.slots["vmax"].sum())

        def take_over(piece: Piece) -> None:
            np.divide(piece.slots["v"], early, out=piece.slots["vmax"])

        growth = over_slices(moments, pieces)
        over_slices(take_over, [piece for piece, parts in zip(pieces, growth, strict=True) if sum(parts) > 0])
        over_slices(lambda piece: self._move(piece.w, piece.slots["m"], piece.slots["vmax"], *late), pieces)
