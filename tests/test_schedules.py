"""Learning rates over the epochs."""

import pytest

from allconv import schedules


def test_inverse_time_is_the_articles():
    rate = schedules.inverse_time(0.0003, 0.001)
    assert [rate(e) for e in range(21)] == [0.0003 / (1 + 0.001 * e) for e in range(21)]


def test_constant_step_and_multistep():
    assert schedules.constant(0.1)(7.5) == 0.1
    step = schedules.step(1.0, 2, 0.5)
    assert [step(e) for e in (0, 1.99, 2, 3.5, 4)] == [1.0, 1.0, 0.5, 0.5, 0.25]
    multistep = schedules.multistep(1.0, [1, 3], 0.5)
    assert [multistep(e) for e in (0, 0.99, 1, 2, 3, 9)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("epochs", [-1, float("nan"), float("inf")])
def test_the_epochs_are_checked(epochs):
    with pytest.raises(ValueError, match="epochs must be a non-negative number"):
        schedules.constant(0.1)(epochs)
