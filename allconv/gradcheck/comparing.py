"""What a backward rule does to the gradients, layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from allconv.gradcheck.point import cosine_and_ratio, norm
from allconv.layers.base import Layer
from allconv.layers.snapshot import clear_gradients, unchanged
from allconv.rules import Pattern, Rule, match, override_backward, rule_name
from allconv.tables import align
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_bool, check_instance, check_int


@dataclass(frozen=True)
class Gradient:
    """One gradient under backward rules, compared with the true one.

    Attributes
    ----------
    path, layer : str
        The layer's path in the model, and its class.
    rule : str
        The name of the layer's rule; "" for a layer that follows its own derivative.
    what : str
        "input" for dL/dx, or the name of the parameter.
    cosine : float
        The cosine of the angle between the two gradients, over all elements: 1 for the same direction. NaN where one of
        them is 0, or where the backward pass under the rules did not reach the layer.
    ratio : float
        The norm of the gradient under the rules, divided by the norm of the true one.
    same : bool
        Whether the two are equal up to rounding.
    """

    path: str
    layer: str
    rule: str
    what: str
    cosine: float
    ratio: float
    same: bool


@dataclass(frozen=True)
class Comparison:
    """The gradients of all layers in the order of the backward pass; ``str(comparison)`` is the table.

    Attributes
    ----------
    title : str
        What was compared, at which shape and with which seed.
    rows : tuple of Gradient
        One for the input of each layer, and one for each parameter.
    """

    title: str
    rows: tuple[Gradient, ...]

    @property
    def start(self) -> str | None:
        """The path of the first layer, from the output, whose gradient is not the true one; None if there is none."""
        return next((row.path for row in self.rows if not row.same), None)

    def __str__(self) -> str:
        cells: list[tuple[str, ...]] = [("layer", "rule", "gradient of", "cosine", "|rule| / |true|", "")]
        first = next((row for row in self.rows if not row.same), None)
        for row in self.rows:
            mark = "" if row.same else "<- departs here" if row is first else "differs"
            values = (f"{value:.4f}".rjust(7) for value in (row.cosine, row.ratio))
            cells.append((f"{row.path} {row.layer}".strip(), row.rule, row.what, *values, mark))
        where = (
            "no gradient departs" if first is None else f"the departure starts at {first.path} {first.layer}".rstrip()
        )
        return "\n".join([f"{self.title}: {where}", *align(cells, longest_rule=120)])


def compare(
    model: Layer, x: Array, rules: Mapping[Pattern, Rule], *, seed: int = 0, training: bool = False
) -> Comparison:
    """Compare the gradients under backward rules with the true ones, at each layer's input and each parameter.

    There is one forward pass, and two backward passes from the same random gradient at the output. In the first, each
    layer follows the backward pass of its class; in the second, `rules`. The model is afterwards what it was.

    Parameters
    ----------
    model : Layer
        A layer in any dtype.
    x : array, shape (N, ...)
        The batch.
    rules : mapping
        Rules by Layer classes or paths, as for `allconv.rules.override_backward`.
    seed : int, default 0
        The seed of the gradient at the output.
    training : bool, default False
        The mode of the forward pass.

    Returns
    -------
    Comparison
        Prints as a table.

    Raises
    ------
    TypeError, ValueError
        If `rules` is not a mapping of patterns to rules, or a pattern matches no layer.

    Examples
    --------
    >>> from allconv.layers.elu import ELU
    >>> from allconv.rules import scaled
    >>> compare(ELU(), np.ones((2, 3)), {ELU: scaled(0.5)}).rows[0].ratio
    0.5
    """
    check_instance("model", model, Layer)
    chosen = match(model, rules)
    x = check_batch("x", x)
    rng = np.random.default_rng(check_int("seed", seed, minimum=0))
    check_bool("training", training)
    with unchanged(model):
        y, cache = model.forward(x, training=training)
        dy = rng.standard_normal(y.shape).astype(y.dtype)
        true = _gradients(model, dy, cache, {})
        ruled = _gradients(model, dy, cache, chosen)
    layers = dict(model.named_layers())
    rows = []
    for path, what, visit in true:
        name = rule_name(chosen[path]) if path in chosen else ""
        pair = true[path, what, visit], ruled.get((path, what, visit))
        rows.append(Gradient(path, type(layers[path]).__name__, name, what, *_agreement(*pair)))
    patterns = ", ".join(f"{p if isinstance(p, str) else p.__name__}: {rule_name(r)}" for p, r in rules.items())
    return Comparison(f"{type(model).__name__} under {{{patterns}}} at x {x.shape}, seed {seed}", tuple(rows))


def _gradients(model: Layer, dy: Array, cache: Cache, chosen: Mapping[str, Rule]) -> dict[tuple[str, str, int], Array]:
    """Return the gradients of one backward pass under the key (path, what, visit), in the order in which they appear.

    A layer that the model uses twice has two visits; its parameters have the sum of both.
    """
    inputs: dict[tuple[str, str, int], Array] = {}

    def recorded(path: str, rule: Rule | None) -> Rule:
        def record(layer: Layer, dy: Array, cache: Cache) -> Array:
            dx = layer.backward(dy, cache) if rule is None else rule(layer, dy, cache)
            inputs[path, "input", sum(key[0] == path for key in inputs)] = dx.copy()
            return dx

        return record

    clear_gradients(model)
    with override_backward(model, {path: recorded(path, chosen.get(path)) for path, _ in model.named_layers()}):
        model.backward(dy, cache)
    found: dict[tuple[str, str, int], Array] = {}
    layers = dict(model.named_layers())
    for key, dx in inputs.items():
        own = {name: p for name, p in layers[key[0]].named_parameters() if "." not in name}
        found |= {(key[0], name, 0): p.grad for name, p in own.items() if p.grad is not None}
        found[key] = dx
    return found


def _agreement(true: Array, ruled: Array | None) -> tuple[float, float, bool]:
    """Return the cosine, the ratio of the norms, and whether the two are equal up to rounding."""
    if ruled is None or ruled.shape != true.shape:
        return float("nan"), float("nan"), False
    same = norm(ruled - true) <= 1e3 * float(np.finfo(true.dtype).eps) * norm(true)
    return *cosine_and_ratio(true, ruled), same
