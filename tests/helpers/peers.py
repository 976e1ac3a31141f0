"""PyTorch, Keras, optax and TensorFlow 1 behind one interface, as packages and as documented, for `test_matching.py`.

A peer evaluates the cells of docs/howto/matching.md, which are expressions. `layer(cell, layout, shape, sizes)` makes a
layer for an input of that shape: `weights()` are its arrays, of the `sizes`, in the layout and under the names of ours;
`run(x, dy, training)` returns y, dx and the gradients of the weights. `loss(cell, **arrays)` returns value and
gradient, `trajectory(cell, steps)` the weights after each of these steps, `sample(cell)` draws of a weight
(3, 3, 24, 48), or their law.
"""

import functools
import inspect
import os
import tempfile
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import documented_peers
from helpers.trajectories import gradient, pytorchs, start

NAMES = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
NAMES |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
SHAPE = (3, 3, 24, 48)


def lay_out(w, layout):
    """Return a weight `w` of theirs in our layout: the expression `layout` is the page's."""
    return eval(layout, {"w": w}) if layout and w.ndim > 1 else w


class PyTorch:
    def __init__(self):
        self.torch = pytest.importorskip("torch")
        self.torch.manual_seed(0)
        self.torch.set_num_threads(1)

    def evaluate(self, cell, **more):
        nn = self.torch.nn
        return eval(cell, {"nn": nn, "optim": self.torch.optim, "F": nn.functional, "tensor": self.tensor} | more)

    def tensor(self, array):
        return self.torch.tensor(np.ascontiguousarray(array))

    def layer(self, cell, layout, shape, sizes):
        module = self.evaluate(cell).double()
        with self.torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_()

        def named(of):
            pairs = ((name.rpartition(".")[2], of(value)) for name, value in module.named_parameters())
            return {name: lay_out(value.detach().numpy().copy(), layout) for name, value in pairs}

        def weights():
            statistics = {n: b.numpy().copy() for n, b in module.named_buffers() if n.startswith("running")}
            return named(lambda p: p) | statistics

        def run(x, dy, training):
            axes, back = ((0, 3, 1, 2), (0, 2, 3, 1)) if x.ndim == 4 else ((0, 1), (0, 1))
            module.train(training).zero_grad()
            tensor = self.tensor(x.transpose(axes)).requires_grad_()
            y = module(tensor)
            y.backward(self.tensor(dy.transpose(axes)))
            return y.detach().numpy().transpose(back), tensor.grad.numpy().transpose(back), named(lambda p: p.grad)

        return SimpleNamespace(weights=weights, run=run)

    def loss(self, cell, scores, **targets):
        scores = self.tensor(scores).requires_grad_()
        value = self.evaluate(cell, scores=scores, **{name: self.tensor(a) for name, a in targets.items()})
        value.backward()
        return value.item(), scores.grad.numpy()

    def trajectory(self, cell, steps):
        return pytorchs(lambda optim, p: self.evaluate(cell, p=p), steps)

    def sample(self, cell):
        w = self.torch.empty(48, 24, 3, 3, dtype=self.torch.float64)
        return self.evaluate(cell, w=w).detach().numpy().transpose(2, 3, 1, 0)


class Jax:
    """What Keras' and optax' peers share: JAX in float64, on the processor.

    Keras runs on JAX here: on PyTorch its mean pooling repeats the border in place of leaving it out (3.15.1).
    """

    def __init__(self, package):
        os.environ |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "KERAS_HOME": tempfile.gettempdir()}
        self.jax = pytest.importorskip("jax")
        self.jax.config.update("jax_enable_x64", True)
        self.package = pytest.importorskip(package)

    def loss(self, cell, scores, **targets):
        value, dscores = self.jax.value_and_grad(lambda s: self.evaluate(cell, scores=s, **targets))(scores)
        return float(value), np.asarray(dscores)


class Keras(Jax):
    def __init__(self):
        super().__init__("keras")
        if self.package.backend.backend() != "jax":
            pytest.skip("Keras runs on another backend in this process already")
        self.package.config.set_floatx("float64")
        # Off TensorFlow, Keras rounds means and the like to float32, since JAX would by default.
        import_module("keras.src.backend.common.dtypes").BIT64_TO_BIT32_DTYPE["float64"] = "float64"
        self.package.utils.set_random_seed(0)

    def evaluate(self, cell, **more):
        names = ("layers", "losses", "optimizers", "initializers")
        return eval(cell, {name: getattr(self.package, name) for name in names} | more)

    def layer(self, cell, layout, shape, sizes):
        layer = self.evaluate(cell)
        layer.build(shape)
        rng = np.random.default_rng(0)
        for variable in layer.trainable_variables:
            variable.assign(rng.normal(size=variable.shape))
        states = layer.non_trainable_variables

        def named(arrays):
            variables = zip(layer.trainable_variables, arrays, strict=True)
            return {NAMES.get(v.name, v.name): lay_out(np.asarray(a), layout) for v, a in variables}

        def weights():
            statistics = {NAMES[v.name]: np.asarray(v.value) for v in states if v.name in NAMES}
            return named([v.value for v in layer.trainable_variables]) | statistics

        def run(x, dy, training):
            mode = {"training": training} if states else {}
            state = [v.value for v in states]

            def forward(trainable, x):
                return layer.stateless_call(trainable, state, x, **mode)

            trainable = [v.value for v in layer.trainable_variables]
            y, pull_back, state = self.jax.vjp(forward, trainable, self.jax.numpy.asarray(x), has_aux=True)
            for variable, value in zip(states, state, strict=True):
                variable.assign(value)
            gradients, dx = pull_back(self.jax.numpy.asarray(dy))
            return np.asarray(y), np.asarray(dx), named(gradients)

        return SimpleNamespace(weights=weights, run=run)

    def trajectory(self, cell, steps):
        variables = [self.package.Variable(w) for w in start()]
        optimizer = self.evaluate(cell)
        kept = []
        for t in range(1, max(steps) + 1):
            optimizer.apply([gradient(np.asarray(v.value), t) for v in variables], variables)
            kept.append([np.array(v.value) for v in variables])
        return [kept[t - 1] for t in steps]

    def sample(self, cell):
        return np.asarray(self.evaluate(cell)(SHAPE))


class Optax(Jax):
    def __init__(self):
        super().__init__("optax")

    def evaluate(self, cell, **more):
        return eval(cell, {"optax": self.package} | more)

    def trajectory(self, cell, steps):
        weights = [self.jax.numpy.asarray(w) for w in start()]
        rule = self.evaluate(cell)
        state, kept = rule.init(weights), []
        for t in range(1, max(steps) + 1):
            updates, state = rule.update([gradient(np.asarray(w), t) for w in weights], state, weights)
            weights = self.package.apply_updates(weights, updates)
            kept.append([np.asarray(w) for w in weights])
        return [kept[t - 1] for t in steps]


class TensorFlow1:
    def __init__(self):
        self.tensorflow = pytest.importorskip("tensorflow")

    def evaluate(self, cell, **more):
        return eval(cell, {"tf": self.tensorflow.compat.v1} | more)

    def constants(self, kind, *numbers, **options):
        """Return an optimizer whose numbers are float64: as Python's they would be rounded to float32."""
        named = dict(zip(inspect.signature(kind).parameters, numbers, strict=False)) | options
        defaults = {n: p.default for n, p in inspect.signature(kind).parameters.items()} | named
        doubles = {n: self.tensorflow.constant(v, "float64") for n, v in defaults.items() if isinstance(v, float)}
        return kind(**(named | doubles))

    def layer(self, cell, layout, shape, sizes):
        w = np.random.default_rng(0).normal(size=sizes.get("weight", ()))

        def run(x, dy, training):
            tensors = [self.tensorflow.constant(x), self.tensorflow.constant(w)]
            with self.tensorflow.GradientTape() as tape:
                tape.watch(tensors)
                y = self.evaluate(cell, x=tensors[0], w=tensors[1])
            dx, dw = tape.gradient(y, tensors, output_gradients=self.tensorflow.constant(dy))
            return y.numpy(), dx.numpy(), {} if dw is None else {"weight": dw.numpy()}

        return SimpleNamespace(weights=lambda: {"weight": w} if sizes else {}, run=run)

    def loss(self, cell, scores, **targets):
        scores = self.tensorflow.constant(scores)
        with self.tensorflow.GradientTape() as tape:
            tape.watch(scores)
            value = self.evaluate(cell, scores=scores, **targets)
        return float(value), tape.gradient(value, scores).numpy()

    def trajectory(self, cell, steps):
        variables = [self.tensorflow.Variable(w) for w in start()]
        tf = self.tensorflow.compat.v1
        kinds = (tf.train.MomentumOptimizer, tf.train.AdamOptimizer)
        train = {kind.__name__: functools.partial(self.constants, kind) for kind in kinds}
        optimizer = eval(cell, {"tf": SimpleNamespace(train=SimpleNamespace(**train))})
        kept = []
        for t in range(1, max(steps) + 1):
            gradients = [self.tensorflow.constant(gradient(v.numpy(), t)) for v in variables]
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            kept.append([v.numpy() for v in variables])
        return [kept[t - 1] for t in steps]

    def sample(self, cell):
        return self.evaluate(cell, w=np.empty(SHAPE)).numpy()


def complex_step(function, arrays):
    """Return the derivatives of the analytic scalar ``function(*arrays)``: Im f(a + i h) / h, which rounds nothing."""
    gradients = [np.empty_like(a) for a in arrays]
    for number, a in enumerate(arrays):
        moved = [array.astype(complex) for array in arrays]
        for index in np.ndindex(a.shape):
            moved[number][index] = a[index] + 1e-30j
            gradients[number][index] = function(*moved).imag / 1e-30
            moved[number][index] = a[index]
    return gradients


class Documented:
    """The formulae of `documented_peers`."""

    def __init__(self, names):
        self.names = names

    def evaluate(self, cell, **more):
        return eval(cell, self.names | more)

    def layer(self, cell, layout, shape, sizes):
        rng = np.random.default_rng(0)
        weights = {name: rng.normal(size=size) for name, size in sizes.items()}
        layer = self.evaluate(cell) if "(x" not in cell else lambda x, weight=None: self.evaluate(cell, x=x, w=weight)

        def run(x, dy, training):
            mode = {"training": training} if hasattr(layer, "in_modes") else {}

            def forward(x, *values):
                return layer(x, **dict(zip(weights, values, strict=True)), **mode)

            arrays = [x, *weights.values()]
            y = forward(*arrays)
            dx, *gradients = complex_step(lambda *arrays: (forward(*arrays) * dy).sum(), arrays)
            if training and hasattr(layer, "update"):
                layer.update(x)
            return y, dx, dict(zip(weights, gradients, strict=True))

        statistics = ("running_mean", "running_var")
        return SimpleNamespace(
            weights=lambda: weights | {name: getattr(layer, name) for name in statistics if hasattr(layer, name)},
            run=run,
        )

    def loss(self, cell, scores, **targets):
        def value(scores):
            return self.evaluate(cell, scores=scores, **targets)

        return float(value(scores)), complex_step(value, [scores])[0]

    def trajectory(self, cell, steps):
        weights, step = start(), self.evaluate(cell)
        states, kept = [{} for _ in weights], []
        for t in range(1, max(steps) + 1):
            weights = [step(w, gradient(w, t), t, s) for w, s in zip(weights, states, strict=True)]
            kept.append(weights)
        return [kept[t - 1] for t in steps]

    def sample(self, cell):
        return self.evaluate(cell, w=np.empty(SHAPE))


PEERS = {
    "PyTorch": {"package": PyTorch},
    "Keras": {"package": Keras, "documentation": lambda: Documented(documented_peers.keras)},
    "optax": {"package": Optax, "documentation": lambda: Documented(documented_peers.optax)},
    "TensorFlow 1": {"package": TensorFlow1, "documentation": lambda: Documented(documented_peers.tensorflow_1)},
    "the article": {"documentation": lambda: Documented(documented_peers.article)},
}
