"""The classifier."""

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels

from allconv.functional.softmax import softmax
from allconv.losses import SoftmaxCrossEntropy
from allconv.sklearn.estimator import ConvNet
from allconv.sklearn.nets import ModelBuilder
from allconv.typing import Array, Loss
from allconv.validation import describe


# Longer than 150 lines because its docstrings hold the contract; the code is short.
class ConvNetClassifier(ClassifierMixin, ConvNet):  # type: ignore[misc] # scikit-learn has no types
    """A network that classifies images or rows of features, with the interface of scikit-learn.

    It minimizes the cross-entropy between the classes and the softmax of the network's scores.

    Parameters
    ----------
    model : callable, optional
        The function ``model(input_shape, outputs, rng)`` that returns a new network, a `Layer`, for inputs
        ``(N, *input_shape)`` and scores ``(N, outputs)``; `rng` is a `numpy.random.Generator`. The default is a small
        network: 3x3 convolutions and poolings for images, a perceptron with two hidden layers for features.
    image_shape : tuple of int, optional
        The shape (H, W, C) of the images that rows of X hold, (N, H W C). By default rows are features.
    width : int, default 32
        The channels of the default network's first convolution, or the units of each hidden layer.
    epochs : int, default 50
        How many times `fit` goes through the data, at most.
    batch_size : int, default 64
        The number of examples of a step.
    learning_rate : float, default 0.01
        The learning rate of `AdamW`, at least 0. In `fit` it falls to 0 along a cosine.
    weight_decay : float, default 0.0
        The decoupled weight decay of `AdamW`, at least 0.
    class_weight : dict, "balanced" or None, default None
        The weights of the classes, {class: weight}; classes that are left out have 1. "balanced" gives each class the
        same sum of weights. They multiply `sample_weight`.
    validation_fraction : float, optional
        The share of the examples, in (0, 1), that `fit` holds out, to measure the loss on them after each epoch. Each
        class is held out in its proportion. By default no example is, or 0.1 with `early_stopping`.
    early_stopping : bool, default False
        Whether `fit` stops when the loss on the held-out examples stays above its minimum for `n_iter_no_change`
        epochs. In any case it then goes back to the weights of the best epoch.
    n_iter_no_change : int, default 10
        The number of epochs without a lower loss that early stopping waits for.
    warm_start : bool, default False
        Whether another call of `fit` trains the same network on, for as many epochs again, and not a new one.
    random_state : int, RandomState or None, default None
        What the first weights, the order of the examples and the held-out part are drawn from. With an int, each fit
        gives the same bits.
    verbose : bool, default False
        Whether `fit` draws a progress bar on standard error for each epoch.

    Attributes
    ----------
    classes_ : array, shape (K,)
        The classes, sorted.
    model_ : Layer
        The trained network.
    input_shape_ : tuple of int
        The shape of an example: (H, W, C) for images, (n_features,) otherwise.
    n_features_in_ : int
        The number of features; of images, H W C.
    feature_names_in_ : array of str, shape (n_features,)
        The names of the features, where X has names that are all strings.
    n_iter_ : int
        The number of epochs since the network was made.
    loss_curve_ : list of float
        The mean loss of each of these epochs.
    validation_loss_curve_ : list of float
        The loss on the held-out examples after each epoch, where there are such.
    best_iteration_ : int
        With early stopping, the number of epochs up to the one whose weights are kept.

    Raises
    ------
    TypeError, ValueError
        From `fit` and `partial_fit`, if a parameter or the data are out of their range, or the loss is no longer
        finite. The estimator then is what it was before, but a network that was trained on keeps its last steps.
        `NotFittedError`, which is a ValueError, from a prediction before either.

    Notes
    -----
    In a worker of joblib, as with ``n_jobs=2``, the network computes in one thread, since the workers keep the other
    cores busy. Its numbers are the same bits for any number of threads.

    Examples
    --------
    >>> X = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    >>> y = np.where(X[:, 0] * X[:, 1] > 0, "same sign", "other sign")
    >>> classifier = ConvNetClassifier(random_state=0).fit(X[:150], y[:150])
    >>> classifier.score(X[150:], y[150:]) > 0.9
    True
    """

    classes_: Array
    _checks_of_y: ClassVar[dict[str, bool]] = {}
    _stratify = True

    def __init__(
        self,
        model: ModelBuilder | None = None,
        *,
        image_shape: tuple[int, int, int] | None = None,
        width: int = 32,
        epochs: int = 50,
        batch_size: int = 64,
        learning_rate: float = 0.01,
        weight_decay: float = 0.0,
        class_weight: Any = None,
        validation_fraction: float | None = None,
        early_stopping: bool = False,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            model,
            image_shape=image_shape,
            width=width,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            validation_fraction=validation_fraction,
            early_stopping=early_stopping,
            n_iter_no_change=n_iter_no_change,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network, a new one unless `warm_start` keeps the last.

        Parameters
        ----------
        X : array_like, shape (N, n_features) or (N, H, W, C)
            Rows of features, or images. uint8 images are divided by 255, rows with an `image_shape` included; other
            numbers stay as they are.
        y : array_like, shape (N,)
            The class of each example, a number or a string.
        sample_weight : array_like, shape (N,), optional
            How much each example counts, a non-negative number; 1 by default.

        Returns
        -------
        self
            The estimator.
        """
        return self._learn(X, y, sample_weight, partial=False)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train the network for one epoch on a part of the data, at the learning rate itself.

        Nothing is held out, and there is no early stopping.

        Parameters
        ----------
        X : array_like, shape (N, n_features) or (N, H, W, C)
            Rows of features, or images, as in `fit`.
        y : array_like, shape (N,)
            The class of each example, a number or a string.
        classes : array_like, shape (K,), optional
            All classes that any part will hold; the first call needs them.
        sample_weight : array_like, shape (N,), optional
            How much each example counts, a non-negative number; 1 by default.

        Returns
        -------
        self
            The estimator.

        Raises
        ------
        ValueError
            If the first call has no classes, or a later one has others, or `class_weight` is "balanced", which takes
            all of the data to know.
        """
        if classes is None and not hasattr(self, "model_"):
            raise ValueError("classes must hold all classes in the first call of partial_fit, got None")
        if _is_balanced(self.class_weight):
            raise ValueError("class_weight must be a dict or None in partial_fit, which sees a part, got 'balanced'")
        return self._learn(X, y, sample_weight, partial=True, classes=classes)

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : array_like, shape (N, n_features) or (N, H, W, C)
            Examples like those of the training.

        Returns
        -------
        array, shape (N, K)
            In each row those of `classes_`; their sum is 1.
        """
        return softmax(self._scores(X))

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each example.

        Parameters
        ----------
        X : array_like, shape (N, n_features) or (N, H, W, C)
            Examples like those of the training.

        Returns
        -------
        array, shape (N,)
            The classes.
        """
        most_probable = self.predict_proba(X).argmax(axis=1)  # It raises NotFittedError where there is no `classes_`.
        classes: Array = self.classes_[most_probable]
        return classes

    def _targets(self, y: Array, classes: object, *, new: bool) -> tuple[Array, int]:
        """Return y as labels, which count the classes from 0."""
        check_classification_targets(y)
        known = unique_labels(y if classes is None else classes)
        if new:
            self.classes_ = known
        elif classes is not None and not np.array_equal(known, self.classes_):
            raise ValueError(f"classes must stay {_shown(self.classes_)}, as in the first call, got {_shown(known)}")
        if unknown := set(np.unique(y)) - set(self.classes_):
            raise ValueError(f"y must hold classes of {_shown(self.classes_)} alone, got {_shown(sorted(unknown))} too")
        return np.searchsorted(self.classes_, y), len(self.classes_)

    def _weights(self, targets: Array, sample_weight: Array | None) -> Array | None:
        """Return the product of the examples' weights and those of their classes."""
        if self.class_weight is None:
            return sample_weight
        if not isinstance(self.class_weight, dict) and not _is_balanced(self.class_weight):
            error = ValueError if isinstance(self.class_weight, str) else TypeError
            raise error(f"class_weight must be a dict, 'balanced' or None, got {describe(self.class_weight)}")
        of_classes = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[targets])
        weights: Array = of_classes[targets]
        return weights if sample_weight is None else weights * sample_weight

    def _loss(self) -> Loss:
        return SoftmaxCrossEntropy()


def _is_balanced(class_weight: object) -> bool:
    return isinstance(class_weight, str) and class_weight == "balanced"  # An array has no single truth value.


def _shown(classes: object) -> str:
    return describe(np.asarray(classes).tolist())
