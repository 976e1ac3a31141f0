"""The training loop, as a generator of records; evaluation and prediction."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np

from allconv import checkpoint
from allconv.data.loader import Loader
from allconv.finite import check_finite_array, checked_layers
from allconv.functional.threads import single_threaded_blas
from allconv.layers.base import Layer
from allconv.layers.skip import Skip
from allconv.layers.softmax import LogSoftmax, Softmax
from allconv.losses import SoftmaxCrossEntropy
from allconv.metrics import count_correct
from allconv.optimizers.base import Optimizer
from allconv.validation import Array, check_batch, check_bool, check_int, describe
from allconv.weights import load_model_state, model_state

Loss = Callable[[Array, Array], tuple[float, Array]]
Schedule = Callable[[float], float]


@dataclass
class _Sums:
    """Running sums over the images of an epoch or a test set."""

    loss: float = 0.0
    correct: int | None = 0
    images: int = 0
    seconds: float = 0.0

    def add(self, loss: Loss, value: float, scores: Array, labels: Array) -> None:
        self.loss += value if getattr(loss, "reduction", "mean") == "sum" else value * len(labels)
        correct = count_correct(scores, labels)
        self.correct = None if correct is None or self.correct is None else self.correct + correct
        self.images += len(labels)

    @property
    def accuracy(self) -> float | None:
        return None if self.correct is None else self.correct / self.images


@dataclass(frozen=True)
class Evaluation:
    """The means over a data set: loss, and accuracy in 0..1 (None for a regression)."""

    loss: float
    accuracy: float | None
    images: int
    seconds: float


@dataclass(frozen=True)
class Record:
    """Where training stands: after an epoch, or after `report_every` steps of one.

    Attributes
    ----------
    epoch : int
        Counted from 0.
    step, steps : int
        Steps done in this epoch, and how many it has.
    epoch_ended : bool
        Whether these are the figures of the whole epoch.
    loss, accuracy : float
        Means over the epoch's images so far, each measured before the update that it led to. Accuracy lies in 0..1,
        and is None for a regression.
    learning_rate : float
        Of the last step.
    scale : float or None
        Of the model's Skips, None without one.
    seconds : float
        Spent in this epoch's steps, without the caller's own work between two records.
    images_per_second : float
        Over the steps since the last record.
    """

    epoch: int
    step: int
    steps: int
    epoch_ended: bool
    loss: float
    accuracy: float | None
    learning_rate: float
    scale: float | None
    seconds: float
    images_per_second: float
    _state: Callable[[], dict[str, Any]] = field(repr=False, compare=False)

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint needs, for `checkpoint.save`; read it before the next record is asked for.

        Raises
        ------
        RuntimeError
            When training has gone on, and the state of this record is gone.
        """
        return self._state()

    def __str__(self) -> str:
        accuracy = "" if self.accuracy is None else f"  accuracy {self.accuracy:.4f}"
        scale = "" if self.scale is None else f"  scale {self.scale:.4f}"
        return (
            f"epoch {self.epoch}  step {self.step}/{self.steps}  loss {self.loss:.4f}{accuracy}  "
            f"learning rate {self.learning_rate:.6g}{scale}  {self.images_per_second:.0f} images/s"
        )


def train(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    loader: Loader,
    *,
    epochs: int,
    schedule: Schedule | None = None,
    report_every: int | None = None,
    check_finite: bool = False,
    resume: str | PathLike[str] | dict[str, Any] | None = None,
) -> Iterator[Record]:
    """Train `model`, and yield a record after each epoch and every `report_every` steps.

    Everything else (logs, checkpoints, plots, early stopping) is the caller's plain code between two records.

    Parameters
    ----------
    model : Layer
        Takes the loader's images, gives scores.
    loss : callable
        ``loss(scores, labels) -> (value, gradient)``.
    optimizer : Optimizer
        Over the model's parameters.
    loader : Loader
        Gives each epoch's images and labels.
    epochs : int
        How many there are in all, those before a resume included.
    schedule : callable, optional
        Maps the epochs elapsed (fractional within an epoch) to the learning rate; None leaves the optimizer's.
    report_every : int, optional
        Steps between two records within an epoch.
    check_finite : bool, default False
        Stop at the first NaN or infinity, before the update, with an error that names layer, pass and step.
    resume : path or dict, optional
        A folder of checkpoints, or a state: training goes on from there with the same bits. A folder that is not
        there, or holds no checkpoint, starts over.

    Yields
    ------
    Record

    Raises
    ------
    TypeError, ValueError
        When called, for arguments that do not fit together.
    NonFiniteError
        With `check_finite`.
    """
    for name, value, kind in (("model", model, Layer), ("optimizer", optimizer, Optimizer), ("loader", loader, Loader)):
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be {kind.__name__}, got {describe(value)}")
    for name, function in (("loss", loss), ("schedule", schedule)):
        if not callable(function) and not (name == "schedule" and function is None):
            raise TypeError(f"{name} must be callable, got {describe(function)}")
    epochs = check_int("epochs", epochs)
    if report_every is not None:
        report_every = check_int("report_every", report_every)
    check_bool("check_finite", check_finite)
    _check_fit(model, loss, loader)
    run = _Run(model, loss, optimizer, loader, schedule, check_finite)
    if isinstance(resume, dict):
        run.load_state(resume)
    elif resume is not None and checkpoint.exists(resume):
        run.load_state(checkpoint.load(resume))
    return run.records(epochs, report_every)


def _check_fit(model: Layer, loss: Loss, loader: Loader) -> None:
    """Check model, loss and data against each other, on one image, before any work."""
    *_, last = model.walk()
    if isinstance(loss, SoftmaxCrossEntropy) and isinstance(last, Softmax | LogSoftmax):
        raise ValueError(
            f"model must end in logits, since SoftmaxCrossEntropy takes them, got one that ends in {last!r}"
        )
    scores = model(loader.normalized(loader.dataset.images[:1]))
    labels = loader.dataset.labels
    if isinstance(loss, SoftmaxCrossEntropy) and scores.ndim == 2:
        known = labels[labels != loss.ignore_index] if loss.ignore_index is not None else labels
        if known.size and not 0 <= known.min() <= known.max() < scores.shape[1]:
            raise ValueError(
                f"labels must lie in 0..{scores.shape[1] - 1}, the model's scores, "
                f"got {known.min()}..{known.max()}"
            )


class _Run:
    """A training run: what changes from step to step, and how to save and restore it."""

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        loader: Loader,
        schedule: Schedule | None,
        check_finite: bool,
    ) -> None:
        self.model, self.loss, self.optimizer, self.loader = model, loss, optimizer, loader
        self.schedule, self.check_finite = schedule, check_finite
        self.epoch, self.step, self.sums = 0, 0, _Sums()

    def records(self, epochs: int, report_every: int | None) -> Iterator[Record]:
        steps = len(self.loader)
        while self.epoch < epochs:
            self.optimizer.start_epoch(self.epoch)
            started, images_before = time.perf_counter(), self.sums.images
            for images, labels in self.loader.epoch(self.epoch, start=self.step):
                if self.schedule is not None:
                    self.optimizer.learning_rate = self.schedule(self.epoch + self.step / steps)
                self._train_step(images, labels)
                self.step += 1
                if self.step == steps or (report_every is not None and self.step % report_every == 0):
                    spent = time.perf_counter() - started
                    self.sums.seconds += spent
                    rate = (self.sums.images - images_before) / spent
                    record = self._record(rate)
                    if record.epoch_ended:
                        self.epoch, self.step, self.sums = self.epoch + 1, 0, _Sums()
                    yield record
                    started, images_before = time.perf_counter(), self.sums.images

    def _train_step(self, images: Array, labels: Array) -> None:
        where = f"epoch {self.epoch}, step {self.step}"
        if self.check_finite:
            check_finite_array(f"the images of {where}", images)
        with single_threaded_blas(), checked_layers(self.model, where) if self.check_finite else nullcontext():
            scores, cache = self.model.forward(images, training=True)
            value, dscores = self.loss(scores, labels)
            if self.check_finite:
                check_finite_array(f"the loss of {where}", value)
            if self.model.composite:
                self.model.backward_parameters(dscores, cache, release=True)  # type: ignore[call-arg]
            else:
                self.model.backward_parameters(dscores, cache)
            if self.check_finite:
                for parameter in self.optimizer.parameters:
                    if parameter.grad is not None:
                        check_finite_array(f"the gradient of {parameter.name}, {where},", parameter.grad)
            self.optimizer.step()
        self.sums.add(self.loss, value, scores, labels)

    def _record(self, images_per_second: float) -> Record:
        skips = [layer for layer in self.model.walk() if isinstance(layer, Skip)]
        steps = len(self.loader)
        position = (self.epoch + 1, 0) if self.step == steps else (self.epoch, self.step)

        def state() -> dict[str, Any]:
            if (self.epoch, self.step) != position:
                raise RuntimeError("record.state must be read before the next record is asked for")
            return self.state()

        return Record(
            epoch=self.epoch,
            step=self.step,
            steps=steps,
            epoch_ended=self.step == steps,
            loss=self.sums.loss / self.sums.images,
            accuracy=self.sums.accuracy,
            learning_rate=self.optimizer.learning_rate,
            scale=skips[0].scale if skips else None,
            seconds=self.sums.seconds,
            images_per_second=images_per_second,
            _state=state,
        )

    def _identity(self) -> dict[str, Any]:
        """Return what must be the same after a resume for the run to be the same run."""
        return {
            "steps_per_epoch": len(self.loader),
            "batch_size": self.loader.batch_size,
            "seed": self.loader.seed,
            "optimizer": type(self.optimizer).__name__,
        }

    def state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "step": self.epoch * len(self.loader) + self.step,
            "sums": dict(vars(self.sums)),
            "run": self._identity(),
            "optimizer": self.optimizer.state(),
            **model_state(self.model),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        if state["run"] != self._identity():
            changed = {
                key: f"{state['run'].get(key)!r} then, {value!r} now"
                for key, value in self._identity().items()
                if state["run"].get(key) != value
            }
            raise ValueError(f"resume must be a checkpoint of the same run, got one with another {changed}")
        load_model_state(self.model, state)
        self.optimizer.load_state(state["optimizer"])
        self.epoch = state["epoch"]
        self.step = state["step"] - self.epoch * len(self.loader)
        self.sums = _Sums(**state["sums"])


def evaluate(model: Layer, loss: Loss, loader: Loader) -> Evaluation:
    """Return the means of loss and accuracy over the loader's images, at inference.

    Raises
    ------
    ValueError
        For a model that ends in Softmax with a SoftmaxCrossEntropy, or labels that the model has no score for.
    """
    _check_fit(model, loss, loader)
    sums, started = _Sums(), time.perf_counter()
    with single_threaded_blas():
        for images, labels in loader.epoch(0):
            scores = model(images)
            sums.add(loss, loss(scores, labels)[0], scores, labels)
    return Evaluation(sums.loss / sums.images, sums.accuracy, sums.images, time.perf_counter() - started)


def predict(model: Layer, images: Array, *, batch_size: int = 256) -> Array:
    """Return the scores (N, K) for images (N, H, W, C), already normalized, `batch_size` at a time."""
    batch_size = check_int("batch_size", batch_size)
    images = check_batch("images", images)
    with single_threaded_blas():
        return np.concatenate([model(images[i : i + batch_size]) for i in range(0, len(images), batch_size)])
