"""Gradient descent by hand."""

import numpy as np
import pytest
from helpers.trajectories import one_weight

from allconv.optimizers import SGD
from allconv.parameter import Parameter


def test_the_articles_momentum_by_hand():
    # u = 0.9 u + g, w -= rate u: gradients 1, 1, -2 make u 1, 1.9, -0.29
    assert one_weight(lambda p: SGD(p, 0.1, momentum=0.9), 1.0, [1.0, 1.0, -2.0]) == pytest.approx(
        1 - 0.1 * (1 + 1.9 - 0.29), rel=1e-15
    )


def test_dampening_goes_on_after_a_resume():
    options = {"momentum": 0.9, "dampening": 0.5}
    p, q = Parameter(np.array([1.0])), Parameter(np.array([1.0]))
    first = SGD([p], 0.1, **options)
    p.add_grad(np.array([1.0]))
    first.step()
    second = SGD([q], 0.1, **options)
    q.value = p.value
    second.load_state(first.state())
    q.add_grad(np.array([1.0]))
    second.step()
    assert q.value[0] == pytest.approx(1 - 0.1 * 1 - 0.1 * (0.9 * 1 + 0.5 * 1), rel=1e-15)
