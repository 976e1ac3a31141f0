"""What the classifier and the regressor share: data in, epochs of training, scores out."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from allconv.data import Dataset, Loader
from allconv.layers.base import Layer
from allconv.optimizers.adam import AdamW
from allconv.schedules import cosine
from allconv.sklearn.inputs import as_rows, dtypes_of, shaped
from allconv.sklearn.nets import ModelBuilder, built, small_convnet, small_perceptron
from allconv.sklearn.settings import Settings, check_settings
from allconv.sklearn.stopping import BestEpoch, parts_of
from allconv.sklearn.workers import one_thread_in_a_worker
from allconv.training.evaluation import predict
from allconv.training.loop import train
from allconv.training.progress import ProgressBar
from allconv.training.record import Record
from allconv.training.training import Training
from allconv.typing import Array, Loss

# Bounds the held-out examples that are in memory at the same time.
_VALIDATION_BATCH = 256


class ConvNet(BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """A network with scikit-learn's interface; `ConvNetRegressor` documents the parameters.

    A subclass says what its targets, weights and loss are.
    """

    input_shape_: tuple[int, ...]
    model_: Layer
    n_iter_: int
    loss_curve_: list[float]
    validation_loss_curve_: list[float]
    best_iteration_: int

    _checks_of_y: ClassVar[dict[str, bool]]  # options of `validate_data` about y
    _stratify: ClassVar[bool]  # whether each class has its share of the examples that are held out

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
        validation_fraction: float | None = None,
        early_stopping: bool = False,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.image_shape = image_shape
        self.width = width
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def _targets(self, y: Array, classes: object, *, new: bool) -> tuple[Array, int]:
        """Return the targets for `Dataset`, and how many scores the network needs.

        `new` says that the network is yet to be made.
        """
        raise NotImplementedError

    def _weights(self, targets: Array, sample_weight: Array | None) -> Array | None:  # noqa: ARG002
        """Return the weights of the examples, or None where all are 1."""
        return sample_weight

    def _loss(self) -> Loss:
        """Return what is minimized."""
        raise NotImplementedError

    def _learn(self, X: Any, y: Any, sample_weight: Any, *, partial: bool, classes: object = None) -> Self:
        """Train for the epochs of `fit`, or for one if `partial`; a network that is there may be trained on."""
        settings = check_settings(self)
        new = not hasattr(self, "model_") or not (partial or settings.warm_start)
        with self._as_before_an_error() if new else nullcontext():
            X, shape = as_rows(X, settings.image_shape if new else self.input_shape_)
            X, y = validate_data(self, X, y, reset=new, dtype=dtypes_of(shape), **self._checks_of_y)
            inputs, (targets, outputs) = shaped(X, shape), self._targets(y, classes, new=new)
            if sample_weight is not None:
                options = {"dtype": np.float64, "ensure_2d": False, "input_name": "sample_weight"}
                sample_weight = check_array(sample_weight, **options)
            data = _with_weight(Dataset(inputs, targets, weights=self._weights(targets, sample_weight)))
            with one_thread_in_a_worker():
                if new:
                    self._start(settings, inputs, outputs)
                if partial:
                    self._train(data, None, settings, epochs=1)
                else:
                    # The seed is that of the first fit: a warm start holds the same examples out again.
                    parts = parts_of(data, settings.validation_fraction, seed=self._seed, stratify=self._stratify)
                    self._train(*parts, settings, epochs=settings.epochs)
        return self

    @contextmanager
    def _as_before_an_error(self) -> Iterator[None]:
        """Give the estimator all its former attributes back where an error ends the block, and then raise it.

        What scikit-learn checks sets attributes too. A mixture of two fits would predict wrong classes.
        """
        before = vars(self).copy()
        try:
            yield
        except BaseException:
            self.__dict__ = before
            raise

    def _start(self, settings: Settings, inputs: Array, outputs: int) -> None:
        """Make a new network and its optimizer."""
        self._seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        rng, shape = np.random.default_rng(self._seed), inputs.shape[1:]
        if settings.model is not None:
            model = built(settings.model, shape, outputs, rng)
        elif len(shape) == 3:
            model = small_convnet(shape, outputs, settings.width, rng)
        else:
            model = small_perceptron(shape[0], outputs, settings.width, inputs.dtype, rng)
        self.model_, self.input_shape_ = model, shape
        self._optimizer = AdamW(self.model_.parameters(), weight_decay=settings.weight_decay)
        self.n_iter_, self.loss_curve_, self.validation_loss_curve_ = 0, [], []

    def _train(self, data: Dataset, held_out: Dataset | None, settings: Settings, *, epochs: int) -> None:
        """Train for some epochs, and note the losses; with early stopping go back to the best epoch."""
        before = self.n_iter_
        self._optimizer.learning_rate = settings.learning_rate
        self._optimizer.weight_decay = settings.weight_decay
        training = train(
            self.model_,
            self._loss(),
            self._optimizer,
            data,
            epochs=epochs,
            batch_size=settings.batch_size,
            seed=self._seed + before,
            validation=None if held_out is None else Loader(held_out, _VALIDATION_BATCH, shuffle=False),
            schedule=cosine(settings.learning_rate, epochs) if epochs > 1 else None,
            report_every=1 if settings.verbose else None,
        )
        stops = settings.early_stopping and held_out is not None
        best = BestEpoch(self.model_, settings.n_iter_no_change) if stops else None
        for record in _epochs_of(training, verbose=settings.verbose):
            self._note(record)
            if best is not None and best.note(self.validation_loss_curve_[-1]):
                break
        if best is not None:
            best.restore()
            self.best_iteration_ = before + best.epoch

    def _note(self, record: Record) -> None:
        """Append the losses of an epoch to the curves, or raise ValueError where they are no numbers."""
        losses = [record.loss] if record.validation is None else [record.loss, record.validation.loss]
        if not all(map(math.isfinite, losses)):
            raise ValueError(
                f"the loss must stay finite, got {losses[0]:g} in epoch {self.n_iter_ + 1}; "
                "lower learning_rate, or scale X and y"
            )
        self.n_iter_ += 1
        self.loss_curve_.append(losses[0])
        self.validation_loss_curve_ += losses[1:]

    def _scores(self, X: Any) -> Array:
        """Return the network's scores of the examples, (N, outputs)."""
        check_is_fitted(self, "model_")
        X, shape = as_rows(X, self.input_shape_)
        X = validate_data(self, X, reset=False, dtype=dtypes_of(shape))
        with one_thread_in_a_worker():
            return predict(self.model_, shaped(X, shape))


def _with_weight(data: Dataset) -> Dataset:
    """Return the examples whose weight is not 0, since a batch of zeros alone has no mean."""
    if data.weights is None or data.weights.all():
        return data
    if not data.weights.any():
        raise ValueError(f"the weights of the examples must hold a number above 0, got {len(data)} zeros")
    return data[data.weights > 0]


def _epochs_of(training: Training, *, verbose: bool) -> Iterator[Record]:
    """Yield the record of each epoch; if `verbose`, draw a progress bar for each on standard error."""
    bar = ProgressBar(training, hidden=not verbose)
    try:
        for record in training:
            bar.show(record)
            if record.epoch_ended:
                yield record
    finally:
        bar.close()
