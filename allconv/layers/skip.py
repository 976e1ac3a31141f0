"""A shortcut around a body of layers."""

from collections.abc import Callable
from typing import Any

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.joining import Finishing, Overwriting
from allconv.layers.shapes import check_shape, child_output_shape
from allconv.layers.signatures import output_and_cache
from allconv.parallel.pool import elementwise, elementwise_into
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_bool, check_floating, check_gradient, check_real, describe, quietly

# Called with a slice of a sum, with those of the arrays beside it, and with the memory for the result: the sum itself.
Finish = Callable[..., object]


# Longer than 150 lines because its docstrings hold the contract and the equations; the code is short.
class Skip(Finishing):
    r"""A body of layers, and a shortcut around it that carries the input times `scale`.

    .. math:: y = f(x) + s\,g(x)

    The function g is the identity, unless `shortcut` is a layer.

    The two halves can be switched apart. With ``in_forward=False`` the forward pass is :math:`y = f(x)` alone, while
    the backward pass still goes through the shortcut. If g is the identity, it adds :math:`s\,dy`: the dilated gradient
    of its first publication, which is not the gradient of any loss. A gradient check finds exactly :math:`s\,dy` too
    much at the input.

    Parameters
    ----------
    body : Layer
        The function f, whose output has the shape of that of g.
    scale : float, default 1.0
        The weight s of the shortcut. At 0 the shortcut is cut, so that it carries no infinity and no NaN either.
    shortcut : Layer, optional
        The function g, for a body that changes the shape of its input: a projection, for instance. The default is the
        identity.
    in_forward, in_backward : bool, default True
        Whether the shortcut is there in the forward and in the backward pass. Without the latter, the parameters of
        `shortcut` get no gradient.

    Attributes
    ----------
    scale : float
        Assignable; a part of the network, which checkpoints save.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from `forward` and `output_shape`, if body and shortcut differ in the shape
        of their outputs.

    Notes
    -----
    Input ``(N, ...)``; the output has the shape of the body's. With scale 1 it is the residual connection of He et al.
    (2016), Deep residual learning for image recognition, equation 1, or equation 2 with a projection as the shortcut.

    Examples
    --------
    >>> from allconv import Linear, ReLU
    >>> Skip(ReLU(), scale=0.5)(np.array([-1.0, 2.0]))
    array([-0.5,  3. ])
    >>> Skip(Linear(3, 5), shortcut=Linear(3, 5, bias=False)).output_shape((3,))
    (5,)
    """

    side_by_side = True

    def __init__(
        self,
        body: Layer,
        *,
        scale: float = 1.0,
        shortcut: Layer | None = None,
        in_forward: bool = True,
        in_backward: bool = True,
    ) -> None:
        if not isinstance(body, Layer):
            raise TypeError(f"body must be a Layer, got {describe(body)}")
        if not isinstance(shortcut, Layer | None):
            raise TypeError(f"shortcut must be a Layer or None, got {describe(shortcut)}")
        self.body = body
        self.shortcut = shortcut
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

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:
        """Return y = body(x) + scale shortcut(x), and the caches of both with the scale that was used."""
        return self._forward(x, training)

    def forward_with(self, x: Array, activation: Overwriting, *, training: bool = False) -> tuple[Array, Cache]:
        """Return the activation of body(x) + scale shortcut(x), and the cache."""
        return self._forward(x, training, activation.write)

    def _forward(self, x: Array, training: bool, finish: Finish | None = None) -> tuple[Array, Cache]:
        x, training = check_batch("x", x), check_bool("training", training)
        y, body_cache = output_and_cache(self.body, self.body.forward(x, training=training))
        beside, shortcut_cache = x, None
        if self.shortcut is not None:
            beside, shortcut_cache = output_and_cache(self.shortcut, self.shortcut.forward(x, training=training))
        if self.in_forward:
            y = self._add(y, self.scale, beside, finish)
        elif finish is not None:
            y = elementwise_into(finish, y)
        return y, [body_cache, shortcut_cache, self.scale]

    def backward(self, dy: Array, cache: Cache, *, release: bool = False) -> Array:
        r"""Return :math:`dL/dx = J_f^\top dy + J_g^\top s\,dy`; with `release` the caches are freed on the way."""
        return self._input_grad(dy, cache, release)

    def backward_with(
        self, dy: Array, cache: Cache, activation: Overwriting, y: Array, *, release: bool = False
    ) -> Array:
        """Return the gradient at the input of the activation before."""
        return self._input_grad(dy, cache, release, activation.write_gradient, y)

    def _input_grad(
        self, dy: Array, cache: Cache, release: bool, finish: Finish | None = None, *beside_sum: Array
    ) -> Array:
        body_cache, shortcut_cache, scale = cache
        dy = check_floating("dy", dy)
        if check_bool("release", release):
            cache.clear()
        dx = self.body.backward(dy, body_cache, release=release)
        for y in beside_sum:
            check_gradient(dx, y)
        if not self.in_backward:
            return dx if finish is None else elementwise_into(finish, dx, *beside_sum)
        if self.shortcut is None:
            return self._add(dx, scale, dy, finish, *beside_sum)
        beside = self.shortcut.backward(self._share(scale, dy), shortcut_cache, release=release)
        return self._add(dx, float(scale != 0), beside, finish, *beside_sum)

    def backward_parameters(self, dy: Array, cache: Cache, *, release: bool = False) -> None:
        """Add the gradients of the body's parameters and of the shortcut's."""
        body_cache, shortcut_cache, scale = cache
        if check_bool("release", release):
            cache.clear()
        self.body.backward_parameters(dy, body_cache, release=release)
        if self.in_backward and self.shortcut is not None:
            dy = self._share(scale, check_floating("dy", dy))
            self.shortcut.backward_parameters(dy, shortcut_cache, release=release)

    def __call__(self, x: Array) -> Array:
        """Return the output at inference."""
        x = check_batch("x", x)
        y = self.body(x)
        if not self.in_forward:
            return y
        return self._add(y, self.scale, x if self.shortcut is None else self.shortcut(x))

    @quietly
    def _add(
        self, main: Array, scale: float, shortcut: Array, finish: Finish | None = None, *beside_sum: Array
    ) -> Array:
        """Return main + scale shortcut; a shortcut of scale 0 is cut, since 0 times an infinity would be NaN.

        Each slice of the sum goes through ``finish(sum, *beside_sum, out)``, where `out` is the sum itself.
        """
        if main.shape != shortcut.shape:
            raise ValueError(self._misfit(shortcut.shape, main.shape))
        if scale == 0:  # The body may have kept `main` in its cache, so it is not overwritten.
            return main if finish is None else elementwise_into(finish, main, *beside_sum)

        def add(a: Array, b: Array, *rest: Array) -> None:
            out = rest[-1]
            np.add(a, b if scale == 1 else scale * b, out=out)
            if finish is not None:
                finish(out, *rest)

        return elementwise_into(add, main, shortcut.astype(main.dtype, copy=False), *beside_sum)

    def _misfit(self, shortcut: tuple[int, ...], out: tuple[int, ...]) -> str:
        """Return the message for a body whose output has another shape than what it is to be added to."""
        if self.shortcut is None:
            return f"body must keep its input's shape, got {shortcut} in and {out} out"
        return f"body and shortcut must have outputs of one shape, got {out} and {shortcut}"

    @staticmethod
    def _share(scale: float, dy: Array) -> Array:
        """Return the gradient at the output of the shortcut's layer, which is 0 where the shortcut is cut."""
        if scale == 1:
            return dy
        return elementwise(lambda dy: scale * dy, dy) if scale else np.zeros_like(dy)

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the body's output shape, which must be the shortcut's too."""
        shape = check_shape(in_shape)
        out_shape = child_output_shape("body", self.body, shape)
        beside = shape if self.shortcut is None else child_output_shape("shortcut", self.shortcut, shape)
        if out_shape != beside:
            raise ValueError(self._misfit(beside, out_shape))
        return out_shape

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        """Return the sum of the body's and the shortcut's."""
        self.output_shape(in_shape)
        return sum(layer.multiply_adds(in_shape) for _, layer in self.children())

    def state(self) -> dict[str, Any]:
        """Return the scale."""
        return {"scale": self.scale}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over the scale."""
        super().load_state(state)
        self.scale = state["scale"]

    def __repr__(self) -> str:
        options = "" if self.shortcut is None else f", shortcut={self.shortcut!r}"
        options += "" if self.in_forward else ", in_forward=False"
        options += "" if self.in_backward else ", in_backward=False"
        return f"Skip({self.body!r}, scale={self.scale:g}{options})"
