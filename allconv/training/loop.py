"""The training loop, as an iterator of records."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from allconv.checkpoint.weights import load_model_state, model_state
from allconv.data.loader import Loader
from allconv.distributed import check_same, check_same_model, sum_gradients
from allconv.layers.base import Layer
from allconv.layers.skip import Skip
from allconv.optimizers.base import Optimizer
from allconv.parallel.blas import single_threaded_blas
from allconv.parallel.process_group import current, shared_over
from allconv.training.evaluation import Sums, check_fit
from allconv.training.fingerprint import config_fingerprint, dataset_digest, differences, environment, layer_reprs
from allconv.training.nonfinite import check_finite_array, checked_layers
from allconv.training.resume import check_state, state_to_resume
from allconv.typing import Array, Loss, Schedule
from allconv.validation import check_bool, check_int, describe

_HISTORY = ("epoch", "loss", "accuracy", "learning_rate", "scale", "seconds")


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


class Training(Iterator[Record]):
    """A training run: the iterator of records that `train` returns.

    Attributes
    ----------
    epochs : int
        How many epochs the run has in all.
    epoch, step : int
        The position: epochs finished, and steps done in the one that follows.
    history : list of dict
        Of each finished epoch: ``epoch``, ``loss``, ``accuracy``, ``learning_rate``, ``scale`` and ``seconds``, as in
        its `Record`.
    """

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        loader: Loader,
        *,
        epochs: int,
        schedule: Schedule | None,
        report_every: int | None,
        check_finite: bool,
    ) -> None:
        self.model, self.loss, self.optimizer, self.loader = model, loss, optimizer, loader
        self.schedule, self.check_finite, self.epochs = schedule, check_finite, epochs
        self.epoch, self.step, self._sums = 0, 0, Sums()
        self.history: list[dict[str, Any]] = []
        self._data: str | None = None  # the digest, which takes a tenth of a second for CIFAR-10
        self._records = self._run(epochs, report_every)

    def __next__(self) -> Record:
        return next(self._records)

    def _run(self, epochs: int, report_every: int | None) -> Iterator[Record]:
        steps = len(self.loader)
        while self.epoch < epochs:
            self.optimizer.start_epoch(self.epoch)
            started, images_before = time.perf_counter(), self._sums.images
            for images, labels in self.loader.epoch(self.epoch, start=self.step):
                if self.schedule is not None:
                    self.optimizer.learning_rate = self.schedule(self.epoch + self.step / steps)
                self._train_step(images, labels)
                self.step += 1
                if self.step == steps or (report_every is not None and self.step % report_every == 0):
                    spent = time.perf_counter() - started
                    self._sums.seconds += spent
                    record = self._record((self._sums.images - images_before) / spent)
                    if record.epoch_ended:
                        self.history.append({name: getattr(record, name) for name in _HISTORY})
                        self.epoch, self.step, self._sums = self.epoch + 1, 0, Sums()
                    yield record
                    started, images_before = time.perf_counter(), self._sums.images

    def _train_step(self, images: Array, labels: Array) -> None:
        where = f"epoch {self.epoch}, step {self.step}"
        if self.check_finite:
            check_finite_array(f"the images of {where}", images)
        checked = checked_layers(self.model, where) if self.check_finite else nullcontext()
        with single_threaded_blas(), checked, shared_over(len(images)) as group:
            part = group.shard(len(images))  # all of them, unless several processes train
            scores, cache = self.model.forward(images[part], training=True)
            scores = group.all_gather(scores, len(images))
            value, dscores = self.loss(scores, labels)
            if self.check_finite:
                check_finite_array(f"the loss of {where}", value)
            self.model.backward_parameters(dscores[part], cache, release=True)
            sum_gradients(self.optimizer.parameters)
            if self.check_finite:
                for parameter in self.optimizer.parameters:
                    if parameter.grad is not None:
                        check_finite_array(f"the gradient of {parameter.name}, {where},", parameter.grad)
            self.optimizer.step()
        self._sums.add(self.loss, value, scores, labels)

    def check_same_on_all_ranks(self) -> None:
        """Raise RuntimeError on all ranks unless they have the same settings, data, position and weights."""
        told = {name: value for name, value in self._fingerprint(self.epoch).items() if name != "model"} | {
            "position": (self.epoch, self.step)
        }
        check_same("the run (settings, data, position)", repr(told).encode())
        check_same_model(self.model)

    def _record(self, images_per_second: float) -> Record:
        skips = [layer for layer in self.model.walk() if isinstance(layer, Skip)]
        steps = len(self.loader)
        position = (self.epoch + 1, 0) if self.step == steps else (self.epoch, self.step)

        def state() -> dict[str, Any]:
            if (self.epoch, self.step) != position:
                raise RuntimeError("record.state must be read before the next record is asked for")
            return self.state

        return Record(
            epoch=self.epoch,
            step=self.step,
            steps=steps,
            epoch_ended=self.step == steps,
            loss=self._sums.loss / self._sums.images,
            accuracy=self._sums.accuracy,
            learning_rate=self.optimizer.learning_rate,
            scale=skips[0].scale if skips else None,
            seconds=self._sums.seconds,
            images_per_second=images_per_second,
            _state=state,
        )

    def _fingerprint(self, epoch: int) -> dict[str, Any]:
        """Return what must be the same after a resume in `epoch` for the run to be the same run."""
        if self._data is None:
            self._data = dataset_digest(self.loader.dataset)
        return {
            "steps_per_epoch": len(self.loader),
            "batch_size": self.loader.batch_size,
            "seed": self.loader.seed,
            "model": layer_reprs(self.model),
            "loss": config_fingerprint(self.loss),
            "optimizer": config_fingerprint(self.optimizer),
            "shuffle": self.loader.shuffle,
            "augment": config_fingerprint(self.loader.augment),
            "normalize": config_fingerprint(self.loader.normalize),
            "data": self._data,
            "rates": None if self.schedule is None else [self.schedule(past) for past in range(epoch + 1)],
        }

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint needs to go on from here with the same bits, as a nested dict of arrays and values."""
        return {
            "epoch": self.epoch,
            "step": self.epoch * len(self.loader) + self.step,
            "sums": dict(vars(self._sums)),
            "history": list(self.history),
            "run": self._fingerprint(self.epoch),
            "made_with": environment(),
            "learning_rate": self.optimizer.learning_rate,
            "optimizer": self.optimizer.state(),
            **model_state(self.model),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`.

        One of another run, data or configuration raises ValueError, which says what differs; then nothing has changed.
        One that other versions or another processor made raises a RuntimeWarning: the bits may differ.
        """
        check_state(state)
        if changed := differences(state["run"], self._fingerprint(state["epoch"])):
            raise ValueError(f"resume must be a checkpoint of the same run, got one with another {'; '.join(changed)}")
        if changed := differences(state.get("made_with", {}), environment()):
            message = f"the checkpoint was made elsewhere, so that bits may differ: {'; '.join(changed)}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        load_model_state(self.model, state)
        self.optimizer.load_state(state["optimizer"])
        self.optimizer.learning_rate = state.get("learning_rate", self.optimizer.learning_rate)
        self.epoch = state["epoch"]
        self.step = state["step"] - self.epoch * len(self.loader)
        self._sums, self.history = Sums(**state["sums"]), list(state.get("history", []))


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
    resume: str | Path | dict[str, Any] | None = None,
) -> Training:
    """Return an iterator that trains `model`, and gives a record after each epoch and every `report_every` steps.

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
        A folder of checkpoints, one checkpoint's own file, or a state: training goes on from there with the same
        bits. A folder that is not there, or holds no checkpoint, starts over.

    Returns
    -------
    Training
        An iterator of `Record`; its ``state`` is what a checkpoint needs, before the first record too.

    Raises
    ------
    TypeError, ValueError
        When called, for arguments that do not fit together.
    NonFiniteError
        With `check_finite`.
    RuntimeError
        When called on several processes (`allconv.distributed`) that differ in settings, data or weights.
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
    check_fit(model, loss, loader)
    training = Training(
        model,
        loss,
        optimizer,
        loader,
        epochs=epochs,
        schedule=schedule,
        report_every=report_every,
        check_finite=check_finite,
    )
    if resume is not None and (state := state_to_resume(resume)) is not None:
        training.load_state(state)
    if current().size > 1:
        training.check_same_on_all_ranks()
    return training
