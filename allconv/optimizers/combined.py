"""Several optimizers that step together."""

from collections.abc import Sequence
from typing import NoReturn

from allconv.optimizers.base import Optimizer
from allconv.optimizers.checking import check_parameters, check_paths
from allconv.validation import describe, members_of

_NO_WEIGHT_DECAY = "weight_decay must be read and assigned in the optimizers that are combined"


class Combined(Optimizer):
    """Several optimizers, each with parameters of its own, that step as one.

    Its learning rate starts at 1. An assignment multiplies the rates of all optimizers by the same factor, so a
    schedule with the peak 1 serves all of them.

    Parameters
    ----------
    optimizers : sequence of Optimizer
        The optimizers, at least one, new and with no parameter in common. They belong to this one from now on: their
        settings can be read and assigned, and they take no step by themselves.

    Raises
    ------
    TypeError, ValueError
        If there is no optimizer, or one of them has taken a step or belongs to another, or two have the same parameter
        or the same name for one.

    Examples
    --------
    >>> from allconv.optimizers.muon import Muon
    >>> from allconv.optimizers.sgd import SGD
    >>> from allconv.parameter import Parameter
    >>> weight, bias = Parameter(np.eye(3)), Parameter(np.zeros(3))
    >>> optimizer = Combined([Muon([weight], learning_rate=0.02), SGD([bias], learning_rate=0.1)])
    >>> optimizer.learning_rate = 0.5
    >>> [group.learning_rate for group in optimizer.groups]
    [0.01, 0.05]
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        parts = _check_optimizers(optimizers)
        parameters = check_parameters([parameter for part in parts for parameter in part.parameters])
        self._paths = check_paths(parameters)
        self._own_parameters(parameters, first=0)
        self.step_count = 0
        first = 0
        for part in parts:
            part._whole, part._own, part._rate_factor = self, {}, part.learning_rate
            del part.step_count  # From now on the part reads it from the whole.
            for group in part.groups:
                group._numbers = range(first, first + len(group.parameters))
                first += len(group.parameters)
        self._inner = parts
        self.learning_rate = 1.0

    @property
    def weight_decay(self) -> NoReturn:
        """None of its own: each of the optimizers has one."""
        raise AttributeError(_NO_WEIGHT_DECAY)

    @weight_decay.setter
    def weight_decay(self, _: object) -> NoReturn:
        raise AttributeError(_NO_WEIGHT_DECAY)

    def start_epoch(self, epoch: int) -> None:
        """Prepare all optimizers for an epoch."""
        for part in self._inner:
            part.start_epoch(epoch)


def _check_optimizers(value: object) -> list[Optimizer]:
    rule = "optimizers must be a non-empty sequence of new Optimizers"
    parts = members_of(value)
    if parts is None or not all(isinstance(part, Optimizer) for part in parts):
        raise TypeError(f"{rule}, got {describe(value)}")
    for part in parts:
        if part._whole is not None or part.step_count > 0:
            raise ValueError(f"{rule}, got {part!r}, which has taken a step or belongs to another")
    if not parts:
        raise ValueError(f"{rule}, got {describe(value)}")
    return parts
