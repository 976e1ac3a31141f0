"""Every optimizer in every variant, and the steps that the tests of the common contract take with them."""

import numpy as np
import pytest

from allconv.optimizers import SGD, AdaGrad, Adam, AdamW, AMSGrad, RMSprop
from allconv.parameter import Parameter
from helpers.trajectories import gradient, start

CLASSES = [SGD, Adam, AdamW, AMSGrad, RMSprop, AdaGrad]
ARTICLE = {"betas": (0.9, 0.9), "bias_correction": "none", "maximum": "tensor"}
VARIANTS = {
    "SGD": lambda p, **k: SGD(p, 0.01, **k),
    "momentum": lambda p, **k: SGD(p, 0.01, momentum=0.9, **k),
    "Nesterov": lambda p, **k: SGD(p, 0.01, momentum=0.9, nesterov=True, **k),
    "Adam": lambda p, **k: Adam(p, 0.01, **k),
    "Adam, epsilon_hat": lambda p, **k: Adam(p, 0.01, epsilon_hat=True, **k),
    "AdamW": lambda p, **k: AdamW(p, 0.01, **k),
    "AMSGrad": lambda p, **k: AMSGrad(p, 0.01, **k),
    "AMSGrad, before_max": lambda p, **k: AMSGrad(p, 0.01, bias_correction="before_max", **k),
    "AMSGrad, the article's": lambda p, **k: AMSGrad(p, 0.01, **ARTICLE, **k),
    "RMSprop": lambda p, **k: RMSprop(p, 0.01, **k),
    "RMSprop, all": lambda p, **k: RMSprop(p, 0.01, centered=True, momentum=0.9, **k),
    "AdaGrad": lambda p, **k: AdaGrad(p, 0.1, **k),
}
each_variant = pytest.mark.parametrize("make", VARIANTS.values(), ids=VARIANTS)


def make_parameters(dtype=np.float64):
    parameters = [Parameter(w.astype(dtype)) for w in start()]
    for index, parameter in enumerate(parameters):
        parameter.name = f"{index}.weight"
    return parameters


def take_step(optimizer, t):
    for parameter in optimizer.parameters:
        if parameter.trainable:
            parameter.add_grad(gradient(parameter.value, t).astype(parameter.value.dtype))
    optimizer.step()


def snapshot(optimizer):
    parts = [p.value.copy() for p in optimizer.parameters] + [p.grad for p in optimizer.parameters]
    return [*parts, *optimizer.state().items(), optimizer.learning_rate]


def assert_same(before, after):
    for a, b in zip(before, after, strict=True):
        np.testing.assert_equal(b, a)
