r"""Learning rates as pure functions of the epochs elapsed.

A schedule is any function from the epochs elapsed, :math:`e \ge 0`, to a learning rate. The epochs elapsed may be
fractional. A function of this module checks its arguments when it makes a schedule, and the schedule checks :math:`e`
at each call: a number out of its range raises ValueError, and anything that is no real number raises TypeError. Where
PyTorch has the same schedule, the values at :math:`e = 0, 1, 2, \dots` are its sequence.

>>> rate = inverse_time(3e-4, 0.001)
>>> rate(0), round(rate(20), 9)
(0.0003, 0.000294118)
"""

# This file is longer than 300 lines because of the docstrings of its eleven functions; its code has 100 lines.

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from allconv.typing import Schedule
from allconv.validation import check_choice, check_non_negative, check_positive, check_real, describe


def constant(rate: float) -> Schedule:
    """Return the schedule that has one rate at all times.

    Parameters
    ----------
    rate : float
        The learning rate, at least 0.

    Returns
    -------
    callable
        The function from the epochs elapsed to the learning rate.

    Raises
    ------
    TypeError, ValueError
        If an argument is no real number or out of its range, or, when the schedule is called, if the epochs are.

    Examples
    --------
    >>> constant(0.1)(7)
    0.1
    """
    rate = check_non_negative("rate", rate)

    def schedule(epochs: float) -> float:
        _elapsed(epochs)
        return rate

    return schedule


def inverse_time(rate: float, decay: float) -> Schedule:
    r"""Return the schedule :math:`\text{rate} / (1 + \text{decay} \cdot e)`.

    The schedule of the 2018 article is ``inverse_time(0.0003, 0.001)``, called with whole epochs.

    Parameters
    ----------
    rate : float
        The learning rate at the start, at least 0.
    decay : float
        The growth of the divisor per epoch, at least 0.

    Returns
    -------
    callable
        The function from the epochs elapsed to the learning rate.

    Raises
    ------
    TypeError, ValueError
        If an argument is no real number or out of its range, or, when the schedule is called, if the epochs are.

    Examples
    --------
    >>> inverse_time(0.1, 0.5)(2)
    0.05
    """
    rate, decay = check_non_negative("rate", rate), check_non_negative("decay", decay)
    return lambda epochs: rate / (1 + decay * _elapsed(epochs))


def step(rate: float, step_size: float, gamma: float) -> Schedule:
    r"""Return the schedule :math:`\text{rate} \cdot \gamma^{\lfloor e / \text{step size} \rfloor}`.

    Parameters
    ----------
    rate : float
        The learning rate at the start, at least 0.
    step_size : float
        The number of epochs between two changes of the rate, above 0.
    gamma : float
        The factor :math:`\gamma` of each change, above 0.

    Returns
    -------
    callable
        The function from the epochs elapsed to the learning rate.

    Raises
    ------
    TypeError, ValueError
        If an argument is no real number or out of its range, or, when the schedule is called, if the epochs are.

    Examples
    --------
    >>> rate = step(1.0, 10, 0.5)
    >>> rate(9), rate(10), rate(25)
    (1.0, 0.5, 0.25)
    """
    rate, gamma = check_non_negative("rate", rate), check_positive("gamma", gamma)
    step_size = check_positive("step_size", step_size)
    return lambda epochs: rate * gamma ** math.floor(_elapsed(epochs) / step_size)


def multistep(rate: float, milestones: Sequence[float], gamma: float) -> Schedule:
    r"""Return the schedule :math:`\text{rate} \cdot \gamma^n`, where n is the number of milestones reached.

    Parameters
    ----------
    rate : float
        The learning rate at the start, at least 0.
    milestones : sequence of float
        The epochs at which the rate changes, positive and in increasing order.
    gamma : float
        The factor :math:`\gamma` of each change, above 0.

    Returns
    -------
    callable
        The function from the epochs elapsed to the learning rate.

    Raises
    ------
    TypeError, ValueError
        If an argument is no real number or out of its range, or, when the schedule is called, if the epochs are.

    Examples
    --------
    >>> rate = multistep(1.0, [10, 15], 0.5)
    >>> rate(9), rate(10), rate(20)
    (1.0, 0.5, 0.25)
    """
    rate, gamma = check_non_negative("rate", rate), check_positive("gamma", gamma)
    milestones = _milestones(milestones)
    return lambda epochs: rate * gamma ** bisect_right(milestones, _elapsed(epochs))


def exponential(rate: float, gamma: float) -> Schedule:
    r"""Return the schedule :math:`\text{rate} \cdot \gamma^e`.

    Parameters
    ----------
    rate : float
        The learning rate at the start, at least 0.
    gamma : float
        The factor :math:`\gamma` per epoch, above 0.

    Returns
    -------
    callable
        The function from the epochs elapsed to the learning rate.

    Raises
    ------
    TypeError, ValueError
        If an argument is no real number or out of its range, or, when the schedule is called, if the epochs are.

    Examples
    --------
    >>> exponential(1.0, 0.5)(3)
    0.125
    """
    rate, gamma = check_non_negative("rate", rate), check_positive("gamma", gamma)
    return lambda epochs: rate * gamma ** _elapsed(epochs)


def linear(rate: float, start: float, end: float, epochs: float) -> Schedule:
    r"""Return the schedule that multiplies the rate by a factor on a straight line: a warm-up, for instance.

    .. math:: \text{rate} \cdot (\text{start} + (\text{end} - \text{start}) \min(e / \text{epochs}, 1))

    Parameters
    ----------
    rate : float
        The learning rate that the factor multiplies, at least 0.
    start : float
        The factor at the start, at least 0.
    end : float
        The factor after `epochs` epochs and from then on, at least 0.
    epochs : float
        The length of the line in epochs, above 0.

    Returns
    -------
    callable
        The function from the epochs elapsed to the learning rate.

    Raises
    ------
    TypeError, ValueError
        If an argument is no real number or out of its range, or, when the schedule is called, if the epochs are.

    Examples
    --------
    >>> rate = linear(1.0, 0.5, 1.0, 4)
    >>> rate(0), rate(2), rate(9)
    (0.5, 0.75, 1.0)
    """
    rate, start, end = (
        check_non_negative("rate", rate),
        check_non_negative("start", start),
        check_non_negative("end", end),
    )
    length = check_positive("epochs", epochs)
    return lambda epochs: rate * (start + (end - start) * min(_elapsed(epochs) / length, 1.0))


def polynomial(rate: float, epochs: float, power: float = 1.0) -> Schedule:
    r"""Return the schedule :math:`\text{rate} \cdot (1 - \min(e / \text{epochs}, 1))^\text{power}`.

    Parameters
    ----------
    rate : float
        The learning rate at the start, at least 0.
    epochs : float
        The length of the decay in epochs, above 0. After it the rate is 0.
    power : float, default 1.0
        The exponent, above 0.

    Returns
    -------
    callable
        The function from the epochs elapsed to the learning rate.

    Raises
    ------
    TypeError, ValueError
        If an argument is no real number or out of its range, or, when the schedule is called, if the epochs are.

    Examples
    --------
    >>> polynomial(1.0, 10, power=2.0)(5)
    0.25
    """
    rate, power = check_non_negative("rate", rate), check_positive("power", power)
    length = check_positive("epochs", epochs)
    return lambda epochs: rate * (1 - min(_elapsed(epochs) / length, 1.0)) ** power


def cosine(rate: float, epochs: float, final: float = 0.0) -> Schedule:
    r"""Return the schedule that goes along half a cosine wave from `rate` down to `final`, and stays there.

    .. math:: \text{final} + \tfrac12 (\text{rate} - \text{final}) (1 + \cos(\pi \min(e / \text{epochs}, 1)))

    Parameters
    ----------
    rate : float
        The learning rate at the start, at least 0.
    epochs : float
        The length of the half wave in epochs, above 0.
    final : float, default 0.0
        The rate at its end and from then on, at least 0.

    Returns
    -------
    callable
        The function from the epochs elapsed to the learning rate.

    Raises
    ------
    TypeError, ValueError
        If an argument is no real number or out of its range, or, when the schedule is called, if the epochs are.

    Notes
    -----
    Loshchilov and Hutter (2017), SGDR: stochastic gradient descent with warm restarts, equation 5. PyTorch's
    ``CosineAnnealingLR`` climbs back after the end.

    Examples
    --------
    >>> rate = cosine(1.0, 10)
    >>> rate(0), rate(5), rate(20)
    (1.0, 0.5, 0.0)
    """
    rate, final = check_non_negative("rate", rate), check_non_negative("final", final)
    length = check_positive("epochs", epochs)
    return lambda epochs: _between(rate, final, min(_elapsed(epochs) / length, 1.0))


def cosine_restarts(rate: float, first: float, factor: float = 1, final: float = 0.0) -> Schedule:
    """Return the schedule of half cosine waves one after the other, each from `rate` down to `final`.

    Parameters
    ----------
    rate : float
        The learning rate at the start of each wave, at least 0.
    first : float
        The length of the first wave in epochs, above 0.
    factor : float, default 1
        The length of each wave divided by the length of the wave before it, at least 1.
    final : float, default 0.0
        The rate at the end of each wave, at least 0.

    Returns
    -------
    callable
        The function from the epochs elapsed to the learning rate.

    Raises
    ------
    TypeError, ValueError
        If an argument is no real number or out of its range, or, when the schedule is called, if the epochs are.

    Notes
    -----
    Loshchilov and Hutter (2017), SGDR: stochastic gradient descent with warm restarts, section 3.

    Examples
    --------
    >>> rate = cosine_restarts(1.0, 10, factor=2)
    >>> rate(5), rate(10), rate(20)
    (0.5, 1.0, 0.5)
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
    r"""Return the schedule of one rise to `peak` and one long fall to far below the start, where the rate stays.

    Parameters
    ----------
    peak : float
        The highest learning rate, at least 0.
    epochs : float
        The length of rise and fall together in epochs, above 0.
    rise : float, default 0.3
        The share of `epochs` after which the rate reaches its peak, in (0, 1).
    start_divisor : float, default 25.0
        The positive divisor that sets the rate at the start, ``peak / start_divisor``.
    final_divisor : float, default 1e4
        The positive divisor that sets the rate at the end, ``peak / start_divisor / final_divisor``.
    shape : {"cosine", "linear"}, default "cosine"
        The curve of rise and fall: half a cosine wave each, or a straight line each.

    Returns
    -------
    callable
        The function from the epochs elapsed to the learning rate.

    Raises
    ------
    TypeError, ValueError
        If an argument is no real number or out of its range, or, when the schedule is called, if the epochs are.

    Notes
    -----
    Smith and Topin (2018), Super-convergence: very fast training of neural networks using large learning rates.
    PyTorch's ``OneCycleLR`` counts steps 0 to T - 1 and ends at the last one; ``one_cycle(peak, T - 1,
    rise=(p T - 1) / (T - 1))`` is its sequence for ``pct_start=p``.

    Examples
    --------
    >>> rate = one_cycle(1.0, 10, shape="linear")
    >>> [round(rate(e), 3) for e in (0, 3, 6.5, 10)]
    [0.04, 1.0, 0.5, 0.0]
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
    """Return the schedule that runs several schedules one after the other.

    At each milestone the next schedule takes over, and counts its own epochs from 0.

    Parameters
    ----------
    schedules : sequence of callables
        The schedules in their order, at least one.
    milestones : sequence of float
        The epochs at which the next schedule starts, positive and in increasing order. Their number is one less than
        the number of schedules.

    Returns
    -------
    callable
        The function from the epochs elapsed to the learning rate.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of that kind, or, when the schedule is called, if the epochs are not.

    Examples
    --------
    Five epochs of warm-up come before a cosine of 85 epochs:

    >>> rate = chain([linear(0.1, 0.2, 1.0, 5), cosine(0.1, 85)], [5])
    >>> [round(rate(e), 3) for e in (0, 4, 5, 47.5, 90)]
    [0.02, 0.084, 0.1, 0.05, 0.0]
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
    """Return the epochs elapsed, which must be a finite number of at least 0."""
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
