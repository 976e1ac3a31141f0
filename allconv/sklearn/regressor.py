"""The regressor."""

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin

from allconv.losses import MeanSquaredError
from allconv.sklearn.estimator import ConvNet
from allconv.typing import Array, Loss


class ConvNetRegressor(RegressorMixin, ConvNet):  # type: ignore[misc] # scikit-learn has no types
    """A network that predicts numbers for images or rows of features, with the interface of scikit-learn.

    It minimizes the mean squared error. It learns best where y has a spread near 1, as
    `sklearn.compose.TransformedTargetRegressor` can give it.

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
    validation_fraction : float, optional
        The share of the examples, in (0, 1), that `fit` holds out, to measure the loss on them after each epoch.
        By default no example is, or 0.1 with `early_stopping`.
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

    Examples
    --------
    >>> X = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    >>> y = np.sin(3 * X[:, 0]) * X[:, 1]
    >>> regressor = ConvNetRegressor(random_state=0).fit(X[:250], y[:250])
    >>> regressor.score(X[250:], y[250:]) > 0.9
    True
    """

    _checks_of_y: ClassVar[dict[str, bool]] = {"multi_output": True, "y_numeric": True}
    _stratify = False

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network, a new one unless `warm_start` keeps the last.

        Parameters
        ----------
        X : array_like, shape (N, n_features) or (N, H, W, C)
            Rows of features, or images. uint8 images are divided by 255, rows with an `image_shape` included; other
            numbers stay as they are.
        y : array_like, shape (N,) or (N, K)
            The number, or the K numbers, of each example.
        sample_weight : array_like, shape (N,), optional
            How much each example counts, a non-negative number; 1 by default.

        Returns
        -------
        self
            The estimator.
        """
        return self._learn(X, y, sample_weight, partial=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network for one epoch on a part of the data, at the learning rate itself.

        Nothing is held out, and there is no early stopping.

        Parameters
        ----------
        X : array_like, shape (N, n_features) or (N, H, W, C)
            Rows of features, or images, as in `fit`.
        y : array_like, shape (N,) or (N, K)
            The number, or the K numbers, of each example.
        sample_weight : array_like, shape (N,), optional
            How much each example counts, a non-negative number; 1 by default.

        Returns
        -------
        self
            The estimator.
        """
        return self._learn(X, y, sample_weight, partial=True)

    def predict(self, X: Any) -> Array:
        """Return the predicted numbers.

        Parameters
        ----------
        X : array_like, shape (N, n_features) or (N, H, W, C)
            Examples like those of the training.

        Returns
        -------
        array, shape (N,) or (N, K)
            The numbers, of the shape that y had.
        """
        scores = self._scores(X)
        return scores[:, 0] if self._single else scores

    def _targets(self, y: Array, classes: object, *, new: bool) -> tuple[Array, int]:  # noqa: ARG002
        """Return y as rows of floating numbers."""
        targets = y.reshape(len(y), -1).astype(np.float64)
        if new:
            self._single = y.ndim == 1
        return targets, targets.shape[1]

    def _loss(self) -> Loss:
        return MeanSquaredError()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
