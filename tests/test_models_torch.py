"""The networks against PyTorch: scores and all gradients, in float64."""

import numpy as np
import pytest

import allconv as ac

torch = pytest.importorskip("torch")
F = torch.nn.functional

TOLERANCE = {"rtol": 1e-9, "atol": 1e-11}


def to_torch(value):
    """Return an array, images as NCHW and a convolution's weights as OIHW, as a tensor that wants its gradient."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(value.ndim, (0,))
    return torch.tensor(value.transpose(axes).copy(), requires_grad=True)


def to_numpy(tensor):
    """Undo `to_torch`."""
    return tensor.detach().numpy().transpose({4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.ndim, (0,)))


def images(shape):
    x = np.random.default_rng(1).standard_normal(shape)
    return x, torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)


def same(x, kernel, stride, value=0.0):
    """Pad as TensorFlow does: an odd row and column at the bottom and right."""
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


def assert_agree(model, forward, shape, *, training=False):
    """Compare scores, dL/dx and every parameter's gradient with those of ``forward(x, parameters)`` in PyTorch."""
    x, tx = images(shape)
    parameters = {path: to_torch(p.value) for path, p in model.named_parameters()}
    expected = forward(tx, parameters)
    scores, cache = model.forward(x, training=training)
    np.testing.assert_allclose(scores, expected.detach().numpy(), **TOLERANCE)
    dy = np.random.default_rng(2).standard_normal(scores.shape)
    expected.backward(torch.tensor(dy))
    dx = model.backward(dy, cache)
    np.testing.assert_allclose(dx, tx.grad.numpy().transpose(0, 2, 3, 1), **TOLERANCE)
    trained = 0
    for path, p in model.named_parameters():
        if p.trainable:
            trained += 1
            np.testing.assert_allclose(p.grad, to_numpy(parameters[path].grad), err_msg=path, **TOLERANCE)
    assert trained == sum(tensor.grad is not None for tensor in parameters.values())


@pytest.mark.parametrize("pool", ["max", "mean"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_lenet(activation, pool):
    model = ac.models.lenet(activation=activation, pool=pool, dtype=np.float64, rng=np.random.default_rng(0))
    activate, pool2d = getattr(torch, activation), {"max": F.max_pool2d, "mean": F.avg_pool2d}[pool]

    def forward(x, p):
        x = pool2d(activate(F.conv2d(x, p["0.weight"], p["0.bias"], padding=2)), 2)
        x = pool2d(activate(F.conv2d(x, p["3.weight"], p["3.bias"])), 2)
        x = x.permute(0, 2, 3, 1).flatten(1)
        for k in (7, 9):
            x = activate(F.linear(x, p[f"{k}.weight"], p[f"{k}.bias"]))
        return F.linear(x, p["11.weight"], p["11.bias"])

    assert_agree(model, forward, (3, 28, 28, 1))


@pytest.mark.parametrize("option", ["A", "B"])
@pytest.mark.parametrize("training", [False, True])
def test_resnet20(training, option):
    model = ac.models.resnet20(option, dtype=np.float64, rng=np.random.default_rng(0))
    rng = np.random.default_rng(3)
    for path, p in model.named_parameters():
        if path.endswith(("running_mean", "running_var", ".bias")):
            p.value = rng.uniform(0.5, 1.5, p.value.shape)
    running = {}

    def forward(x, parameters):
        names = iter(parameters)

        def conv(x, stride=1):
            weight, scale, bias, mean, var = (next(names) for _ in range(5))
            x = F.conv2d(x, parameters[weight], stride=stride, padding=parameters[weight].shape[2] // 2)
            statistics = [running.setdefault(name, parameters[name].detach().clone()) for name in (mean, var)]
            return F.batch_norm(x, *statistics, parameters[scale], parameters[bias], training, momentum=0.1, eps=1e-5)

        x = conv(x).relu()
        for block in range(9):
            stride = 2 if block in (3, 6) else 1
            f, g = conv(conv(x, stride).relu()), x
            if stride == 2 and option == "A":
                g = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, x.shape[1]))  # as many channels again, of zeros
            elif stride == 2:
                g = conv(x, stride)
            x = (f + g).relu()
        weight, bias = names
        return F.linear(x.mean(dim=(2, 3)), parameters[weight], parameters[bias])

    assert_agree(model, forward, (3, 12, 13, 3), training=training)
    after = dict(model.named_parameters())
    for path, value in running.items():
        np.testing.assert_allclose(after[path].value, value.numpy(), **TOLERANCE)
