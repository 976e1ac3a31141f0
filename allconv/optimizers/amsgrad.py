"""AMSGrad, by the place of the bias correction and the kind of maximum."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from allconv.optimizers.adam import Adam
from allconv.optimizers.groups import Groups
from allconv.optimizers.hyperparameter import Hyperparameter
from allconv.optimizers.pieces import Piece, over_slices
from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import check_choice


def _check_bias_correction(name: str, value: object) -> str:
    return check_choice(name, value, ("after_max", "before_max", "none"))


def _check_maximum(name: str, value: object) -> str:
    return check_choice(name, value, ("elementwise", "tensor"))


class AMSGrad(Adam):
    r"""AMSGrad: Adam that divides by the root of the largest mean square so far.

    .. math::

        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \bar v_t &= \max(\bar v_{t-1}, v_t), \qquad
        w_t = w_{t-1} - \eta \, \frac{m_t / (1 - \beta_1^t)}{\sqrt{\bar v_t / (1 - \beta_2^t)} + \epsilon}

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
        The factor of the coupled (L2) weight decay, at least 0; see `Optimizer`.
    epsilon_hat : bool, default False
        Whether to add `eps` before the bias of :math:`\bar v_t` is corrected, as Keras does. "before_max" excludes it.
    bias_correction : {"after_max", "before_max", "none"}, default "after_max"
        The place of the divisors that correct the bias. "after_max" follows the equation above, as PyTorch does.
        "before_max" takes the maximum of :math:`v_t / (1 - \beta_2^t)`, as optax does. "none" leaves both divisors
        out, as the paper does.
    maximum : {"elementwise", "tensor"}, default "elementwise"
        The kind of maximum. "tensor" follows the 2018 article: :math:`\bar v_t` is either :math:`v_t` or
        :math:`\bar v_{t-1}` as a whole, whichever has the larger sum over the parameter.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the parameters are not distinct, or `epsilon_hat` meets
        ``bias_correction="before_max"``; from `step`, as `Optimizer` says.

    Notes
    -----
    Reddi, Kale and Kumar (2018), On the convergence of Adam and beyond, Algorithm 2. The AMSGrad of the
    2018 article is ``AMSGrad(parameters, betas=(0.9, 0.9), bias_correction="none", maximum="tensor")``. In all
    variants the recursion of :math:`v_t` itself leaves the maximum out.

    With "before_max" and "none" the divisor of a weight never falls. With "after_max" the maximum never falls, but the
    correction of its bias lowers the divisor in the first steps.

    All parameters share t, as `Adam` says: by default, the first step of a parameter that is unfrozen late is up to 3.2
    times the learning rate.

    With equal betas, a step moves no weight by more than the learning rate if the maximum is element by element. With
    "tensor" nothing bounds the step of a weight: :math:`\bar v` may date from a step in which this weight had hardly
    any gradient.

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

    bias_correction = Hyperparameter(_check_bias_correction, fixed="vmax holds squares of this kind of correction")
    maximum = Hyperparameter(_check_maximum, fixed="vmax holds this kind of maximum")

    def __init__(
        self,
        parameters: Iterable[Parameter] | Groups,
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
        self.bias_correction = bias_correction
        self.maximum = maximum
        self.add_slot("vmax")

    def before_setting(self, name: str, value: Any) -> None:
        """Check a setting as `Adam` does, and that `epsilon_hat` has a place beside the kind of bias correction."""
        super().before_setting(name, value)
        settings = vars(self) | {name: value}
        if settings.get("epsilon_hat") and settings.get("bias_correction") == "before_max":
            # "before_max" corrects v before eps is added, so there is no other place for eps.
            raise ValueError("epsilon_hat must be False with bias_correction='before_max', got True")

    def negligible(self, slot: str, dtype: np.dtype[Any]) -> float:
        """Return the size below which an element of a slot is set to zero; a maximum does not fade, and stays."""
        return 0.0 if slot == "vmax" else super().negligible(slot, dtype)

    # This update has one slot more than Adam's. Only `step` calls it, and passes all slots.
    def update(self, w: Array, g: Array, m: Array, v: Array, vmax: Array) -> None:  # type: ignore[override]
        """Change `w`, `m`, `v` and `vmax` in place; the maximum is taken element by element."""
        divisor_v, divisor_m, divisor_vmax = self._divisors()
        self._moments(g, m, v)
        np.maximum(vmax, v if divisor_v == 1 else v / divisor_v, out=vmax)
        self._move(w, m, vmax, divisor_m, divisor_vmax)

    def _divisors(self) -> tuple[float, float, float]:
        """Return the divisor of v before the maximum, and the divisors of m and of vmax after it."""
        correction1, correction2 = self._corrections()
        return {
            "after_max": (1.0, correction1, correction2),
            "before_max": (correction2, correction1, 1.0),
            "none": (1.0, 1.0, 1.0),
        }[self.bias_correction]

    def _is_elementwise(self) -> bool:
        return self.maximum == "elementwise"

    def _apply(self, pieces: list[Piece]) -> None:
        if self.maximum == "elementwise":
            super()._apply(pieces)
            return
        divisor_v, divisor_m, divisor_vmax = self._divisors()

        def moments(piece: Piece) -> float:
            self._moments(self._apply_weight_decay(piece), piece.slots["m"], piece.slots["v"])
            sums = {name: float(piece.slots[name].sum(dtype=np.float64)) for name in ("v", "vmax")}
            return sums["v"] / divisor_v - sums["vmax"]

        def take_over(piece: Piece) -> None:
            np.divide(piece.slots["v"], divisor_v, out=piece.slots["vmax"])

        def move(piece: Piece) -> None:
            self._move(piece.w, piece.slots["m"], piece.slots["vmax"], divisor_m, divisor_vmax)

        growth = over_slices(moments, pieces)
        over_slices(take_over, [piece for piece, parts in zip(pieces, growth, strict=True) if sum(parts) > 0])
        over_slices(move, pieces)
