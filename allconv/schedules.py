r"""Learning rates as pure functions of the epochs elapsed.

A schedule is any function from the epochs elapsed, :math:`e \ge 0`, fractions included, to a learning rate. Those
of this module check their arguments when they are made, and :math:`e` when they are called. Where PyTorch has the same
schedule, the values at :math:`e = 0, 1, 2, \dots` are its sequence.

Rates, decays and the factors of `linear` are at least 0; gammas, powers, lengths in epochs and divisors are above 0. An
argument out of range raises ValueError, one that is no real number TypeError.

>>> rate = inverse_time(3e-4, 0.001)
>>> rate(0), round(rate(20), 9)
(0.0003, 0.000294118)
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from allconv.typing import Schedule
from allconv.validation import check_choice, check_non_negative, check_positive, check_real, describe


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


def exponential(rate: float, gamma: float) -> Schedule:
    r"""Return :math:`\text{rate} \cdot \gamma^e`."""
    rate, gamma = check_non_negative("rate", rate), check_positive("gamma", gamma)
    return lambda epochs: rate * gamma ** _elapsed(epochs)


def linear(rate: float, start: float, end: float, epochs: float) -> Schedule:
    r"""Return `rate` times a factor that goes in a straight line from `start` to `end` and stays there: a warm-up.

    .. math:: \text{rate} \cdot (\text{start} + (\text{end} - \text{start}) \min(e / \text{epochs}, 1))
    """
    rate, start, end = (
        check_non_negative("rate", rate),
        check_non_negative("start", start),
        check_non_negative("end", end),
    )
    length = check_positive("epochs", epochs)
    return lambda epochs: rate * (start + (end - start) * min(_elapsed(epochs) / length, 1.0))


def polynomial(rate: float, epochs: float, power: float = 1.0) -> Schedule:
    r"""Return :math:`\text{rate} \cdot (1 - \min(e / \text{epochs}, 1))^\text{power}`."""
    rate, power = check_non_negative("rate", rate), check_positive("power", power)
    length = check_positive("epochs", epochs)
    return lambda epochs: rate * (1 - min(_elapsed(epochs) / length, 1.0)) ** power


def cosine(rate: float, epochs: float, final: float = 0.0) -> Schedule:
    r"""Return half a cosine wave from `rate` down to `final`, where it stays.

    .. math:: \text{final} + \tfrac12 (\text{rate} - \text{final}) (1 + \cos(\pi \min(e / \text{epochs}, 1)))

    Loshchilov and Hutter (2017), SGDR: stochastic gradient descent with warm restarts, equation 5. (PyTorch's climbs
    back after the end.)
    """
    rate, final = check_non_negative("rate", rate), check_non_negative("final", final)
    length = check_positive("epochs", epochs)
    return lambda epochs: _between(rate, final, min(_elapsed(epochs) / length, 1.0))


def cosine_restarts(rate: float, first: float, factor: float = 1, final: float = 0.0) -> Schedule:
    """Return cosine waves one after the other: the first takes `first` epochs, each next one `factor` times as many.

    Each starts at `rate` and goes down to `final`. `factor` is at least 1. Loshchilov and Hutter (2017), as `cosine`.
    """
    rate, final = check_non_negative("rate", rate), check_non_negative("final", final)
    first, factor = check_positive("first", first), check_real("factor", factor, minimum=1.0)

    def schedule(epochs: float) -> float:
        rest, length = _elapsed(epochs), first
        if factor == 1:
            rest = math.fmod(rest, length)
        while rest >= length:
            rest, length = rest - length, length * factor
        return _between(rate, final, rest / length)

    return schedule


def one_cycle(
    peak: float,
    epochs: float,
    *,
    rise: float = 0.3,
    start_divisor: float = 25.0,
    final_divisor: float = 1e4,
    shape: str = "cosine",
) -> Schedule:
    r"""Return one rise to `peak` and one long fall, to far below the start; it stays there.

    Parameters
    ----------
    peak : float
        The highest rate, at least 0.
    epochs : float
        The length of the whole, positive.
    rise : float, default 0.3
        The part of it, in (0, 1), at whose end the peak is reached.
    start_divisor : float, default 25.0
        Positive; the rate starts at ``peak / start_divisor``.
    final_divisor : float, default 1e4
        Positive; it ends at ``peak / start_divisor / final_divisor``.
    shape : {"cosine", "linear"}, default "cosine"
        How it goes from one to the other.

    Notes
    -----
    Smith and Topin (2018), Super-convergence: very fast training of neural networks using large learning rates.
    PyTorch's ``OneCycleLR`` counts steps 0 to T - 1 and ends at the last one; ``one_cycle(peak, T - 1,
    rise=(p T - 1) / (T - 1))`` is its sequence for ``pct_start=p``.
    """
    peak, length = check_non_negative("peak", peak), check_positive("epochs", epochs)
    top = length * check_real("rise", rise, minimum=0.0, maximum=1.0, open_below=True, open_above=True)
    start = peak / check_positive("start_divisor", start_divisor)
    final = start / check_positive("final_divisor", final_divisor)
    between = _between if check_choice("shape", shape, ("cosine", "linear")) == "cosine" else _straight

    def schedule(epochs: float) -> float:
        elapsed = _elapsed(epochs)
        if elapsed <= top:
            return between(start, peak, elapsed / top)
        return between(peak, final, min((elapsed - top) / (length - top), 1.0))

    return schedule


def chain(schedules: Sequence[Schedule], milestones: Sequence[float]) -> Schedule:
    """Return several schedules one after the other: the next takes over at each milestone, from its own beginning.

    Five epochs of warm-up, then a cosine of 85:

    >>> rate = chain([linear(0.1, 0.2, 1.0, 5), cosine(0.1, 85)], [5])
    >>> [round(rate(e), 3) for e in (0, 4, 5, 47.5, 90)]
    [0.02, 0.084, 0.1, 0.05, 0.0]

    Parameters
    ----------
    schedules : sequence of callables
        At least one.
    milestones : sequence of float
        Positive, in increasing order; one fewer than schedules.
    """
    rule = "schedules must be a non-empty sequence of functions of the epochs elapsed"
    if not isinstance(schedules, Sequence) or not all(callable(schedule) for schedule in schedules):
        raise TypeError(f"{rule}, got {describe(schedules)}")
    if not schedules:
        raise ValueError(f"{rule}, got {describe(schedules)}")
    chained, starts = list(schedules), [0.0, *_milestones(milestones)]
    if len(starts) != len(chained):
        raise ValueError(f"milestones must be one fewer than the {len(chained)} schedules, got {describe(milestones)}")

    def schedule(epochs: float) -> float:
        elapsed = _elapsed(epochs)
        current = bisect_right(starts, elapsed) - 1
        return chained[current](elapsed - starts[current])

    return schedule


def _between(start: float, end: float, part: float) -> float:
    """Return the value at `part`, in [0, 1], of half a cosine wave from `start` to `end`."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _straight(start: float, end: float, part: float) -> float:
    """Return the value at `part`, in [0, 1], of a straight line from `start` to `end`."""
    return start + (end - start) * part


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
