"""A shortcut around a body of layers."""

from collections.abc import Iterator
from typing import Any

from allconv.layers.base import Layer
from allconv.layers.shapes import check_shape, child_output_shape
from allconv.layers.signatures import output_and_cache
from allconv.parallel.pool import elementwise
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_bool, check_floating, check_real, describe


class Skip(Layer):
    r"""A body of layers, and a shortcut around it that carries the input times `scale`.

    .. math:: y = f(x) + s\,x

    The two halves can be switched apart. With ``in_forward=False`` the forward pass is :math:`y = f(x)` alone, while
    the backward pass still adds :math:`s\,dy`: the dilated gradient of its first publication, which is not the
    gradient of any loss. A gradient check finds exactly :math:`s\,dy` too much at the input.

    Parameters
    ----------
    body : Layer
        The function f, whose output has the shape of its input.
    scale : float, default 1.0
        The weight s of the shortcut. At 0 the shortcut is cut, so that it carries no infinity and no NaN either.
    in_forward, in_backward : bool, default True
        Whether the shortcut is there in the forward and in the backward pass.

    Attributes
    ----------
    scale : float
        Assignable; a part of the network, which checkpoints save.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from `forward` and `output_shape`, if the body changes the shape.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``. With scale 1 it is the residual connection of
    He et al. (2016), equation 1.

    Examples
    --------
    >>> from allconv import ReLU
    >>> Skip(ReLU(), scale=0.5)(np.array([-1.0, 2.0]))
    array([-0.5,  3. ])
    """

    def __init__(self, body: Layer, *, scale: float = 1.0, in_forward: bool = True, in_backward: bool = True) -> None:
        if not isinstance(body, Layer):
            raise TypeError(f"body must be a Layer, got {describe(body)}")
        self.body = body
        self.scale = scale
        self.in_forward = check_bool("in_forward", in_forward)
        self.in_backward = check_bool("in_backward", in_backward)

    @property
    def scale(self) -> float:
        """The weight s of the shortcut, a finite number."""
        return self._scale

    @scale.setter
    def scale(self, value: float) -> None:
        self._scale = check_real("scale", value)

    def children(self) -> Iterator[tuple[str, Layer]]:
        """Yield the body."""
        yield "body", self.body

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:
        """Return y = body(x) + scale x, and the body's cache with the scale that was used."""
        x, training = check_batch("x", x), check_bool("training", training)
        y, cache = output_and_cache(self.body, self.body.forward(x, training=training))
        return self._add(y, self.scale, x) if self.in_forward else y, [cache, self.scale]

    def backward(self, dy: Array, cache: Cache, *, release: bool = False) -> Array:
        r"""Return :math:`dL/dx = J_f^\top dy + s\,dy`; with `release` the body's caches are freed on the way."""
        body_cache, scale = cache
        dy = check_floating("dy", dy)
        if release:
            cache.clear()
        dx = self.body.backward(dy, body_cache, release=release)
        return self._add(dx, scale, dy) if self.in_backward else dx

    def backward_parameters(self, dy: Array, cache: Cache, *, release: bool = False) -> None:
        """Add the body's gradients; the shortcut has no parameters."""
        body_cache, _ = cache
        if release:
            cache.clear()
        self.body.backward_parameters(dy, body_cache, release=release)

    def __call__(self, x: Array) -> Array:
        """Return the output at inference."""
        x = check_batch("x", x)
        y = self.body(x)
        return self._add(y, self.scale, x) if self.in_forward else y

    @staticmethod
    def _add(main: Array, scale: float, shortcut: Array) -> Array:
        if main.shape != shortcut.shape:
            raise ValueError(f"body must keep its input's shape, got {shortcut.shape} in and {main.shape} out")
        if scale == 0:
            return main  # The shortcut is cut: the product of 0 with an infinity would be NaN.
        return elementwise(lambda a, b: a + scale * b, main, shortcut.astype(main.dtype, copy=False))

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the body's output shape, which must be the input's."""
        shape = check_shape(in_shape)
        out_shape = child_output_shape("body", self.body, shape)
        if out_shape != shape:
            raise ValueError(f"body must keep its input's shape, got {shape} in and {out_shape} out")
        return shape

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        """Return the body's."""
        self.output_shape(in_shape)
        return self.body.multiply_adds(in_shape)

    def state(self) -> dict[str, Any]:
        """Return the scale."""
        return {"scale": self.scale}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over the scale."""
        super().load_state(state)
        self.scale = state["scale"]

    def __repr__(self) -> str:
        flags = "" if self.in_forward else ", in_forward=False"
        flags += "" if self.in_backward else ", in_backward=False"
        return f"Skip({self.body!r}, scale={self.scale:g}{flags})"
