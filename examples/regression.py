"""Fit a curve to noisy points by a perceptron with two hidden layers, and draw it to regression.png.

Some points lie far off. The squared error lets them pull the curve, and Huber's loss hardly does.
Needs matplotlib: pip install 'allconv[plot]'
"""

import matplotlib as mpl
import numpy as np

mpl.use("Agg")  # a file, no window
import matplotlib.pyplot as plt

import allconv as ac
from allconv.typing import Array


def curve(x: Array) -> Array:
    """Return what the points scatter about."""
    y: Array = np.sin(3 * x) + 0.5 * x
    return y


rng = np.random.default_rng(0)
x = rng.uniform(-2, 2, (300, 1))  # 300 inputs with one feature each
y = curve(x) + rng.normal(scale=0.15, size=x.shape)
y[::12] += 3  # the outliers
train_set, test_set = ac.data.split(ac.data.Dataset(x, y), (0.8, 0.2), seed=0)

line = np.linspace(-2, 2, 400)[:, None]
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.plot(x, y, ".", color="0.6", label="points, some of them far off")
axes.plot(line, curve(line), "--", color="0.3", label="the curve without noise")
for loss in (ac.MeanSquaredError(), ac.Huber(delta=0.2)):
    rng = np.random.default_rng(1)
    model = ac.Sequential(
        ac.Linear(1, 32, rng=rng), ac.Tanh(), ac.Linear(32, 32, rng=rng), ac.Tanh(), ac.Linear(32, 1, rng=rng)
    )
    optimizer, schedule = ac.Adam(model.parameters()), ac.schedules.cosine(1e-2, epochs=200)
    for record in ac.train(model, loss, optimizer, train_set, epochs=200, validation=test_set, schedule=schedule):
        if record.epoch % 50 == 49:
            print(record)
    fitted = ac.predict(model, line)
    print(f"{loss}: mean distance from the curve {np.abs(fitted - curve(line)).mean():.3f}")
    axes.plot(line, fitted, label=repr(loss))
axes.set(xlabel="x", ylabel="y")
figure.legend(loc="outside upper center", ncols=2)
figure.savefig("regression.png", dpi=120)
