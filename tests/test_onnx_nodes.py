"""ONNX's own node tests: each case of an operator that is a layer, loss or optimizer here passes, or is named below."""

import functools
import re
import warnings
from collections import Counter

import numpy as np
import pytest

import allconv as ac

onnx = pytest.importorskip("onnx")

TRAINING = "ai.onnx.preview.training"
# Why cases are left out: a pattern of their names, and how many there are.
NOT_HERE = {
    "one or three dimensions: layers here take images": (r"(average|max)pool_[13]d_", 12),
    "integer input is refused": (r"maxpool_2d_uint8$", 1),
    "MeanPool2D has no dilation": (r"averagepool_2d_dilations$", 1),
    "Flatten keeps the batch axis, and that alone": (r"flatten_(axis[023]|negative_axis[124])$", 6),
    "Linear has one bias for all rows": (r"gemm_default_matrix_bias$", 1),
    "a loss is one number: reduction 'none' is not offered": (r"sce_(NCd1d2d3(d4d5)?_)?none", 8),
}


@functools.cache
def cases():
    """Return the cases of one node, {(domain, operator): {name: case}}; making all of ONNX's takes some seconds."""
    from onnx.backend.test.loader import load_model_tests

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, of cases that divide by zero on purpose
        for case in load_model_tests(kind="node"):
            nodes = case.model.graph.node
            if len(nodes) == 1:
                found.setdefault((nodes[0].domain, nodes[0].op_type), {})[case.name] = case
    return found


def nhwc(x):
    return x.transpose(0, 2, 3, 1)


def nchw(x):
    return x.transpose(0, 3, 1, 2)


def padding(attributes):
    """Return our padding argument; ONNX's numbers are (top, left, bottom, right) too."""
    name = attributes.get("auto_pad", b"NOTSET").decode()
    if name == "NOTSET":
        return tuple(attributes.get("pads", (0, 0, 0, 0)))
    return {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}[name]


def pool(kind, attributes, **more):
    return kind(
        tuple(attributes["kernel_shape"]),
        stride=tuple(attributes.get("strides", (1, 1))),
        padding=padding(attributes),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        **more,
    )


# Each function takes a case's attributes and inputs, and returns what ONNX calls its outputs.


def conv(attributes, x, w, b=None):
    layer = ac.Conv2D(
        x.shape[1],
        len(w),
        w.shape[2:],
        stride=tuple(attributes.get("strides", (1, 1))),
        padding=padding(attributes),
        dilation=tuple(attributes.get("dilations", (1, 1))),
        groups=attributes.get("group", 1),
    )
    layer.weight.value = w.transpose(2, 3, 1, 0)
    layer.bias.value = np.zeros(len(w)) if b is None else b
    return (nchw(layer(nhwc(x))),)


def average_pool(attributes, x):
    assert "dilations" not in attributes
    count_padding = bool(attributes.get("count_include_pad", 0))
    return (nchw(pool(ac.MeanPool2D, attributes, count_padding=count_padding)(nhwc(x))),)


def max_pool(attributes, x):
    """Return the maxima, and ONNX's indices of them as the places where backward puts the gradients."""
    layer = pool(ac.MaxPool2D, attributes, dilation=tuple(attributes.get("dilations", (1, 1))))
    y, cache = layer.forward(nhwc(x))
    marks = np.arange(1, y.size + 1).reshape(y.shape)
    places = []
    for mark in marks.ravel():
        dx = nchw(layer.backward(np.where(marks == mark, np.float32(1), np.float32(0)), cache))
        n, c, h, w = (axis[0] for axis in np.nonzero(dx))
        inside = h + w * x.shape[2] if attributes.get("storage_order") else h * x.shape[3] + w
        places.append((n * x.shape[1] + c) * x.shape[2] * x.shape[3] + inside)
    return nchw(y), nchw(np.reshape(places, y.shape))


def batch_normalization(attributes, x, weight, bias, mean, var):
    layer = ac.BatchNorm(x.shape[1], eps=attributes.get("epsilon", 1e-5), momentum=1 - attributes.get("momentum", 0.9))
    layer.weight.value, layer.bias.value = weight, bias
    layer.running_mean.value, layer.running_var.value = mean, var
    if not attributes.get("training_mode", 0):
        return (nchw(layer(nhwc(x))),)
    y, _ = layer.forward(nhwc(x), training=True)
    count = x.size // x.shape[1]  # ONNX's running variance is the biased one
    kept = (1 - layer.momentum) * var
    biased = kept + (layer.running_var.value - kept) * (count - 1) / count
    return nchw(y), layer.running_mean.value, biased


def gemm(attributes, a, b, c=0.0):
    a = a.T if attributes.get("transA") else a
    b = b.T if attributes.get("transB") else b
    layer = ac.Linear(*b.shape)
    layer.weight.value = attributes.get("alpha", 1.0) * b
    layer.bias.value = np.broadcast_to(attributes.get("beta", 1.0) * c, (1, b.shape[1]))[0]
    return (layer(a),)


def flatten(attributes, x):
    assert attributes.get("axis", 1) in (1, 1 - x.ndim)
    return (ac.Flatten()(x),)


def cross_entropy(attributes, scores, labels, class_weight=None):
    """Positions of an image are examples here: the axis of the classes goes last, and the others are one."""
    loss = ac.SoftmaxCrossEntropy(
        class_weight=class_weight,
        ignore_index=attributes.get("ignore_index"),
        reduction=attributes["reduction"].decode(),
    )
    value, _ = loss(np.moveaxis(scores, 1, -1).reshape(-1, scores.shape[1]), labels.ravel())
    return value, ac.LogSoftmax(axis=1)(scores)


def elementwise(make):
    return lambda attributes, x: (make(attributes)(x),)


# ONNX's optimizers take R, T, all X, all G, all of each state, and return all new X and all of each new state.


def optimizer(make, *slots):
    def run(attributes, rate, steps, *arrays):
        count = len(arrays) // (2 + len(slots))
        x, g, *states = (arrays[k * count : (k + 1) * count] for k in range(2 + len(slots)))
        parameters = [ac.Parameter(value) for value in x]
        rule, step_count = make(attributes, parameters, float(rate), int(steps))
        state = {f"{slot}/{k}": values[k] for slot, values in zip(slots, states, strict=True) for k in range(count)}
        rule.load_state({"step_count": step_count} | state)
        for parameter, gradient in zip(parameters, g, strict=True):
            parameter.add_grad(gradient)
        rule.step()
        after = rule.state()
        return *(p.value for p in parameters), *(after[f"{slot}/{k}"] for slot in slots for k in range(count))

    return run


def adagrad(attributes, parameters, rate, steps):
    rate /= 1 + steps * attributes["decay_factor"]
    norm = attributes["norm_coefficient"]
    return ac.AdaGrad(parameters, rate, eps=attributes["epsilon"], weight_decay=norm), steps


def adam(attributes, parameters, rate, steps):
    beta1, beta2 = attributes["alpha"], attributes["beta"]
    if steps == 0:  # ONNX leaves the correction of the bias out then
        rate *= (1 - beta1) / np.sqrt(1 - beta2)
    options = {"eps": attributes["epsilon"], "weight_decay": attributes["norm_coefficient"], "epsilon_hat": True}
    return ac.Adam(parameters, rate, betas=(beta1, beta2), **options), max(steps - 1, 0)


def momentum(attributes, parameters, rate, steps):
    options = {"nesterov": attributes["mode"] == b"nesterov", "dampening": 1 - attributes["beta"]}
    norm = attributes["norm_coefficient"]
    return ac.SGD(parameters, rate, momentum=attributes["alpha"], weight_decay=norm, **options), steps


OPERATORS = {
    ("", "Conv"): conv,
    ("", "AveragePool"): average_pool,
    ("", "MaxPool"): max_pool,
    ("", "GlobalAveragePool"): lambda attributes, x: (nchw(ac.GlobalAveragePool2D(keepdims=True)(nhwc(x))),),
    ("", "GlobalMaxPool"): lambda attributes, x: (nchw(ac.MaxPool2D(x.shape[2:])(nhwc(x))),),
    ("", "BatchNormalization"): batch_normalization,
    ("", "Gemm"): gemm,
    ("", "Flatten"): flatten,
    ("", "Relu"): elementwise(lambda attributes: ac.ReLU()),
    ("", "LeakyRelu"): elementwise(lambda attributes: ac.LeakyReLU(attributes.get("alpha", 0.01))),
    ("", "Elu"): elementwise(lambda attributes: ac.ELU(attributes.get("alpha", 1.0))),
    ("", "Gelu"): elementwise(lambda attributes: ac.GELU(attributes.get("approximate", b"none").decode())),
    ("", "Swish"): elementwise(lambda attributes: ac.SiLU()),
    ("", "Sigmoid"): elementwise(lambda attributes: ac.Sigmoid()),
    ("", "Tanh"): elementwise(lambda attributes: ac.Tanh()),
    ("", "Softmax"): elementwise(lambda attributes: ac.Softmax(attributes.get("axis", -1))),
    ("", "LogSoftmax"): elementwise(lambda attributes: ac.LogSoftmax(attributes.get("axis", -1))),
    ("", "SoftmaxCrossEntropyLoss"): cross_entropy,
    (TRAINING, "Adagrad"): optimizer(adagrad, "squares"),
    (TRAINING, "Adam"): optimizer(adam, "m", "v"),
    (TRAINING, "Momentum"): optimizer(momentum, "velocity"),
}


def left_out(name):
    return [reason for reason, (pattern, _) in NOT_HERE.items() if re.match(f"test_{pattern}", name)]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator[1])
def test_the_cases_of(operator):
    for name, case in cases()[operator].items():
        if left_out(name):
            continue
        (node,) = case.model.graph.node
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert case.data_sets
        for inputs, outputs in case.data_sets:
            got = OPERATORS[operator](attributes, *inputs)
            assert len(got) >= len(outputs) > 0, name
            for value, expected in zip(got, outputs, strict=False):
                assert np.shape(value) == np.shape(expected), name
                np.testing.assert_allclose(value, expected, rtol=case.rtol, atol=case.atol, err_msg=name)


def test_no_case_is_left_out_in_silence():
    reasons = [left_out(name) for operator in OPERATORS for name in cases()[operator]]
    counts = Counter(reason for found in reasons for reason in found)
    assert counts == {reason: count for reason, (_, count) in NOT_HERE.items()}
    assert reasons.count([]) >= 115  # onnx 1.23.2
