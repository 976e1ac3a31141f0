"""Time a training step of one small net: allconv, MyGrad and PyTorch on the same machine, in turn.

    pip install mygrad torch==2.13.0
    python benchmarks/peers_step.py

The net: convolution 3x3 with 32 maps, ReLU, max pool 2x2, convolution 3x3 with 64 maps, ReLU, max pool 2x2, fully
connected to 10 scores, softmax cross-entropy; 32x32x3 images in batches of 50, float32, plain gradient steps. The
printed loss shows that all three compute the same.
"""

import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np

import allconv as ac

BATCH, RATE, RUNS = 50, 0.01, 9


def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"w1": (3, 3, 3, 32), "w2": (3, 3, 32, 64), "w3": (8 * 8 * 64, 10)}
    arrays = {k: (rng.standard_normal(s) / np.sqrt(np.prod(s[:-1]))).astype(np.float32) for k, s in shapes.items()}
    arrays["x"] = rng.standard_normal((BATCH, 32, 32, 3)).astype(np.float32)
    arrays["labels"] = rng.integers(0, 10, BATCH)
    return arrays


def ours(a: dict[str, np.ndarray]) -> Callable[[], float]:
    model = ac.Sequential(
        ac.Conv2D(3, 32, 3, bias=False, initializer=lambda *_: a["w1"]),
        ac.ReLU(),
        ac.MaxPool2D(2),
        ac.Conv2D(32, 64, 3, bias=False, initializer=lambda *_: a["w2"]),
        ac.ReLU(),
        ac.MaxPool2D(2),
        ac.Flatten(),
        ac.Linear(8 * 8 * 64, 10, bias=False, initializer=lambda *_: a["w3"]),
    )
    loss, optimizer = ac.SoftmaxCrossEntropy(), ac.SGD(model.parameters(), RATE)

    def step() -> float:
        scores, cache = model.forward(a["x"], training=True)
        value, dscores = loss(scores, a["labels"])
        model.backward_parameters(dscores, cache, release=True)
        optimizer.step()
        return value

    return step


def oihw(w: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(w.transpose(3, 2, 0, 1))


def nchw_rows(w: np.ndarray) -> np.ndarray:
    """Reorder the rows of the fully connected weight for flattened NCHW maps."""
    return np.ascontiguousarray(w.reshape(8, 8, 64, 10).transpose(2, 0, 1, 3).reshape(-1, 10))


def mygrad(a: dict[str, np.ndarray]) -> Callable[[], float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mygrad as mg
        from mygrad.nnet.activations import relu
        from mygrad.nnet.layers import conv_nd, max_pool
        from mygrad.nnet.losses import softmax_crossentropy

    x = np.ascontiguousarray(a["x"].transpose(0, 3, 1, 2))
    weights = [mg.tensor(oihw(a["w1"])), mg.tensor(oihw(a["w2"])), mg.tensor(nchw_rows(a["w3"]))]

    def step() -> float:
        h = max_pool(relu(conv_nd(x, weights[0], stride=1, padding=1)), (2, 2), 2)
        h = max_pool(relu(conv_nd(h, weights[1], stride=1, padding=1)), (2, 2), 2)
        value = softmax_crossentropy(mg.matmul(h.reshape(BATCH, -1), weights[2]), a["labels"])
        value.backward()
        for w in weights:
            w.data -= RATE * w.grad
        result = float(value.item())
        value.null_grad()
        return result

    return step


def pytorch(a: dict[str, np.ndarray], memory_format: str) -> Callable[[], float]:
    import torch
    from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code uses

    torch.set_num_threads(ac.get_num_threads())
    layout = getattr(torch, memory_format)
    x = torch.tensor(a["x"].transpose(0, 3, 1, 2).copy()).contiguous(memory_format=layout)
    labels = torch.tensor(a["labels"])
    w1, w2 = (torch.tensor(oihw(a[k])).contiguous(memory_format=layout).requires_grad_() for k in ("w1", "w2"))
    w3 = torch.tensor(nchw_rows(a["w3"])).requires_grad_()
    optimizer = torch.optim.SGD([w1, w2, w3], lr=RATE)

    def step() -> float:
        h = F.max_pool2d(F.relu(F.conv2d(x, w1, padding=1)), 2)
        h = F.max_pool2d(F.relu(F.conv2d(h, w2, padding=1)), 2)
        value = F.cross_entropy(h.flatten(1) @ w3, labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return float(value.item())

    return step


def main() -> None:
    """Print the medians and the ratios to ours."""
    arrays = data()
    steps = {
        "allconv": ours(arrays),
        "MyGrad": mygrad(arrays),
        "PyTorch": pytorch(arrays, "contiguous_format"),
        "PyTorch channels_last": pytorch(arrays, "channels_last"),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    values: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(RUNS + 2):
        for name, step in steps.items():
            started = time.perf_counter()
            values[name].append(step())
            times[name].append(time.perf_counter() - started)
    print(f"{ac.get_num_threads()} threads, median of {RUNS} steps after 2, in turn")
    ours_median = statistics.median(times["allconv"][2:])
    for name in steps:
        median = statistics.median(times[name][2:])
        print(
            f"{name:22} {1e3 * median:8.1f} ms   {median / ours_median:6.2f} times ours   "
            f"loss at first {values[name][0]:.5f}, at last {values[name][-1]:.5f}"
        )


if __name__ == "__main__":
    main()
