"""Trajectories of many steps, of ours and of its peers, from the same start and the same kind of gradient."""

import numpy as np

from allconv.parameter import Parameter

SHAPES = [(3, 3, 2, 4), (4,), (5, 3)]


def start(seed=0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def gradient(w, t):
    """Of a bumpy bowl that moves with the step: depends on the weights, changes sign, has 10^4 different sizes."""
    scale = 10.0 ** (np.arange(w.size) % 5 - 2).reshape(w.shape)
    return scale * (np.sin(3 * w + 0.7 * t) + 0.5 * w) * (5 if t % 7 == 0 else 1)


def ours(make, steps, dtype=np.float64, shapes=SHAPES):
    """Return the weights after each of the numbers of steps in `steps`, of the optimizer ``make(parameters)``."""
    parameters = [Parameter(w.astype(dtype)) for w in start(shapes=shapes)]
    optimizer = make(parameters)
    kept = []
    for t in range(1, max(steps) + 1):
        for parameter in parameters:
            parameter.add_grad(gradient(parameter.value, t).astype(dtype))
        optimizer.step()
        if t in steps:
            kept.append([parameter.value.copy() for parameter in parameters])
    return kept


def pytorchs(make, steps):
    """Return the same for the PyTorch optimizer ``make(torch, tensors)``."""
    import torch

    tensors = [torch.nn.Parameter(torch.from_numpy(w)) for w in start()]
    optimizer = make(torch.optim, tensors)
    kept = []
    for t in range(1, max(steps) + 1):
        for tensor in tensors:
            tensor.grad = torch.from_numpy(gradient(tensor.detach().numpy(), t))
        optimizer.step()
        if t in steps:
            kept.append([tensor.detach().numpy().copy() for tensor in tensors])
    return kept


def assert_close(ours, theirs, tolerance=1e-9):
    for mine, other in zip(ours, theirs, strict=True):
        for a, b in zip(mine, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def one_weight(make, w, gradients):
    """Return the weight after one step for each of `gradients`, as `scalar_reference` computes it."""
    parameter = Parameter(np.array([w]))
    optimizer = make([parameter])
    for g in gradients:
        parameter.add_grad(np.array([g]))
        optimizer.step()
    return parameter.value[0]
