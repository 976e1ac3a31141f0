"""Lists of layers that are kept by hand: a new public layer must enter each of them, or the exceptions here."""

import inspect

import pytest

import allconv as ac
from allconv.deploy import structure
from allconv.inspection import explain
from allconv.interop import onnx_layers
from allconv.models import fusion

PUBLIC = {name for name, thing in inspect.getmembers(ac, inspect.isclass) if issubclass(thing, ac.Layer)} - {"Layer"}
# Layers that are no activations.
NO_ACTIVATIONS = {
    *("AdaptiveAveragePool2D", "BatchNorm", "Branches", "Conv2D", "ConvTranspose2D", "Flatten", "GlobalAveragePool2D"),
    *("GroupNorm", "LayerNorm", "Linear", "LogSoftmax", "MaxPool2D", "MeanPool2D", "Sequential", "Skip", "Softmax"),
    *("Upsample2D", "ZeroPad2D", "Dropout"),
}
# For each list what it must not have, and the reason.
REGISTRIES = {
    "to_onnx writes all layers": (onnx_layers._WRITERS, set()),
    "deploy writes all layers": (structure._WRITERS, set()),
    "fuse joins activations without parameters to the product before": (
        fusion._ACTIVATIONS,
        NO_ACTIVATIONS | {"PReLU", "Scale"},
    ),
    "the rules of deconvnet and guided_backprop are for rectifiers": (
        explain.RECTIFIERS,
        NO_ACTIVATIONS | {"Sigmoid", "Tanh", "Scale"},
    ),
}


@pytest.mark.parametrize(("registry", "exceptions"), REGISTRIES.values(), ids=REGISTRIES)
def test_each_public_layer_is_in_the_list_or_an_exception(registry, exceptions):
    listed = {kind.__name__ for kind in registry}
    assert PUBLIC - listed == exceptions
