"""The first steps of a training by the article's protocol, for studies that compare how trainings begin."""

import statistics

import numpy as np
from tqdm import tqdm

import allconv as ac

TEST_IMAGES = 2000


def short_run(
    model: ac.Layer, optimizer: ac.Optimizer, train: ac.data.Dataset, test: ac.data.Dataset, *, steps: int, seed: int
) -> tuple[float, float]:
    """Train for `steps` steps of an epoch, and return the accuracy in training and on test images.

    The accuracy in training is the mean over all steps, each measured before its update. A single update moves the
    accuracy on the test images a lot. The second value is therefore the mean over every tenth of the last fifth of the
    steps, each on the first 2,000 test images.
    """
    augment = ac.data.KeepOriginals(ac.data.article_augment())
    loader = ac.data.Loader(train, 25, augment=augment, normalize=ac.data.per_step, seed=seed)
    images = ac.data.Standardize.fit(test.images, per="pixel")(test.images[:TEST_IMAGES])
    labels = test.labels[:TEST_IMAGES]
    tested = []
    training = ac.train(model, ac.SoftmaxCrossEntropy(), optimizer, loader, epochs=1, report_every=1)
    for record in tqdm(training, total=steps, leave=False):
        if record.step > 0.8 * steps and record.step % 10 == 0:
            tested.append(float(np.mean(ac.predict(model, images).argmax(axis=1) == labels)))
        if record.step == steps:
            break
    assert record.accuracy is not None
    return record.accuracy, statistics.fmean(tested)
