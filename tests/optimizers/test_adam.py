"""Adam and AdamW by hand: where eps stands, and the default weight decay."""

import math

import pytest
from helpers.trajectories import one_weight, start

from allconv.optimizers import Adam, AdamW
from allconv.parameter import Parameter


def test_the_place_of_eps_by_hand():
    # With g = 1 at the first step m / (1 - beta1) = v / (1 - beta2) = 1, and sqrt(v) = sqrt(0.001).
    eps = 0.5
    algorithm_1 = one_weight(lambda p: Adam(p, 1.0, eps=eps), 0.0, [1.0])
    keras = one_weight(lambda p: Adam(p, 1.0, eps=eps, epsilon_hat=True), 0.0, [1.0])
    assert algorithm_1 == pytest.approx(-1 / 1.5, rel=1e-12)
    assert keras == pytest.approx(-math.sqrt(0.001) / (math.sqrt(0.001) + 0.5), rel=1e-12)


def test_the_default_weight_decay():
    parameters = [Parameter(w) for w in start()]
    assert AdamW(parameters).weight_decay == 0.01
    assert Adam(parameters).weight_decay == 0
