"""Train a small network on drawn shapes, offline, in under a minute."""

import numpy as np

import allconv as ac

train_set, test_set = ac.data.shapes(2000, seed=0), ac.data.shapes(500, seed=1)
normalize = ac.data.Standardize.fit(train_set.images)
train_loader = ac.data.Loader(train_set, 50, normalize=normalize)
test_loader = ac.data.Loader(test_set, 50, shuffle=False, normalize=normalize)

rng = np.random.default_rng(0)
model = ac.Sequential(
    ac.Conv2D(3, 16, 3, stride=2, rng=rng),
    ac.ReLU(),
    ac.Conv2D(16, 32, 3, stride=2, rng=rng),
    ac.ReLU(),
    ac.Conv2D(32, 64, 3, stride=2, rng=rng),
    ac.ReLU(),
    ac.Conv2D(64, 10, 1, rng=rng),
    ac.GlobalAveragePool2D(),
)
print(model.summary((32, 32, 3)))

loss = ac.SoftmaxCrossEntropy()
optimizer = ac.Adam(model.parameters(), learning_rate=3e-3)
for record in ac.train(model, loss, optimizer, train_loader, epochs=8):
    test = ac.evaluate(model, loss, test_loader)
    print(f"epoch {record.epoch}  train accuracy {record.accuracy:.3f}  test accuracy {test.accuracy:.3f}")
