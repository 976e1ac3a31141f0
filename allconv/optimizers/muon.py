"""Muon: momentum whose steps are made orthogonal."""

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from allconv.optimizers.base import Optimizer
from allconv.optimizers.checking import path_of
from allconv.optimizers.groups import Groups
from allconv.optimizers.hyperparameter import Hyperparameter
from allconv.optimizers.orthogonalize import QUINTIC, Coefficients, newton_schulz, polar_factor
from allconv.optimizers.pieces import Piece
from allconv.parallel.pool import run
from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import check_bool, check_choice, check_fraction, check_int, check_real, describe

_MOST_ITERATIONS = 100  # Each takes three products of matrices, and 5 are usual.


def _check_coefficients(name: str, value: Any) -> Coefficients:
    rule = f"{name} must be three finite numbers, got {describe(value)}"
    if not isinstance(value, tuple | list):
        raise TypeError(rule)
    if len(value) != 3:
        raise ValueError(rule)
    a, b, c = (check_real(f"{name}[{index}]", number) for index, number in enumerate(value))
    return a, b, c


def _check_scaling(name: str, value: object) -> str:
    return check_choice(name, value, ("shape", "rms", "none"))


class Muon(Optimizer):
    r"""Muon (momentum, orthogonalized): step by the nearest matrix with orthonormal rows or columns.

    .. math::

        u_t = \mu u_{t-1} + g_t, \qquad w_t = (1 - \eta \lambda) w_{t-1} - \eta \, s \operatorname{orth}(g_t + \mu u_t)

    orth replaces all singular values of a matrix by about 1, so that a step moves all directions by the same amount. A
    weight counts as a matrix with its last axis as columns, which are the outputs, or a ConvTranspose2D's inputs. Muon
    is for the weights of hidden convolutions and linear layers. `Combined` adds another optimizer for biases and the
    last layer.

    Parameters
    ----------
    parameters : iterable of Parameter, or list of dict
        The parameters to update, at least one, or groups of them; see `Optimizer`. Each has at least two axes.
    learning_rate : float, default 1e-3
        The learning rate :math:`\eta`, at least 0.
    momentum : float, default 0.95
        The momentum :math:`\mu`, in [0, 1).
    nesterov : bool, default True
        Whether a step looks one step of the velocity ahead. False orthogonalizes :math:`u_t` itself.
    weight_decay : float, default 0.1
        The factor :math:`\lambda` of the decoupled weight decay, at least 0, for every parameter with ``decay=True``.
    exact : bool, default False
        Whether orth is :math:`U V^T` of the singular value decomposition :math:`U \Sigma V^T`, which takes many times
        as long. By default a Newton-Schulz iteration comes near to it.
    iterations : int, default 5
        The number of Newton-Schulz iterations, from 1 to 100.
    coefficients : three floats, default (3.4445, -4.7750, 2.0315)
        The numbers a, b, c of an iteration, which maps a singular value x to :math:`a x + b x^3 + c x^5`.
    scaling : {"shape", "rms", "none"}, default "shape"
        The factor s of a matrix (rows, columns). "shape" has :math:`\sqrt{\max(1, \text{columns} / \text{rows})}`,
        "rms" has :math:`0.2 \sqrt{\max(\text{rows}, \text{columns})}`, with which the rates of `AdamW` suit, and "none"
        has 1.
    normalize_weights : bool, default False
        Whether each step first scales the matrix to the norm :math:`\sqrt{\text{columns}}`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the parameters are not distinct or have fewer than two axes; from
        `step`, as `Optimizer` says.
    FloatingPointError
        From `step` with ``exact=True``, if a gradient is not finite; the message names the parameter, and nothing is
        changed.

    Notes
    -----
    Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks,
    https://kellerjordan.github.io/posts/muon. Defaults and scalings are those of PyTorch's ``Muon``, where "shape" is
    named "original", and "rms" "match_rms_adamw". PyTorch iterates in bfloat16, which changes a step by about 1 %. Its
    velocity is :math:`(1 - \mu) u_t`, which has the same orthogonal factor.

    Examples
    --------
    >>> p = Parameter(np.zeros((2, 2))); p.add_grad(np.diag([100.0, 0.01]))
    >>> Muon([p], learning_rate=0.1, exact=True).step()
    >>> p.value
    array([[-0.1,  0. ],
           [ 0. , -0.1]])
    """

    momentum = Hyperparameter(check_fraction)
    nesterov = Hyperparameter(check_bool)
    exact = Hyperparameter(check_bool)
    iterations = Hyperparameter(partial(check_int, maximum=_MOST_ITERATIONS))
    coefficients = Hyperparameter(_check_coefficients)
    scaling = Hyperparameter(_check_scaling)
    normalize_weights = Hyperparameter(check_bool)

    def __init__(
        self,
        parameters: Iterable[Parameter] | Groups,
        learning_rate: float = 1e-3,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.1,
        exact: bool = False,
        iterations: int = 5,
        coefficients: Coefficients = QUINTIC,
        scaling: str = "shape",
        normalize_weights: bool = False,
    ) -> None:
        super().__init__(parameters, learning_rate, weight_decay=weight_decay)
        for parameter in self.parameters:
            if parameter.value.ndim < 2:
                raise ValueError(f"parameters must have at least two axes to be orthogonalized, got {parameter!r}")
        self.momentum = momentum
        self.nesterov = nesterov
        self.exact = exact
        self.iterations = iterations
        self.coefficients = coefficients
        self.scaling = scaling
        self.normalize_weights = normalize_weights
        self.add_slot("velocity")

    def _is_elementwise(self) -> bool:
        return False

    def _pieces(self) -> list[Piece]:
        """Return what a step updates; the exact factor of a gradient that is not finite does not exist."""
        pieces = super()._pieces()
        numbers = [number for number, parameter in enumerate(self.parameters) if parameter.trainable]
        for number, piece in zip(numbers, pieces, strict=True):
            if self.exact and not np.isfinite(piece.g).all():
                path = path_of(self.parameters[number], self._numbers[number])
                raise FloatingPointError(f"gradients must be finite with exact=True, got NaN or infinity for {path}")
        return pieces

    def _apply(self, pieces: list[Piece]) -> None:
        """Update each matrix as a whole; the threads share the matrices."""
        columns = [parameter.value.shape[-1] for parameter in self.parameters if parameter.trainable]
        run(lambda index: self._move(pieces[index], columns[index]), len(pieces))

    def _move(self, piece: Piece, columns: int) -> None:
        """Change the weights and the velocity of one matrix in place."""
        w, g, velocity = piece.w, piece.g, piece.slots["velocity"]
        velocity *= self.momentum
        velocity += g
        u = g + self.momentum * velocity if self.nesterov else velocity
        direction = self._orthogonal(u.reshape(-1, columns))
        if self.normalize_weights and w.any():
            _set_norm(w, math.sqrt(columns))
        if piece.decay:
            w *= 1 - self.learning_rate * self.weight_decay
        w -= (self.learning_rate * self._scale(*direction.shape)) * direction.reshape(-1)

    def _orthogonal(self, matrix: Array) -> Array:
        return polar_factor(matrix) if self.exact else newton_schulz(matrix, self.iterations, self.coefficients)

    def _scale(self, rows: int, columns: int) -> float:
        """Return the factor s of a matrix."""
        return {
            "shape": math.sqrt(max(1.0, columns / rows)),
            "rms": 0.2 * math.sqrt(max(rows, columns)),
            "none": 1.0,
        }[self.scaling]


def _set_norm(w: Array, norm: float) -> None:
    """Scale weights that are not all 0 to a Euclidean norm, in place."""
    square = np.square(w).sum()
    if not np.finfo(w.dtype).tiny <= square < math.inf:
        w /= np.abs(w).max()  # The squares of the quotients neither overflow nor vanish.
        square = np.square(w).sum()
    w *= norm / np.sqrt(square)
