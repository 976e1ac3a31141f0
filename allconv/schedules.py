r"""Learning rates as pure functions of the epochs elapsed.

A schedule is any function from the epochs elapsed, :math:`e \ge 0`, to a learning rate. The epochs elapsed may be
fractional. A function of this module checks its arguments when it makes a schedule, and the schedule checks :math:`e`
at each call: a number out of its range raises ValueError, and anything that is no real number raises TypeError. A rate
too large for a float raises ValueError. Where PyTorch has the same schedule, the values at :math:`e = 0, 1, 2, \dots`
are its sequence.

The epochs elapsed are sums of fractions such as 0.1, which floats round. So a schedule that changes at a point counts
the point as reached from a 1e-10th of its own size before it: the third step of 0.1 epochs is reached at 0.3.

>>> rate = inverse_time(3e-4, 0.001)
>>> rate(0), round(rate(20), 9)
(0.0003, 0.000294118)
"""

# This file is longer than 300 lines because each of its eleven schedules has a formula and an example.

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from allconv.typing import Schedule
from allconv.validation import (
    check_callable,
    check_choice,
    check_non_negative,
    check_positive,
    check_real,
    describe,
    items_of,
    members_of,
)

# The share of its own size by which a boundary counts as reached early. Rounding makes a few 1e-16 of it; a step of
# training is longer than 1e-10 of all epochs.
_EARLY = 1e-10


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
    return lambda epochs: _scaled(rate, gamma, _whole(_elapsed(epochs), step_size))


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
    return lambda epochs: _scaled(rate, gamma, _reached(milestones, _elapsed(epochs)))


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
    return lambda epochs: _scaled(rate, gamma, _elapsed(epochs))


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
    rate, start = check_non_negative("rate", rate), check_non_negative("start", start)
    end, length = check_non_negative("end", end), check_positive("epochs", epochs)
    return lambda epochs: _finite(rate * _straight(start, end, _share(_elapsed(epochs), length)))


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
    return lambda epochs: rate * (1 - _share(_elapsed(epochs), length)) ** power


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
    return lambda epochs: _between(rate, final, _share(_elapsed(epochs), length))


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

    return lambda epochs: _between(rate, final, _part_of_wave(_elapsed(epochs), first, factor))


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
    start = check_non_negative("peak / start_divisor", peak / check_positive("start_divisor", start_divisor))
    final = start / check_positive("final_divisor", final_divisor)
    final = check_non_negative("peak / start_divisor / final_divisor", final)
    between = _between if check_choice("shape", shape, ("cosine", "linear")) == "cosine" else _straight

    def schedule(epochs: float) -> float:
        elapsed = _elapsed(epochs)
        if elapsed < top:
            return between(start, peak, _share(elapsed, top))
        # An elapsed time of just the whole length must end the fall, so both are measured from the start.
        end = 1.0 if _share(elapsed, length) == 1 else (elapsed - top) / (length - top)
        return between(peak, final, end)

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
    chained = members_of(schedules)
    if chained is None or not all(callable(schedule) for schedule in chained):
        raise TypeError(f"{rule}, got {describe(schedules)}")
    for each in chained:
        check_callable("schedule", each, takes="epochs")
    if not chained:
        raise ValueError(f"{rule}, got {describe(schedules)}")
    starts = [0.0, *_milestones(milestones)]
    if len(starts) != len(chained):
        raise ValueError(f"milestones must be one fewer than the {len(chained)} schedules, got {describe(milestones)}")

    def schedule(epochs: float) -> float:
        elapsed = _elapsed(epochs)
        current = _reached(starts, elapsed) - 1
        rate: float = chained[current](max(elapsed - starts[current], 0.0))
        return rate

    return schedule


def _between(start: float, end: float, part: float) -> float:
    """Return the value at `part`, in [0, 1], of half a cosine wave from `start` to `end`."""
    return end + (start - end) * ((1 + math.cos(math.pi * part)) / 2)


def _straight(start: float, end: float, part: float) -> float:
    """Return the value at `part`, in [0, 1], of a straight line from `start` to `end`."""
    return start + (end - start) * part


def _elapsed(epochs: float) -> float:
    """Return the epochs elapsed, which must be a finite number of at least 0."""
    return check_non_negative("epochs", epochs)


def _share(elapsed: float, length: float) -> float:
    """Return which part of `length` has elapsed, in [0, 1]."""
    return 1.0 if elapsed >= length * (1 - _EARLY) else elapsed / length


def _whole(elapsed: float, length: float) -> float:
    """Return how many whole times `length` has elapsed; infinity if that is more than a float holds."""
    times = elapsed / length
    return float(np.floor(times * (1 + _EARLY)))


def _reached(boundaries: Sequence[float], elapsed: float) -> int:
    """Return how many of the increasing boundaries have been reached."""
    return bisect_right(boundaries, elapsed * (1 + _EARLY))


def _scaled(rate: float, gamma: float, times: float) -> float:
    """Return ``rate * gamma ** times``."""
    try:
        return _finite(rate * gamma**times) if rate else 0.0
    except OverflowError:
        return _finite(math.inf)


def _finite(rate: float) -> float:
    """Return a rate, or raise ValueError if it is too large for a float."""
    if not math.isfinite(rate):
        raise ValueError(f"epochs must lead to a finite learning rate, got a rate of {rate}")
    return rate


def _part_of_wave(elapsed: float, first: float, factor: float) -> float:
    """Return which part of the current wave has elapsed, in [0, 1).

    Wave n, counted from 0, has the length first f^n and starts at first (f^n - 1) / (f - 1). In units of its length, it
    starts at (1 - f^-n) / (f - 1). There are no loops over the waves: their number may be huge.
    """
    growth = factor - 1
    if elapsed < first * (1 - _EARLY):
        return elapsed / first
    if growth == 0:
        rest = math.fmod(elapsed, first)
        return 0.0 if first - rest <= _EARLY * elapsed else rest / first
    # n is the whole part of log(1 + elapsed (f - 1) / first) / log f; by logarithms, nothing of it overflows.
    logarithm = math.log(elapsed) + math.log(growth) - math.log(first)
    waves = math.floor(float(np.logaddexp(0.0, logarithm)) / math.log1p(growth) + _EARLY)
    shrunk = factor**-waves
    in_lengths = elapsed * shrunk / first
    part = in_lengths - (1 - shrunk) / growth
    return 0.0 if part < 0 or 1 - part <= _EARLY * in_lengths else part


def _milestones(milestones: object) -> list[float]:
    """Return positive numbers in increasing order as a list."""
    rule = "milestones must be a sequence of positive numbers in increasing order"
    ordered = isinstance(milestones, Sequence | np.ndarray) and not isinstance(milestones, str)
    items = items_of(milestones) if ordered else None
    if items is None:
        raise TypeError(f"{rule}, got {describe(milestones)}")
    listed = [check_positive(f"milestones[{index}]", item) for index, item in enumerate(items)]
    if any(later <= earlier for earlier, later in pairwise(listed)):
        raise ValueError(f"{rule}, got {describe(milestones)}")
    return listed
