"""An affine layer, and the mistakes that are planted in it for the tests of the gradient check."""

import numpy as np

from allconv import Layer, Parameter


class Affine(Layer):
    """y = x W + b, square, so that a transposed W goes unnoticed by shapes; faults are planted by overriding."""

    def __init__(self, n=5, seed=1):
        rng = np.random.default_rng(seed)
        self.weight = Parameter(rng.standard_normal((n, n)))
        self.bias = Parameter(rng.standard_normal(n))

    def forward(self, x, *, training=False):
        return x @ self.weight.value + self.bias.value, x

    def backward(self, dy, cache):
        self.add(self.weight, cache.T @ dy)
        self.add(self.bias, dy.sum(axis=0))
        return dy @ self.weight.value.T

    def add(self, parameter, gradient):
        if parameter.trainable:
            parameter.add_grad(gradient)


class WritesToInput(Affine):
    def forward(self, x, *, training=False):
        y, cache = super().forward(x.copy(), training=training)
        x += 1
        return y, cache


class WritesToWeight(Affine):
    def forward(self, x, *, training=False):
        result = super().forward(x, training=training)
        self.weight.value *= 1.0001
        return result


class HidesItsCache(Affine):
    def forward(self, x, *, training=False):
        self.hidden = x
        return super().forward(x, training=training)

    def backward(self, dy, cache):
        return super().backward(dy, self.hidden)


class ConsumesItsCache(Affine):
    def forward(self, x, *, training=False):
        y, cache = super().forward(x, training=training)
        return y, [cache]

    def backward(self, dy, cache):
        return super().backward(dy, cache.pop())


class SecondBackwardDiffers(Affine):
    calls = 0

    def backward(self, dy, cache):
        self.calls += 1
        return super().backward(dy, cache) * (1 if self.calls % 2 else -1)


class RandomForward(Affine):
    rng = np.random.default_rng(0)

    def forward(self, x, *, training=False):
        return super().forward(x + 1e-9 * self.rng.standard_normal(x.shape), training=training)


class OtherParameterPass(Affine):
    def backward_parameters(self, dy, cache):
        self.weight.add_grad(2 * cache.T @ dy)
        self.bias.add_grad(dy.sum(axis=0))


def fault(**methods):
    """Return an Affine with other methods."""
    return type("Faulty", (Affine,), methods)


def adds(change):
    """Return an Affine that adds ``change(self, parameter, gradient)`` in the place of gradient."""
    return fault(add=lambda self, parameter, gradient: Affine.add(self, parameter, change(self, parameter, gradient)))


def returns(change):
    """Return an Affine whose backward returns ``change(self, dx, dy, x)`` in the place of dx."""
    return fault(backward=lambda self, dy, x: change(self, Affine.backward(self, dy, x), dy, x))


AFFINE_FAULTS = {
    "missing": fault(add=lambda self, parameter, g: parameter is self.weight and Affine.add(self, parameter, g)),
    "overwritten": fault(add=lambda self, parameter, g: setattr(parameter, "grad", g)),
    "dropped bias": adds(lambda self, parameter, g: g * (parameter is self.weight)),
    "transposed gradient": adds(lambda self, parameter, g: g.T),
    "transposed weight": returns(lambda self, dx, dy, x: dy @ self.weight.value),
    "off by a millionth": returns(lambda self, dx, dy, x: dx * (1 + 1e-6)),
    "writes to cache": returns(lambda self, dx, dy, x: dx + 0 * np.multiply(x, 0.5, out=x)),
    "writes to dy": returns(lambda self, dx, dy, x: dx + 0 * np.multiply(dy, 2, out=dy)),
    "float32": returns(lambda self, dx, dy, x: dx.astype(np.float32)),
    "wrong shape": returns(lambda self, dx, dy, x: dx.sum(axis=0)),
    "not finite": returns(lambda self, dx, dy, x: np.where(np.arange(dx.size).reshape(dx.shape), dx, np.nan)),
    "wrong axis": adds(lambda self, parameter, g: g[::-1]),
    "one of many": adds(lambda self, parameter, g: np.where(np.arange(g.size).reshape(g.shape) == 3, 1.001 * g, g)),
    "writes to x": WritesToInput,
    "writes to weight": WritesToWeight,
    "hides its cache": HidesItsCache,
    "consumes its cache": ConsumesItsCache,
    "second backward differs": SecondBackwardDiffers,
    "random forward": RandomForward,
    "other parameter pass": OtherParameterPass,
}


def wrong(layer_class, backward):
    """Return a subclass of `layer_class` with another backward(self, dy, cache)."""
    return type(f"Wrong{layer_class.__name__}", (layer_class,), {"backward": backward})
