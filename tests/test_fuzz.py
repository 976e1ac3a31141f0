"""Whatever comes in, a right result or an error of the library comes out; `fuzz/long.py` runs the long campaign."""

import time
import warnings

import numpy as np
import pytest
from fuzz import engine
from fuzz.engine import Case, check, draw_case
from fuzz.targets import Target, targets
from hypothesis import given, settings
from hypothesis import strategies as st

# Of the valid arguments: settings that stay as they were made, models without a backward pass, and a file of PyTorch's.
REFUSED = {
    *("interop.load_torch", "interop.load_keras", "interop.from_keras", "interop.from_onnx"),
    *("AMSGrad.bias_correction =", "AMSGrad.maximum =", "AdaGrad.initial_accumulator =", "RMSprop.centered ="),
    *("DilatedAMSGrad.bias_correction =", "DilatedAMSGrad.maximum ="),
    *("models.fuse.backward", "models.fuse.backward_parameters"),
}
# One case of each kind that once escaped, with what its argument was.
BUFFER = "buffer|own|ordinary|same"
ESCAPED = [
    *[("data.whitening_filters", "images", f"contiguous|f8|{kind}|same") for kind in ("large", "-inf", "nan")],
    *[("Combined", "optimizers", BUFFER), ("schedules.chain", "schedules", BUFFER)],
    *[("evaluate", "loader", BUFFER), ("evaluate", "views", BUFFER), ("models.fast_net", "widths", BUFFER)],
    *[("Linear.load_state", "state", value) for value in ("-1", "iter([1, 2])", "'text'", "contiguous|f8|nan|same")],
    *[("Sequential.backward", "release", value) for value in ("'text'", "Fortran|own|ordinary|first")],
    *[("Skip.backward_parameters", "release", "np.ones((2, 2))"), ("ReLU.backward", "release", "1j")],
    *[("rules.guided", "layer", "{1: 2}"), ("rules.guided", "dy", "'text'"), ("rules.straight_through", "dy", "[]")],
    *[("rules.rule_name", "rule", "Broken()"), ("rules.match", "rules", "{ac.ReLU: Broken}")],
    *[("article.elu_twice", "layer", "iter([])"), ("article.pool_undivided", "layer", "ac.Parameter(np.zeros(2))")],
    *[("profile", "runs", "2**63"), ("models.residual_net", "blocks", "10**400")],
    *[("article.rules_for", "fault", "10**400"), ("article.published_orders", "count", "slice(None)")],
    *[("article.PublishedOrder.epoch", "epoch", value) for value in ("np.array(None)", "2**40")],
    *[("initializers.he_normal", "rng", "None"), ("initializers.glorot_uniform", "shape", "(0, -1)")],
    *[("initializers.orthogonal", "dtype", "np.float32('nan')"), ("initializers.zeros", "shape", "(10**400, 1)")],
    *[("Linear", "initializer", value) for value in ("'text'", "ac.ReLU", "lambda: None", "lambda *a, **k: None")],
    *[("evaluate", "loader", "lambda *a, **k: None"), ("train", "loader", "lambda *a, **k: None")],
    *[("evaluate", "loader", "ac.data.per_step"), ("data.split", "fractions", "np.array(2)")],
    *[("BatchNorm", "channels", "2**64"), ("PReLU", "channels", "10**400")],
    *[("interop.assign", "input_shape", value) for value in ("0.5", "np.zeros(0)", "{'scale': None}")],
    *[("interop.assign", "rename", value) for value in ("ac.data.Dataset", "len", "ac.data.Fliplr()")],
    *[("ConvTranspose2D", "initializer", "np.float64(0.5)")],
    *[("Linear", "in_features", value) for value in ("2**40", "10**400")],
    *[("Conv2D.geometry", "x_shape", value) for value in ("'text'", "2**64", "[1.0, float('nan')]")],
    *[(f"{layer}.forward", "x", "contiguous|own|large|same") for layer in ("Conv2D", "BatchNorm", "Softmax", "Skip")],
    *[(f"{layer}.forward", "x", "contiguous|own|inf|same") for layer in ("Linear", "GELU", "models.lenet")],
    *[(f"{rule}.step(grad)", "grad", "contiguous|own|inf|same") for rule in ("SGD", "Adam", "AdaGrad")],
    *[(f"{layer}.forward", "x", "contiguous|own|ordinary|huge") for layer in ("Sigmoid", "Flatten", "Conv2D")],
    *[("GELU.forward", "x", "contiguous|longdouble|ordinary|same"), ("Parameter.value =", "value", "rows|f2|nan|huge")],
    *[("SGD", "parameters", value) for value in ("np.array(1.0)", "contiguous|own|ordinary|huge")],
    *[("Adam.betas =", "value", value) for value in ("contiguous|O|ordinary|huge", "np.array(1.0)")],
    *[("AMSGrad.maximum =", "value", "Broken()"), ("schedules.chain", "milestones", "buffer|own|large|same")],
    *[("schedules.chain", "schedules", "[ac.ReLU]"), ("SoftmaxCrossEntropy.divisor", "target", "()")],
    *[("SoftmaxCrossEntropy.divisor", "target", "-1e300"), ("data.Standardize", "std", "contiguous|c16|-inf|same")],
    *[
        ("layer_statistics", "loss", "lambda *a, **k: None"),
        ("Branches.backward", "release", "np.zeros(0)"),
        ("data.shapes", "n", "10**400"),
    ],
    *[("data.Standardize", "std", "reversed|longdouble|large|same"), ("initializers.normal()", "rng", "0.5")],
    *[
        ("gradcheck.check_loss", "loss", "lambda *a, **k: a[0]"),
        ("rules.scaled()", "dy", "contiguous|own|large|same"),
        ("validation.check_dtype", "value", "Broken()"),
    ],
    *[("initializers.identity()", "rng", "None"), ("initializers.fan_in_uniform", "shape", "(3,)")],
    *[("gradcheck.check_loss", "scores", "contiguous|own|large|same"), ("article.published_orders", "count", "2**63")],
    *[("data.Sequential", "augmenters", value) for value in ("ac.ReLU()", "[len]", "np.array(None)")],
    *[("data.Dataset", "names", value) for value in ("np.bool_(True)", "np.array(None)", "1")],
    *[("data.ZCA.from_state", "state", "float('nan')"), ("checkpoint.load_model_state", "state", "[None]")],
    *[("checkpoint.atomic_write", "path", value) for value in ("'new'", "0.0", "'a\\0b'", "'\\ud800'")],
    *[("open_run", "columns", value) for value in ("1.0", "'text'", "[None]")],
    *[("open_run", "config", value) for value in ("[1, 2]", "recursive()", "{'scale': object()}")],
    *[("distributed.sum_gradients", "parameters", value) for value in ("'text'", "...", "(1, 1.5)")],
    *[("distributed.check_same", "value", "[]"), ("distributed.check_same_model", "model", "None")],
    *[("evaluate", "loss", "ac.Linear(5, 5)"), ("gradcheck.check_loss", "loss", "ac.SoftmaxCrossEntropy")],
    *[
        ("gradcheck.check_loss", "target", "contiguous|i1|ordinary|huge last"),
        ("layer_statistics", "labels", "Broken()"),
    ],
    *[("explain.saliency", "target", value) for value in ("Broken()", "masked|i8|ordinary|same")],
    *[("data.per_step", "images", "contiguous|f4|-inf|same"), ("evaluate", "loader", "lambda *a, **k: a[0]")],
    *[("data.GlobalContrast.__call__", "images", "contiguous|longdouble|large|same")],
    *[("article.elu_twice", "dy", "contiguous|own|large|same")],
    *[("data.Standardize.fit", "images", "reversed|f2|-inf|same")],
    *[("GELU.forward", "training", "matrix|own|ordinary|same"), ("MaxPool2D.forward", "training", "np.zeros(0)")],
    *[("validation.check_images", "dtype", "2**64"), ("validation.check_images", "channels", "np.ones((2, 2))")],
    *[("validation.check_gradient", "like", "rows|f8|ordinary|empty"), ("validation.check_int", "minimum", "'text'")],
]


@pytest.mark.parametrize("loss", ["BinaryCrossEntropy", "SoftmaxCrossEntropy"])
def test_no_target_is_weighed(loss):
    outcome = check(Case(f"{loss}.divisor", (("target", "np.array(2)"), ("weights", "np.ones((2, 2))"))))
    assert outcome.kind == "ValueError", outcome.detail


@pytest.mark.parametrize("room", sorted({target.room for target in targets().values()}))
def test_the_valid_arguments_are_accepted(room):
    outcomes = {name: check(Case(name, ())) for name, target in targets().items() if target.room == room}
    assert {
        name: outcome for name, outcome in outcomes.items() if outcome.kind != "right" and name not in REFUSED
    } == {}


@pytest.mark.parametrize(("target", "argument", "value"), ESCAPED)
def test_what_escaped_once_is_right_or_refused(target, argument, value):
    outcome = check(Case(target, ((argument, value),)))
    assert outcome.kind != "escape", outcome.detail


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_any_arguments_give_a_right_result_or_an_error_of_the_library(data):
    case = draw_case(lambda choices: data.draw(st.sampled_from(choices)))
    outcome = check(case)
    assert outcome.kind != "escape", f"{case}: {outcome.detail}"


def changes(x):
    x *= 2


def warns(x):
    warnings.warn("careful", stacklevel=1)


@pytest.mark.parametrize(
    ("function", "detail"),
    [
        (lambda x: {}["key"], "KeyError"),
        (lambda x: np.ones(2) + np.ones(3), "ValueError: operands could not be broadcast"),
        (warns, "UserWarning: careful"),
        (changes, "an argument was changed"),
        (lambda x: time.sleep(1), "a hang"),
        (lambda x: np.asarray(x).strides, "not the result of the plain copy"),
        (lambda x: x.base.size, "accepted, but not its plain copy"),
    ],
)
def test_an_escape_is_seen(monkeypatch, function, detail):
    monkeypatch.setattr(engine, "DEADLINE", 0.1)
    monkeypatch.setitem(targets(), "faulty", Target("faults", lambda: (function, {"x": np.ones((2, 3))})))
    outcome = check(Case("faulty", (("x", "strided|own|ordinary|same"),)))
    assert outcome.kind == "escape"
    assert (
        outcome.detail.removeprefix("accepted, but not its plain copy: ").startswith(detail) or detail in outcome.detail
    )
