"""Layers of a copy of the library with a planted mistake, as a student's functions."""

import importlib
import re
import shutil
import sys

from helpers.planted_mistakes import ROOT

NAME = "planted_copy"


def copy_package(folder):
    """Copy the library into `folder` under another name, so that it can be imported beside the true one."""
    package = folder / NAME
    shutil.copytree(ROOT / "allconv", package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"^( *)(from|import) allconv\b", rf"\1\2 {NAME}", text, flags=re.M), encoding="utf-8")
    return package


def import_planted(package, mistake):
    """Import the copy afresh with a mistake in it; the file is afterwards as before."""
    before = mistake.plant(package)
    try:
        for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
            del sys.modules[name]
        importlib.invalidate_caches()
        return importlib.import_module(NAME)
    finally:
        (package / mistake.file).write_text(before, encoding="utf-8")


def functions_of(layer, *, training=False):
    """Return the two functions of a layer in the form in which a student writes them."""
    parameters = [parameter for parameter in layer.parameters() if parameter.trainable]

    def forward(x, *values):
        for parameter, value in zip(parameters, values, strict=True):
            parameter.value = value
        return layer.forward(x, training=training)

    def backward(dy, cache):
        for parameter in parameters:
            parameter.grad = None
        dx = layer.backward(dy, cache)
        return (dx, *(parameter.grad for parameter in parameters)) if parameters else dx

    return forward, backward
