"""Recognize handwritten digits, 8x8 pixels each, in a few seconds and without a download.

Needs scikit-learn, which brings the digits: pip install 'allconv[sklearn]'
"""

import numpy as np
from sklearn.datasets import load_digits

import allconv as ac

pixels, labels = load_digits(return_X_y=True)  # (1797, 64), grey levels 0..16
images = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)  # (N, H, W, C)
train_set, test_set = ac.data.split(ac.data.Dataset(images, labels), (0.75, 0.25), seed=0, stratify=True)

rng = np.random.default_rng(0)
model = ac.Sequential(
    ac.Conv2D(1, 16, 3, rng=rng),
    ac.ReLU(),
    ac.Conv2D(16, 32, 3, rng=rng),
    ac.ReLU(),
    ac.MaxPool2D(2),
    ac.Flatten(),
    ac.Dropout(0.3, rng=rng),
    ac.Linear(512, 10, rng=rng),
)
print(model.summary((8, 8, 1)))

loss, optimizer, schedule = ac.SoftmaxCrossEntropy(), ac.Adam(model.parameters()), ac.schedules.cosine(5e-3, epochs=12)
for record in ac.train(model, loss, optimizer, train_set, batch_size=64, epochs=12, schedule=schedule):
    print(record)

scores = ac.predict(model, test_set.inputs)
right = scores.argmax(axis=1) == test_set.targets
for digit, row in zip(test_set.targets[~right], scores[~right], strict=True):
    print(f"a {digit} was taken for a {row.argmax()}")
print(f"test accuracy {right.mean():.4f}")
