r"""Learning rates as pure functions of the epochs elapsed.

A schedule is any function from the epochs elapsed, :math:`e \ge 0`, fractions included, to a learning rate. Those
of this module check their arguments when they are made, and :math:`e` when they are called. Where PyTorch has the same
schedule, the values at :math:`e = 0, 1, 2, \dots` are its sequence.

>>> rate = inverse_time(3e-4, 0.001)
>>> rate(0), round(rate(20), 9)
(0.0003, 0.000294118)
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

from allconv.validation import check_non_negative, check_positive, describe

Schedule = Callable[[float], float]


def constant(rate: float) -> Schedule:
    """Return the schedule that is `rate` at all times."""
    rate = check_non_negative("rate", rate)

    def schedule(epochs: float) -> float:
        _elapsed(epochs)
        return rate

    return schedule


def inverse_time(rate: float, decay: float) -> Schedule:
    r"""Return :math:`\text{rate} / (1 + \text{decay} \cdot e)`.

    The article's is ``inverse_time(0.0003, 0.001)``, called with whole epochs.
    """
    rate, decay = check_non_negative("rate", rate), check_non_negative("decay", decay)
    return lambda epochs: rate / (1 + decay * _elapsed(epochs))


def step(rate: float, step_size: float, gamma: float) -> Schedule:
    r"""Return :math:`\text{rate} \cdot \gamma^{\lfloor e / \text{step size} \rfloor}`: `gamma` times every so often."""
    rate, gamma = check_non_negative("rate", rate), check_positive("gamma", gamma)
    step_size = check_positive("step_size", step_size)
    return lambda epochs: rate * gamma ** math.floor(_elapsed(epochs) / step_size)


def multistep(rate: float, milestones: Sequence[float], gamma: float) -> Schedule:
    r"""Return :math:`\text{rate} \cdot \gamma^n`, n the number of `milestones` that are at most :math:`e`.

    `milestones` are positive, in increasing order.
    """
    rate, gamma = check_non_negative("rate", rate), check_positive("gamma", gamma)
    milestones = _milestones(milestones)
    return lambda epochs: rate * gamma ** bisect_right(milestones, _elapsed(epochs))


def _elapsed(epochs: float) -> float:
    """Return the argument of a schedule, checked."""
    return check_non_negative("epochs", epochs)


def _milestones(milestones: object) -> list[float]:
    """Return positive numbers in increasing order as a list."""
    rule = "milestones must be a sequence of positive numbers in increasing order"
    if not isinstance(milestones, Sequence) or isinstance(milestones, str):
        raise TypeError(f"{rule}, got {describe(milestones)}")
    listed = [check_positive(f"milestones[{index}]", item) for index, item in enumerate(milestones)]
    if any(later <= earlier for earlier, later in pairwise(listed)):
        raise ValueError(f"{rule}, got {describe(milestones)}")
    return listed
