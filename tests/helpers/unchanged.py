"""A model before and after."""

from contextlib import contextmanager

from allconv import Parameter
from helpers.bits import bits


def everything(model):
    """Return what a model consists of: its layers' attributes and states, its parameters' arrays and flags."""
    found = {}
    for path, layer in model.named_layers():
        found[path] = dict(vars(layer)), bits(layer.state())
        for name, p in vars(layer).items():
            if isinstance(p, Parameter):
                found[path, name] = id(p.value), bits(p.value), id(p.grad), bits(p.grad), p.trainable, p.decay
    return found


@contextmanager
def unchanged(model):
    """Assert that the block leaves a model as it was, also where the block raises an error."""
    before = everything(model)
    try:
        yield
    finally:
        after = everything(model)
        changed = [key for key in before | after if before.get(key) != after.get(key)]
        assert not changed, changed
