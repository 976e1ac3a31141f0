"""What `import allconv` offers, and that nothing of it goes without a row in the registry and a docstring."""

import importlib
import inspect
from importlib.util import find_spec

import pytest
from helpers import registry
from helpers.registry import LAYERS, LOSSES, OPTIMIZERS

import allconv as ac

BASES = {"Layer", "Optimizer"}
# What functions of the library return or raise, and a program never makes.
RESULTS = {"Evaluation", "LayerStatistics", "Record", "Run", "Stopped"}
# What users of rules call with them, and what allconv.data offers beside augmenters.
USES_OF_RULES = {"active_rules", "match", "override_backward", "rule_name"}
DATA = {"CIFAR10_CLASSES", "Dataset", "Loader", "cifar10", "download_cifar10", "find_cifar10", "shapes", "split"}
NORMALIZERS = {"GlobalContrast", "Standardize", "ZCA", "per_step", "whitening_filters"}
VIEWS = {"mirror_views", "shift_views"}
IMGAUG = {"Imgaug", "imgaug_article_augment", "import_imgaug"}


def public_classes():
    return {name for name in ac.__all__ if inspect.isclass(getattr(ac, name))}


def functions(module):
    """Return the names of the functions that a module, or a package's own modules, define for its users."""
    own = inspect.getmembers(module, lambda f: inspect.isfunction(f) and f.__module__.startswith(module.__name__))
    return {name for name, _ in own if not name.startswith("_")}


def estimators():
    """Return the names of the room that needs scikit-learn."""
    return set(importlib.import_module("allconv.sklearn").__all__) if find_spec("sklearn") else set()


@pytest.mark.parametrize(
    ("public", "rows"),
    [
        (public_classes() - BASES - RESULTS, LAYERS | LOSSES | OPTIMIZERS | registry.PARAMETERS),
        ({name for name in ac.optimizers.__all__ if name[0].isupper()} - BASES, OPTIMIZERS),
        (functions(ac.schedules), registry.SCHEDULES),
        (functions(ac.initializers), registry.INITIALIZERS),
        (functions(ac.rules) - USES_OF_RULES, registry.RULES),
        (set(ac.models.__all__), registry.MODELS),
        (estimators(), registry.ESTIMATORS),
        (set(ac.data.__all__) - DATA - NORMALIZERS - VIEWS - IMGAUG, registry.AUGMENTERS),
    ],
    ids=["classes", "optimizers", "schedules", "initializers", "rules", "models", "estimators", "data"],
)
def test_everything_public_has_a_row(public, rows):
    assert public == set(rows)


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


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("row", LOSSES.values(), ids=LOSSES)
def test_the_gradient_of_a_loss(row, reduction):
    ac.gradcheck.check_loss(row.build(reduction=reduction), row.scores, row.target).raise_if_failed()


def test_the_version_is_the_packages():
    from importlib.metadata import version

    assert ac.__version__ == version("allconv")
