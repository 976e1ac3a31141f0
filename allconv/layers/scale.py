"""Multiplication by a constant."""

from allconv.layers.base import Layer
from allconv.parallel.pool import elementwise
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_gradient, check_real


class Scale(Layer):
    r"""Multiplication by a constant, element by element: :math:`y = s x`.

    Behind the last layer of a network it makes the scores smaller, and so the softmax softer, where training starts.

    Parameters
    ----------
    factor : float
        The constant s, a finite number.

    Raises
    ------
    TypeError, ValueError
        If `factor` is no finite number; from `forward`, if x is not floating or holds no example; from `backward`, if
        dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``.

    Examples
    --------
    >>> Scale(0.5)(np.array([[1.0, -4.0]]))
    array([[ 0.5, -2. ]])
    """

    def __init__(self, factor: float) -> None:
        self.factor = check_real("factor", factor)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, ...)``."""
        x = check_batch("x", x)
        return elementwise(lambda x: self.factor * x, x), x

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx = s dL/dy."""
        dy = check_gradient(dy, cache)
        return elementwise(lambda dy: self.factor * dy, dy)

    def __repr__(self) -> str:
        return f"Scale({self.factor!r})"
