"""How hard are the drawn shapes? Accuracy of a logistic regression on their pixels, and of the article's All-CNN.

    python benchmarks/shapes_learning.py

5,000 training and 1,000 test images. Wanted: the regression under 60 %, the All-CNN at 90 % within 5 minutes on two
cores.
"""

import time

import numpy as np

import allconv as ac

TARGET, LIMIT_SECONDS = 0.9, 300.0


def logistic_regression(train: ac.data.Dataset, test: ac.data.Dataset) -> tuple[float, float]:
    """Return the test accuracy after the last epoch and the best of all epochs, of a regression with momentum."""
    model = ac.Sequential(ac.Flatten(), ac.Linear(32 * 32 * 3, 10, rng=np.random.default_rng(0)))
    normalize = ac.data.Standardize.fit(train.images, per="pixel")
    loss, epochs = ac.SoftmaxCrossEntropy(), 60
    optimizer = ac.SGD(model.parameters(), 1e-3, momentum=0.9, weight_decay=1e-3)
    loader = ac.data.Loader(train, 100, normalize=normalize, seed=0)
    test_loader = ac.data.Loader(test, 1000, shuffle=False, normalize=normalize)
    training = ac.train(model, loss, optimizer, loader, epochs=epochs, schedule=ac.schedules.cosine(1e-3, epochs))
    accuracies = [ac.evaluate(model, loss, test_loader).accuracy or 0.0 for _ in training]
    return accuracies[-1], max(accuracies)


def all_cnn(train: ac.data.Dataset, test: ac.data.Dataset) -> None:
    """Train the article's All-CNN until the target or the limit, and print the way there."""
    model = ac.models.article_net("allcnn", rng=np.random.default_rng(678))
    optimizer = ac.AMSGrad(model.parameters(), 3e-4, betas=(0.9, 0.9), bias_correction="none", maximum="tensor")
    loss = ac.SoftmaxCrossEntropy()
    loader = ac.data.Loader(train, 50, normalize=ac.data.per_step, seed=678)
    test_loader = ac.data.Loader(test, 50, shuffle=False, normalize=ac.data.Standardize.fit(test.images, per="pixel"))
    spent = 0.0
    for record in ac.train(model, loss, optimizer, loader, epochs=20, report_every=50):
        if record.step % 100 and not record.epoch_ended:
            continue
        accuracy = ac.evaluate(model, loss, test_loader).accuracy or 0.0
        done = record.epoch * len(loader) + record.step
        spent = time.perf_counter() - STARTED
        print(f"All-CNN, step {done}: test accuracy {accuracy:.3f} after {spent:.0f} s", flush=True)
        if accuracy >= TARGET or spent > LIMIT_SECONDS:
            return


STARTED = time.perf_counter()
if __name__ == "__main__":
    train_set, test_set = ac.data.shapes(5000, seed=0), ac.data.shapes(1000, seed=1)
    last, best = logistic_regression(train_set, test_set)
    print(f"logistic regression on pixels: test accuracy {last:.3f} at the end, {best:.3f} at best", flush=True)
    STARTED = time.perf_counter()
    all_cnn(train_set, test_set)
