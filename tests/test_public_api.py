"""What `import allconv` offers, and that nothing of it goes without a test row and a docstring."""

import inspect

import numpy as np
import pytest
from helpers.cases import LAYERS
from helpers.optimizers import CLASSES
from optimizers.test_bad_arguments import BAD_ARGUMENTS

import allconv as ac

# Losses: (the class, scores, target) with which `check_loss` differentiates them numerically.
RNG = np.random.default_rng(0)
LOSSES = {
    "SoftmaxCrossEntropy": (ac.SoftmaxCrossEntropy, RNG.standard_normal((5, 4)), np.array([0, 3, 1, 1, 2])),
    "MeanSquaredError": (ac.MeanSquaredError, RNG.standard_normal((5, 4)), RNG.standard_normal((5, 4))),
}
BASES = {"Layer", "Optimizer", "Parameter"}
# What functions of the library return or raise, and a program never makes.
RESULTS = {"Evaluation", "LayerStatistics", "Record", "Run", "Stopped"}


def public_classes():
    return {name for name in ac.__all__ if inspect.isclass(getattr(ac, name))}


def test_every_public_class_has_a_row():
    optimizers = {cls.__name__ for cls in CLASSES} | {"DilatedAMSGrad"}
    assert public_classes() == set(LAYERS) | set(LOSSES) | optimizers | BASES | RESULTS
    assert {cls.__name__ for cls in BAD_ARGUMENTS} == optimizers - {"DilatedAMSGrad"}  # which has a table of its own


@pytest.mark.parametrize("name", ac.__all__)
def test_a_public_name_is_there_and_says_what_it_is(name):
    thing = getattr(ac, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing) and name not in BASES:
        assert vars(thing).get("__doc__"), "a docstring of its own"


@pytest.mark.parametrize("name", sorted(public_classes() - RESULTS - {"Layer", "Sequential"}))
def test_a_class_documents_each_of_its_arguments(name):
    cls = getattr(ac, name)
    documented = inspect.getdoc(cls)
    arguments = [a for a in inspect.signature(cls).parameters if a not in ("args", "kwargs")]
    if arguments:
        assert "Parameters\n----------" in documented
    missing = [argument for argument in arguments if not documented_in(argument, documented)]
    assert not missing


def documented_in(argument, text):
    heads = [line for line in text.splitlines() if line and not line.startswith(" ")]
    return any(argument in [part.strip() for part in head.split(":")[0].split(",")] for head in heads)


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_of_a_loss(name):
    loss, scores, target = LOSSES[name]
    for reduction in ("mean", "sum"):
        ac.gradcheck.check_loss(loss(reduction=reduction), scores, target).raise_if_failed()


def test_the_version_is_the_packages():
    from importlib.metadata import version

    assert ac.__version__ == version("allconv")
