"""Dropout."""

from typing import Any

import numpy as np

from allconv.functional.masking import masked
from allconv.layers.base import Layer
from allconv.parallel.pool import elementwise_into
from allconv.parallel.process_group import place_in_batch
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_bool, check_generator, check_gradient_shape, check_real, describe

# The masks come from float32 numbers, which are multiples of 2^-24. At a higher rate, their rounding would change the
# share of the inputs that stay, and float16 could not hold the scale.
_LARGEST_RATE = 0.9999


class Dropout(Layer):
    r"""Dropout: in training, set each input to zero with probability `rate`, and scale the others up.

    .. math:: y = \frac{m\, x}{1 - \text{rate}}, \qquad m \sim \text{Bernoulli}(1 - \text{rate})

    The scale keeps the expected value ("inverted" dropout), so inference is the identity.

    Parameters
    ----------
    rate : float
        The probability of a zero, in [0, 0.9999].
    rng : numpy.random.Generator, optional
        The generator from which the layer spawns a child, and the child draws the masks. The default is a new, unseeded
        one. The child's state is part of the layer's `state`, so that a training run resumes with the same masks.

    Raises
    ------
    TypeError, ValueError
        If `rate` is out of its range; from `forward`, if x is not floating or holds no example; from `backward`,
        if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``. Srivastava et al. (2014), Dropout: a simple
    way to prevent neural networks from overfitting, section 4, with the scale in training.

    Examples
    --------
    >>> layer = Dropout(0.5, rng=np.random.default_rng(0))
    >>> y, cache = layer.forward(np.ones((1, 6)), training=True)
    >>> set(y.ravel().tolist()) <= {0.0, 2.0}, layer(np.ones((1, 3)))
    (True, array([[1., 1., 1.]]))
    """

    def __init__(self, rate: float, *, rng: np.random.Generator | None = None) -> None:
        self.rate = check_real("rate", rate, minimum=0.0, maximum=_LARGEST_RATE)
        self.rng = _child(check_generator("rng", rng))

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:
        """Return y for x of shape ``(N, ...)``; in training this draws a mask, which advances the generator."""
        x = check_batch("x", x)
        if not check_bool("training", training):
            return x, (None, x.shape, x.dtype)
        # One thread draws the numbers of the whole batch, so that the mask does not depend on the number of threads or
        # of processes. Where processes share the batch, `own` selects the rows of this one; else it selects all rows.
        own, total = place_in_batch(len(x))
        mask = self.rng.random((total, *x.shape[1:]), dtype=np.float32)[own] >= self.rate
        return self._masked(x, mask), (mask, x.shape, x.dtype)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx = m dL/dy / (1 - rate), with forward's mask; dL/dy itself at inference."""
        mask, shape, dtype = cache
        dy = check_gradient_shape(dy, shape, dtype)
        return dy if mask is None else self._masked(dy, mask)

    def _masked(self, x: Array, mask: Array) -> Array:
        scale = 1 / (1 - self.rate)

        def scale_what_stays(x: Array, mask: Array, out: Array) -> None:
            masked(x, mask, out=out)
            out *= scale

        return elementwise_into(scale_what_stays, x, mask)

    def state(self) -> dict[str, Any]:
        """Return the generator's state."""
        return {"generator": _plain(self.rng.bit_generator.state)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over a generator's state; the state of another kind of generator raises and changes nothing."""
        super().load_state(state)
        kind = type(self.rng.bit_generator)
        fresh = kind()
        try:
            fresh.state = state["generator"]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"generator must be the state of a {kind.__name__} generator, got {describe(state['generator'])}"
            ) from error
        self.rng.bit_generator.state = fresh.state

    def __repr__(self) -> str:
        return f"Dropout({self.rate!r})"


def _child(rng: np.random.Generator) -> np.random.Generator:
    """Return a generator of the layer's own, whose numbers are independent of those of `rng`."""
    try:
        return rng.spawn(1)[0]
    except TypeError:  # A bit generator that was not seeded through a SeedSequence, such as RandomState's.
        raise TypeError(
            f"rng must be a Generator that can spawn another, such as np.random.default_rng(seed), got {describe(rng)}"
        ) from None


def _plain(value: Any) -> Any:
    """Return a generator's state with lists in place of the arrays that some kinds of generators keep in it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value
