"""The article's optimizer: AMSGrad, with shortcuts that fade from epoch to epoch."""

from allconv.layers.base import Layer
from allconv.layers.skip import Skip
from allconv.optimizers.amsgrad import AMSGrad
from allconv.validation import check_int, check_real, describe


class DilatedAMSGrad(AMSGrad):
    r"""AMSGrad that also sets the scale of the model's `Skip` layers when an epoch starts.

    .. math:: r(e) = r(0) / (1 + e), \qquad e = 0, 1, 2, \dots

    Parameters
    ----------
    model : Layer
        Its parameters are updated, its Skips scaled; it must hold at least one Skip.
    learning_rate : float, default 1e-3
        At least 0.
    initial_scale : float, default 0.8
        :math:`r(0)`, a finite number.
    betas, eps, weight_decay, epsilon_hat, bias_correction, maximum
        As in `AMSGrad`.

    Attributes
    ----------
    skips : list of Skip
        The model's, in forward order. Their scales stay as they are until `start_epoch` is called.

    Notes
    -----
    "Dilated" as in the article: a shortcut carries the gradient from a later layer straight to an earlier one. It has
    nothing to do with the holes of a dilated convolution. An optimizer sees finished gradients, so the shortcuts
    themselves are layers of the model. The article's is ``DilatedAMSGrad(model, betas=(0.9, 0.9),
    bias_correction="none", maximum="tensor")``.

    Examples
    --------
    >>> from allconv.layers.linear import Linear
    >>> skip = Skip(Linear(4, 4), scale=0.8)
    >>> DilatedAMSGrad(skip).start_epoch(3)
    >>> skip.scale
    0.2
    """

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
        self.initial_scale = check_real("initial_scale", initial_scale)

    def start_epoch(self, epoch: int) -> None:
        """Set the scale of every Skip to ``initial_scale / (1 + epoch)``."""
        scale = self.initial_scale / (1 + check_int("epoch", epoch, minimum=0))
        for skip in self.skips:
            skip.scale = scale
