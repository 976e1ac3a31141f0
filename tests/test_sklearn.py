"""The estimators keep scikit-learn's interface, and train as the library's own `train` does."""

import pickle
from typing import ClassVar

import numpy as np
import pytest
from helpers.programs import python

import allconv as ac

pytest.importorskip("sklearn")

import joblib
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from allconv.parallel.workers import Workers
from allconv.sklearn import ConvNetClassifier, ConvNetRegressor
from allconv.sklearn.nets import small_convnet

X = np.random.default_rng(0).uniform(-1, 1, (120, 2))
CROSS = (X[:, 0] * X[:, 1] > 0).astype(int)  # no line divides these two classes
PIXELS, DIGITS = (array[:200] for array in load_digits(return_X_y=True))


def net(input_shape, outputs, rng):
    """Return a network with state beside its weights: running statistics and a generator."""
    layers = ac.Linear(*input_shape, 16, rng=rng), ac.BatchNorm(16), ac.ReLU(), ac.Dropout(0.2, rng=rng)
    return ac.Sequential(*layers, ac.Linear(16, outputs, rng=rng))


def assert_same_bits(estimator, other):
    for parameter, expected in zip(estimator.model_.parameters(), other.model_.parameters(), strict=True):
        np.testing.assert_array_equal(parameter.value, expected.value)


CHECKS = """
import sys
import allconv.sklearn
from sklearn.utils.estimator_checks import check_estimator

results = check_estimator(getattr(allconv.sklearn, sys.argv[1])(), on_skip=None, on_fail=None)
print(len(results))
for result in results:
    if result["status"] != "passed":
        print(result["check_name"], result["status"], result["exception"], sep="|")
"""


@pytest.mark.scripts
@pytest.mark.parametrize("name", ["ConvNetClassifier", "ConvNetRegressor"])
def test_all_checks_of_scikit_learn_pass(name):
    # SciPy reads the variable when it is imported, and the checks of the array API need it.
    count, *others = python(CHECKS, name, SCIPY_ARRAY_API="1").splitlines()
    assert int(count) >= 55
    # scikit-learn itself leaves out two of its checks where pandas is not installed.
    assert [line for line in others if "|skipped|pandas is not installed" not in line] == []


# What is trained


def test_fit_is_the_library_s_own_training():
    classifier = ConvNetClassifier(net, epochs=3, batch_size=32, random_state=4).fit(X, CROSS)
    seed = classifier._seed
    model = net((2,), 2, np.random.default_rng(seed))
    optimizer, schedule = ac.AdamW(model.parameters(), weight_decay=0.0), ac.schedules.cosine(0.01, 3)
    options = {"epochs": 3, "batch_size": 32, "seed": seed, "schedule": schedule}
    records = [*ac.train(model, ac.SoftmaxCrossEntropy(), optimizer, (X, CROSS), **options)]
    assert classifier.loss_curve_ == [record.loss for record in records]
    assert classifier.n_iter_ == 3
    scores = ac.predict(model, X)
    np.testing.assert_array_equal(classifier.predict(X), scores.argmax(axis=1))
    np.testing.assert_allclose(classifier.predict_proba(X), ac.Softmax()(scores), rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 3), (5, 3, 1), (8, 8, 1), (32, 20, 3)])
def test_the_network_for_images_takes_all_sizes(shape):
    model = small_convnet(shape, 7, 4, np.random.default_rng(0))
    assert model(np.ones((2, *shape), np.float32)).shape == (2, 7)
    assert max(p.value.shape[-1] for p in model.parameters()) <= 16


def test_rows_with_an_image_shape_are_the_images():
    images = (16 * PIXELS.reshape(-1, 8, 8, 1)[:100] - 1).clip(0).astype(np.uint8)
    options = {"epochs": 2, "width": 4, "random_state": 0}
    by_rows = ConvNetClassifier(image_shape=(8, 8, 1), **options).fit(images.reshape(100, 64), DIGITS[:100])
    assert (by_rows.input_shape_, by_rows.n_features_in_) == ((8, 8, 1), 64)
    for other in (images, (images / 255).astype(np.float32), images / 255):
        assert_same_bits(by_rows, ConvNetClassifier(**options).fit(other, DIGITS[:100]))
        np.testing.assert_array_equal(by_rows.predict(other), by_rows.predict(images.reshape(100, 64)))
    with pytest.raises(ValueError, match=r"X must hold examples of shape \(8, 8, 1\), got an array of shape \(3, 4"):
        by_rows.predict(np.ones((3, 4, 16, 1)))
    with pytest.raises(
        ValueError, match=r"images \(N, H, W, C\), got .* grey images need an axis .* X\[\.\.\., None\]"
    ):
        by_rows.predict(images[..., 0])


def test_a_perceptron_computes_in_the_dtype_of_its_features():
    for dtype in (np.float32, np.float64):
        regressor = ConvNetRegressor(epochs=1).fit(X.astype(dtype), CROSS)
        assert regressor.predict(X.astype(dtype)).dtype == dtype


def test_a_regression_of_several_numbers():
    Y = np.stack([np.sin(3 * X[:, 0]), X[:, 0] * X[:, 1]], axis=1)
    regressor = ConvNetRegressor(random_state=0, epochs=200).fit(X, Y)
    assert regressor.predict(X).shape == Y.shape
    assert regressor.score(X, Y) > 0.95


# Weights


def test_class_weights_are_weights_of_the_examples():
    few = CROSS * (np.arange(120) % 3 == 0)
    options = {"epochs": 4, "random_state": 0}
    by_class = ConvNetClassifier(class_weight={1: 3.0}, **options).fit(X, few)
    assert_same_bits(by_class, ConvNetClassifier(**options).fit(X, few, sample_weight=np.where(few, 3.0, 1.0)))
    both = ConvNetClassifier(class_weight={1: 3.0}, **options).fit(X, few, sample_weight=np.linspace(1, 2, 120))
    product = np.where(few, 3.0, 1.0) * np.linspace(1, 2, 120)
    assert_same_bits(both, ConvNetClassifier(**options).fit(X, few, sample_weight=product))
    shares = {0: 120 / (2 * (120 - few.sum())), 1: 120 / (2 * few.sum())}
    balanced = ConvNetClassifier(class_weight="balanced", **options).fit(X, few)
    assert_same_bits(balanced, ConvNetClassifier(class_weight=shares, **options).fit(X, few))


def test_examples_of_weight_zero_are_left_out():
    kept = np.arange(120) < 70
    options = {"epochs": 3, "batch_size": 8, "random_state": 0}
    weighted = ConvNetRegressor(**options).fit(X, CROSS, sample_weight=kept)
    other = ConvNetRegressor(**options).fit(X[kept], CROSS[kept], sample_weight=np.ones(70))
    assert_same_bits(weighted, other)


# Early stopping


def test_early_stopping_goes_back_to_the_best_epoch():
    noise = np.random.default_rng(1).integers(0, 2, 120)
    options = {"epochs": 60, "random_state": 0, "validation_fraction": 0.25}
    classifier = ConvNetClassifier(net, early_stopping=True, n_iter_no_change=5, **options).fit(X, noise)
    curve = classifier.validation_loss_curve_
    assert len(curve) == len(classifier.loss_curve_) == classifier.n_iter_ < 60
    assert classifier.best_iteration_ == np.argmin(curve) + 1 == classifier.n_iter_ - 5
    data = ac.data.Dataset(X, noise)
    _, held_out = ac.data.split(data, (0.75, 0.25), seed=classifier._seed, stratify=True)
    assert ac.evaluate(classifier.model_, ac.SoftmaxCrossEntropy(), held_out).loss == pytest.approx(min(curve))

    whole = ConvNetClassifier(net, **options).fit(X, noise)
    assert len(whole.validation_loss_curve_) == 60
    assert not hasattr(whole, "best_iteration_")


def test_early_stopping_holds_a_tenth_out_by_itself():
    options = {"early_stopping": True, "epochs": 3, "random_state": 0}
    stopped = ConvNetRegressor(**options).fit(X, CROSS)
    assert_same_bits(stopped, ConvNetRegressor(validation_fraction=0.1, **options).fit(X, CROSS))


# More than one fit


def test_a_warm_start_trains_the_same_network_on():
    classifier = ConvNetClassifier(net, epochs=10, warm_start=True, random_state=0).fit(X, CROSS)
    model, curve = classifier.model_, list(classifier.loss_curve_)
    classifier.set_params(epochs=5).fit(X, CROSS)
    assert classifier.model_ is model
    assert classifier.n_iter_ == 15
    assert classifier.loss_curve_[:10] == curve
    assert classifier.loss_curve_[10] < curve[0]
    with pytest.raises(ValueError, match=r"y must hold classes of \[0, 1\] alone, got \[5\] too"):
        classifier.fit(X, 5 * CROSS)
    classifier.set_params(warm_start=False).fit(X, CROSS)
    assert classifier.model_ is not model
    assert classifier.n_iter_ == 5


def test_partial_fit_learns_from_parts():
    names = np.array(["differ", "same"])[CROSS]
    classifier = ConvNetClassifier(random_state=0)
    with pytest.raises(ValueError, match="classes must hold all classes in the first call of partial_fit, got None"):
        classifier.partial_fit(X, names)
    classifier.partial_fit(X[names == "same"], names[names == "same"], classes=["same", "differ"])
    for _ in range(60):
        for part in (slice(60), slice(60, 120)):
            classifier.partial_fit(X[part], names[part])
    assert classifier.score(X, names) > 0.95
    assert classifier.n_iter_ == 121
    with pytest.raises(ValueError, match=r"classes must stay \['differ', 'same'\], as in the first call, got \['a'\]"):
        classifier.partial_fit(X[:1], ["a"], classes=["a"])
    with pytest.raises(ValueError, match="class_weight must be a dict or None in partial_fit"):
        classifier.set_params(class_weight="balanced").partial_fit(X, names)


class Noting(ac.Layer):
    """Note the first example of each batch that is trained on."""

    firsts: ClassVar[list[float]] = []

    def forward(self, x, *, training=False):
        if training:
            self.firsts.append(x[0, 0])
        return x, None

    def backward(self, dy, cache):
        return dy


def test_each_call_of_partial_fit_has_another_order():
    Noting.firsts.clear()
    regressor = ConvNetRegressor(lambda *_: ac.Sequential(Noting(), ac.Linear(2, 1)), batch_size=12, random_state=0)
    regressor.partial_fit(X, CROSS).partial_fit(X, CROSS)
    assert len(Noting.firsts) == 20
    assert Noting.firsts[:10] != Noting.firsts[10:]


def test_a_pickled_estimator_trains_on_with_the_same_bits():
    classifier = ConvNetClassifier(net, epochs=2, random_state=0).fit(X, CROSS)
    copy = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(copy.predict_proba(X), classifier.predict_proba(X))
    assert_same_bits(copy.partial_fit(X, CROSS), classifier.partial_fit(X, CROSS))


# A fit that fails


class Interrupted(ac.ReLU):
    def forward(self, x, *, training=False):
        raise KeyboardInterrupt


FAILURES = {
    "weights of another number": ({}, {"sample_weight": [1.0, 2.0]}, ValueError),
    "a network of other outputs": ({"model": lambda *_: ac.Linear(3, 7)}, {}, ValueError),
    "no example to hold out": ({"validation_fraction": 1e-9}, {}, ValueError),
    "a loss that is not finite": ({"learning_rate": 1e300, "epochs": 9}, {}, ValueError),
    "an interrupt": (
        {"model": lambda _, outputs, rng: ac.Sequential(ac.Linear(3, outputs), Interrupted())},
        {},
        KeyboardInterrupt,
    ),
}


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(("parameters", "options", "error"), FAILURES.values(), ids=FAILURES)
def test_a_failed_fit_leaves_an_estimator_as_it_was(parameters, options, error, warm):
    more, classes = np.hstack([X, X[:, :1]]), np.array(["a", "b", "c", "d", "e"])[np.arange(120) % 5]
    for estimator, y, other in [
        (ConvNetClassifier(epochs=2, random_state=0), CROSS, classes),
        (ConvNetRegressor(epochs=2, random_state=0), X, X[:, 0]),
    ]:
        fresh = clone(estimator).set_params(**parameters, warm_start=warm)
        before = vars(fresh).copy()
        with pytest.raises(error):
            fresh.fit(more, other, **options)
        assert vars(fresh) == before
        estimator.fit(X, y).set_params(**parameters)
        before, expected = vars(estimator).copy(), estimator.predict(X)
        with pytest.raises(error):
            estimator.fit(more, other, **options)
        assert vars(estimator) == before
        np.testing.assert_array_equal(estimator.predict(X), expected)


def test_a_failed_part_leaves_the_classes_of_the_first_call_open():
    classifier = ConvNetClassifier(random_state=0)
    with pytest.raises(ValueError, match="weights must have shape"):
        classifier.partial_fit(X, CROSS, classes=[0, 1, 2], sample_weight=[1.0])
    assert list(classifier.partial_fit(X, CROSS, classes=[0, 1]).classes_) == [0, 1]


def test_an_array_of_class_weights_is_refused():
    for fit, options in (("fit", {}), ("partial_fit", {"classes": [0, 1]})):
        with pytest.raises(TypeError, match="class_weight must be a dict, 'balanced' or None, got an array of shape"):
            getattr(ConvNetClassifier(class_weight=np.ones(2)), fit)(X, CROSS, **options)


# Among the tools of scikit-learn


def test_a_pipeline_is_searched_and_cloned():
    pipeline = make_pipeline(StandardScaler(), ConvNetClassifier(epochs=20, random_state=0))
    grid = {"convnetclassifier__learning_rate": [0.0, 0.02], "convnetclassifier__width": [2, 16]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(100 * X, CROSS)
    assert search.best_params_ == {"convnetclassifier__learning_rate": 0.02, "convnetclassifier__width": 16}
    assert search.score(100 * X, CROSS) > 0.9
    fresh = clone(search.best_estimator_)
    assert not hasattr(fresh[-1], "model_")
    assert_same_bits(fresh.fit(100 * X, CROSS)[-1], search.best_estimator_[-1])


@pytest.mark.scripts
def test_workers_give_the_same_scores():
    classifier = ConvNetClassifier(image_shape=(8, 8, 1), epochs=2, random_state=0)
    scores = [cross_val_score(classifier, PIXELS, DIGITS, cv=2, n_jobs=jobs) for jobs in (1, 2)]
    np.testing.assert_array_equal(*scores)


def test_a_worker_computes_in_one_thread(monkeypatch):
    handed_out, hand_out = [], Workers.hand_out
    monkeypatch.setattr(Workers, "hand_out", lambda *given: (handed_out.append(given), hand_out(*given)))
    ac.set_num_threads(2)
    images = np.random.default_rng(0).random((64, 32, 32, 3), np.float32)

    def fit_and_predict():
        return ConvNetClassifier(epochs=1, random_state=0).fit(images, np.arange(64) % 2).predict_proba(images)

    with joblib.parallel_config("threading", n_jobs=2):
        in_workers = joblib.Parallel()([joblib.delayed(fit_and_predict)() for _ in range(2)])
    assert not handed_out
    np.testing.assert_array_equal(fit_and_predict(), in_workers[0])
    assert handed_out


# What is shown, and what is refused


def test_a_bar_is_drawn_on_request(capsys):
    ConvNetClassifier(epochs=2, random_state=0).fit(X, CROSS)
    assert capsys.readouterr().err == ""
    ConvNetClassifier(epochs=2, random_state=0, verbose=True).fit(X, CROSS)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "epoch 0: 100%" in printed.err
    assert "epoch 1: 100%" in printed.err


def test_a_loss_that_is_not_finite_ends_the_fit():
    with pytest.raises(ValueError, match=r"the loss must stay finite, got (nan|inf) in epoch \d; lower learning_rate"):
        ConvNetRegressor(learning_rate=1e300, random_state=0).fit(X, 1e300 * X)
