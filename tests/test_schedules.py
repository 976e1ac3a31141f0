"""Learning rates over the epochs: by hand, at their boundaries, and bad arguments."""

import math

import numpy as np
import pytest
from helpers.registry import SCHEDULES as ROWS
from hypothesis import given
from hypothesis import strategies as st

from allconv.schedules import (
    chain,
    constant,
    cosine,
    cosine_restarts,
    exponential,
    inverse_time,
    linear,
    multistep,
    one_cycle,
    polynomial,
    step,
)

SCHEDULES = {name: row.build() for name, row in ROWS.items()}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


# By hand: {epochs: rate}

EXACT = [
    (constant(0.1), {0: 0.1, 7.5: 0.1, 1e9: 0.1}),
    (inverse_time(0.0003, 0.001), {e: 0.0003 / (1 + 0.001 * e) for e in range(21)} | {0.5: 0.0003 / 1.0005}),
    (step(1.0, 2, 0.5), {0: 1.0, 1.99: 1.0, 2: 0.5, 3.5: 0.5, 4: 0.25}),
    (step(1.0, 2.5, 0.5), {2: 1.0, 2.5: 0.5, 5: 0.25}),
    (multistep(1.0, [1, 3], 0.5), {0: 1.0, 0.99: 1.0, 1: 0.5, 2: 0.5, 3: 0.25, 9: 0.25}),
    (multistep(1.0, [], 0.5), {100: 1.0}),
    (multistep(1.0, [0.5], 0.5), {0.5: 0.5}),
    (linear(2.0, 0.25, 1.0, 4), {0: 0.5, 1: 0.875, 2.5: 1.4375, 4: 2.0, 99: 2.0}),
    (polynomial(1.0, 4, 2.0), {0: 1.0, 1: 0.5625, 2.5: 0.140625, 4: 0.0, 99: 0.0}),
    (polynomial(1.0, 4), {1: 0.75}),
    (cosine(1.0, 4), {4: 0.0}),
    (chain([constant(0.3)], []), {7: 0.3}),
    (chain([lambda e: e, constant(1.0)], [2]), {1.5: 1.5}),  # any function will do
]
CYCLE = {0: 0.1, 2: 0.55, 4: 1.0, 7: 0.5005, 10: 0.001, 99: 0.001}
CYCLES = {"linear": 0.325, "cosine": 0.1 + 0.9 * (1 - math.cos(math.pi / 4)) / 2}
PARTS = [constant(5.0), exponential(1.0, 0.5), linear(1.0, 0.0, 1.0, 2)]
CLOSE = [
    (multistep(0.05, [200, 250, 300], 0.1), {199: 0.05, 200: 0.005, 250: 0.0005, 349: 0.00005}),  # the paper's
    (exponential(0.5, 0.25), {0.5: 0.25}),
    (cosine(1.0, 4, 0.2), {0: 1.0, 4 / 3: 0.8, 2: 0.6, 4: 0.2, 5: 0.2, 8: 0.2}),  # cos(60 degrees) = 1/2
    (cosine_restarts(1.0, 2, 3), {0: 1.0, 1: 0.5, 2 - 1e-9: 0.0, 2: 1.0, 5: 0.5, 8: 1.0, 17: 0.5}),
    (cosine_restarts(1.0, 2), {0: 1, 1: 0.5, 2: 1, 3: 0.5, 1_000_001: 0.5}),
    (cosine_restarts(1.0, 2, 1.5), {2 + 1.5: 0.5}),
    *(
        (one_cycle(1.0, 10, rise=0.4, start_divisor=10, final_divisor=100, shape=shape), CYCLE | {1: rate})
        for shape, rate in CYCLES.items()
    ),
    (chain(PARTS, [2, 3.5]), {0: 5, 1.9: 5, 2: 1, 3: 0.5, 3.5: 0, 4.5: 0.5, 9: 1}),
]


@pytest.mark.parametrize(("schedule", "rates"), EXACT)
def test_exactly_by_hand(schedule, rates):
    assert {epochs: schedule(epochs) for epochs in rates} == rates


@pytest.mark.parametrize(("schedule", "rates"), CLOSE)
def test_by_hand(schedule, rates):
    assert {epochs: schedule(epochs) for epochs in rates} == pytest.approx(rates, rel=1e-9, abs=1e-9)


def test_multistep_keeps_its_own_list():
    milestones = [1, 3]
    rate = multistep(1.0, milestones, 0.5)
    milestones.clear()
    assert rate(9) == 0.25


# What all share


@every_schedule
@given(epochs=st.floats(0, 50))
def test_a_rate_is_pure_and_an_optimizer_would_take_it(schedule, epochs):
    rate = schedule(epochs)
    assert type(rate) is float
    assert 0 <= rate <= 0.1 * (1 + 1e-12)
    schedule(0)
    schedule(epochs / 2)
    assert schedule(epochs) == rate


@every_schedule
@pytest.mark.parametrize("epochs", [-1, -1e-9, math.nan, math.inf, None, "1", True, [1], 1j])
def test_the_epochs_are_checked(schedule, epochs):
    with pytest.raises((TypeError, ValueError), match="epochs must be a non-negative number, got "):
        schedule(epochs)


@every_schedule
def test_numpy_numbers_are_taken(schedule):
    assert schedule(np.float32(2.5)) == schedule(2.5)
    assert schedule(np.int64(2)) == schedule(2)


@pytest.mark.parametrize(
    "schedule", [cosine(0.1, 7), polynomial(0.1, 7), linear(0.1, 0.5, 1.0, 7), one_cycle(0.1, 7), inverse_time(0.1, 1)]
)
@given(epochs=st.floats(0, 10))
def test_fractions_fill_the_gaps_without_jumps(schedule, epochs):
    assert schedule(epochs + 1e-6) == pytest.approx(schedule(epochs), abs=1e-6)


# Boundaries that are reached up to rounding, and numbers at the ends of floats

FRACTIONS = {
    "step": (step(1.0, 0.1, 0.5), 0.3, 0.125),
    "step of a third": (step(1.0, 1 / 3, 0.5), 1.0, 0.125),
    "cosine_restarts": (cosine_restarts(1.0, 0.1), 0.3, 1.0),
    "longer waves": (cosine_restarts(1.0, 0.1, 2), 0.1 + 0.2, 1.0),
    "even longer waves": (cosine_restarts(1.0, 0.1, 1.1), 0.1 + 0.11 + 0.121, 1.0),
    "multistep": (multistep(1.0, [0.3, 0.7], 0.5), 0.7 - 2e-16, 0.25),
    "chain": (chain([constant(1.0), step(1.0, 0.1, 0.5)], [1.1]), 1.1 + 0.3, 0.125),
    "chain's own": (chain([constant(1.0), constant(0.5)], [0.3]), 0.3 - 1e-16, 0.5),
    "polynomial": (polynomial(1.0, 0.3, 0.1), 0.3 - 1e-16, 0.0),
    "cosine": (cosine(1.0, 0.3), 0.3 - 1e-16, 0.0),
    "linear": (linear(1.0, 0.5, 2.0, 0.3), 0.3 - 1e-16, 2.0),
    "one_cycle's peak": (one_cycle(1.0, 0.3, rise=1 / 3), 0.1 - 1e-16, 1.0),
}


@pytest.mark.parametrize(("schedule", "epochs", "expected"), FRACTIONS.values(), ids=FRACTIONS)
def test_a_boundary_reached_up_to_rounding_counts_as_reached(schedule, epochs, expected):
    assert schedule(epochs) == expected


@pytest.mark.parametrize("steps", [3, 7, 10, 49, 390])
@pytest.mark.parametrize("length", [1, 3])
def test_every_boundary_of_a_run_is_met_at_its_step(steps, length):
    """Boundaries every `length` steps, at fractions of an epoch, by the rational numbers."""
    halves, waves = step(1.0, length / steps, 0.5), cosine_restarts(1.0, length / steps)
    marks = multistep(1.0, [n * length / steps for n in range(1, 40)], 0.5)
    for done in range(40 * length):
        epochs = done // steps + (done % steps) / steps  # as in `train`
        assert halves(epochs) == 0.5 ** (done // length)
        assert marks(epochs) == 0.5 ** min(done // length, 39)
        assert waves(epochs) == pytest.approx((1 + math.cos(math.pi * (done % length) / length)) / 2, abs=1e-9)


@pytest.mark.parametrize("factor", [1, 1.0001, 1.1, 2, 3.7])
def test_restarts_are_the_sum_of_their_waves(factor):
    rate, start, length = cosine_restarts(1.0, 0.3, factor), 0.0, 0.3
    for _ in range(60):
        for part in (0.0, 0.25, 0.5, 0.9):
            expected = (1 + math.cos(math.pi * part)) / 2
            assert rate(start + part * length) == pytest.approx(expected, abs=1e-6)
        start, length = start + length, length * factor


@pytest.mark.timeout(20)
@pytest.mark.parametrize("first", [5e-324, 1e-300, 1e-12])
@pytest.mark.parametrize("factor", [1, 1 + 1e-15, 1.1, 1e300])
def test_many_restarts_take_no_time(first, factor):
    for epochs in (0, 1e-9, 10, 1e300):
        assert 0 <= cosine_restarts(0.1, first, factor)(epochs) <= 0.1


@pytest.mark.parametrize(
    "schedule",
    [
        exponential(0.1, 10),
        step(0.1, 1, 10),
        step(0.1, 5e-324, 10),
        multistep(1e300, list(range(1, 100)), 10),
        linear(1e308, 0.0, 10.0, 1000),
    ],
)
def test_a_rate_that_no_float_holds_is_refused(schedule):
    with pytest.raises(ValueError, match="epochs must lead to a finite learning rate, got a rate of inf"):
        schedule(1000)


def test_rates_at_the_ends_of_floats():
    assert exponential(0.0, 10)(1000) == 0
    assert exponential(0.1, 0.5)(1e6) == 0
    assert step(0.1, 5e-324, 0.5)(1) == 0
    assert inverse_time(0.1, 1e308)(1e308) == 0
    assert cosine(1e308, 10)(0) == 1e308
    assert one_cycle(1e308, 10, start_divisor=1.0)(3) == 1e308
    with pytest.raises(ValueError, match="peak / start_divisor must be a non-negative number, got inf"):
        one_cycle(1e308, 10, start_divisor=1e-300)


def test_milestones_may_be_an_array():
    rate = multistep(1.0, np.array([2, 8]), 0.1)
    assert [rate(e) for e in (1, 2, 8)] == pytest.approx([1.0, 0.1, 0.01])
    assert chain([constant(1.0), constant(2.0)], np.array([2.5]))(2.5) == 2
    for wrong in (np.array(2), np.ones((1, 1)), np.array([2, 1]), np.array([True])):
        with pytest.raises((TypeError, ValueError), match="milestones"):
            multistep(1.0, wrong, 0.1)
