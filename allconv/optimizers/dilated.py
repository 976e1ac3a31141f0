"""The optimizer of the 2018 article: AMSGrad, with shortcuts that fade from epoch to epoch."""

from allconv.layers.base import Layer
from allconv.layers.skip import Skip
from allconv.optimizers.amsgrad import AMSGrad
from allconv.optimizers.hyperparameter import Hyperparameter
from allconv.validation import check_int, check_non_negative, check_real, describe


class DilatedAMSGrad(AMSGrad):
    r"""AMSGrad that also sets the scale r of the model's `Skip` layers when an epoch e starts.

    .. math:: r(e) = r(0) / (1 + e), \qquad e = 0, 1, 2, \dots

    Parameters
    ----------
    model : Layer
        The model whose parameters are updated and whose Skips are scaled. It must hold at least one Skip.
    learning_rate : float, default 1e-3
        The learning rate, at least 0.
    initial_scale : float, default 0.8
        The scale :math:`r(0)` of the first epoch, a finite number.
    betas : pair of float, default (0.9, 0.999)
        The decays of the two moments, as in `AMSGrad`.
    eps : float, default 1e-8
        The positive number in the divisor, as in `AMSGrad`.
    weight_decay : float, default 0.0
        The factor of the coupled (L2) weight decay, at least 0; see `Optimizer`.
    epsilon_hat : bool, default False
        Whether to add `eps` before the bias is corrected, as in `AMSGrad`.
    bias_correction : {"after_max", "before_max", "none"}, default "after_max"
        The place of the divisors that correct the bias, as in `AMSGrad`.
    maximum : {"elementwise", "tensor"}, default "elementwise"
        The kind of maximum, as in `AMSGrad`.

    Attributes
    ----------
    skips : list of Skip
        The model's Skips, in forward order. Their scales do not change until `start_epoch` is called.

    Raises
    ------
    TypeError, ValueError
        If the model is no Layer or holds no Skip, or an argument is out of its range; from `step`, as `Optimizer` says.

    Notes
    -----
    "Dilated" is the word of the 2018 article: a shortcut carries the gradient from a later layer straight to an earlier
    one. The word does not mean the holes of a dilated convolution. An optimizer sees finished gradients, so the
    shortcuts themselves are layers of the model. The optimizer of the article is ``DilatedAMSGrad(model,
    betas=(0.9, 0.9), bias_correction="none", maximum="tensor")``.

    Examples
    --------
    >>> from allconv.layers.linear import Linear
    >>> skip = Skip(Linear(4, 4), scale=0.8)
    >>> DilatedAMSGrad(skip).start_epoch(3)
    >>> skip.scale
    0.2
    """

    initial_scale = Hyperparameter(check_real)

    def __init__(
        self,
        model: Layer,
        learning_rate: float = 1e-3,
        *,
        initial_scale: float = 0.8,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        epsilon_hat: bool = False,
        bias_correction: str = "after_max",
        maximum: str = "elementwise",
    ) -> None:
        if not isinstance(model, Layer):
            raise TypeError(f"model must be a Layer that holds a Skip, got {describe(model)}")
        self.skips = [layer for layer in model.walk() if isinstance(layer, Skip)]
        if not self.skips:
            raise ValueError(f"model must hold at least one Skip, whose scale can be set, got {describe(model)}")
        super().__init__(
            model.parameters(),
            learning_rate,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            epsilon_hat=epsilon_hat,
            bias_correction=bias_correction,
            maximum=maximum,
        )
        self.initial_scale = initial_scale

    def start_epoch(self, epoch: int) -> None:
        """Set the scale of every Skip to ``initial_scale / (1 + epoch)``."""
        scale = self.initial_scale / (1 + check_non_negative("epoch", check_int("epoch", epoch, minimum=0)))
        for skip in self.skips:
            skip.scale = scale
