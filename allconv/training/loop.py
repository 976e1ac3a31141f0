"""The training loop, as an iterator of records."""

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from allconv.checkpoint.weights import load_model_state, model_state
from allconv.data.loader import Loader
from allconv.distributed import check_same, check_same_model
from allconv.layers.base import Layer
from allconv.layers.skip import Skip
from allconv.optimizers.base import Optimizer
from allconv.parallel.process_group import current
from allconv.training.evaluation import Sums, check_fit, check_kind, check_loss
from allconv.training.fingerprint import config_fingerprint, dataset_digest, differences, environment, layer_reprs
from allconv.training.record import Record
from allconv.training.resume import check_state, state_to_resume
from allconv.training.step import train_step
from allconv.typing import Array, Loss, Schedule
from allconv.validation import check_bool, check_int, describe

_HISTORY = ("epoch", "loss", "accuracy", "learning_rate", "scale", "seconds")


class Training(Iterator[Record]):
    """A training run: the iterator of records that `train` returns.

    An error between two steps, as in `augment` or by Ctrl-C while the data load, leaves a whole step behind: the state
    can be read, and the next record be asked for. An error within a step leaves weights of no step, some of them moved
    and some not. Then both raise RuntimeError, and `load_state` goes back to a state from before.

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
        self._report_every = report_every
        self._batches: Iterator[tuple[Array, Array]] | None = None  # those of the epoch, from the next step on
        self._unfinished = ""  # the step that has begun and not ended, in words

    def __next__(self) -> Record:
        self._check_whole()
        started, images_before = time.perf_counter(), self._sums.images
        try:
            while self.epoch < self.epochs:
                images, labels = self._next_batch()
                if self.schedule is not None:
                    self.optimizer.learning_rate = self.schedule(self.epoch + self.step / len(self.loader))
                self._unfinished = where = f"epoch {self.epoch}, step {self.step}"
                parts = self.model, self.loss, self.optimizer
                value, scores = train_step(*parts, images, labels, where=where, check_finite=self.check_finite)
                self._sums.add(self.loss, value, scores, labels)
                self.step += 1
                record = self._record_if_due(started, images_before)
                self._unfinished = ""
                if record is not None:
                    return record
        except BaseException:
            self._batches = None  # An iterator that raised is at its end, and the next call makes another one.
            raise
        raise StopIteration

    def _next_batch(self) -> tuple[Array, Array]:
        if self._batches is None:
            self.optimizer.start_epoch(self.epoch)
            self._batches = self.loader.epoch(self.epoch, start=self.step)
        batch = next(self._batches, None)
        if batch is None:
            raise RuntimeError(f"loader must give {len(self.loader)} steps an epoch, got {self.step}")
        return batch

    def _record_if_due(self, started: float, images_before: int) -> Record | None:
        """Return a record if one is due after this step, and go on to the next epoch if this one has ended."""
        ended = self.step == len(self.loader)
        if not ended and (self._report_every is None or self.step % self._report_every != 0):
            return None
        spent = time.perf_counter() - started
        self._sums.seconds += spent
        record = self._record((self._sums.images - images_before) / spent)
        if ended:
            self.history.append({name: getattr(record, name) for name in _HISTORY})
            self.epoch, self.step, self._sums, self._batches = self.epoch + 1, 0, Sums(), None
        return record

    def _check_whole(self) -> None:
        """Raise RuntimeError if an error left the model within a step."""
        if self._unfinished:
            raise RuntimeError(
                f"training must stand between two steps, got an error or an interrupt within {self._unfinished}, so "
                "that the weights belong to no step; load the last checkpoint, with train(..., resume=...), and let "
                "open_run or stop_on_signals end a run between two steps"
            )

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
            loss=self._sums.mean_loss,
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
            "drop_last": self.loader.drop_last,
            "augment": config_fingerprint(self.loader.augment),
            "normalize": config_fingerprint(self.loader.normalize),
            "data": self._data,
            "rates": None if self.schedule is None else [self.schedule(past) for past in range(epoch + 1)],
        }

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint needs to go on from here with the same bits, as a nested dict of arrays and values.

        Raises
        ------
        RuntimeError
            After an error or an interrupt within a step, whose weights belong to no step.
        """
        self._check_whole()
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
        self._sums, self.history = Sums.of_state(state["sums"]), list(state.get("history", []))
        self._batches, self._unfinished = None, ""


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

    Everything else (logs, checkpoints, plots, early stopping) is the caller's plain code between two records. Each step
    starts without gradients, whatever was left from before, and leaves none behind.

    Parameters
    ----------
    model : Layer
        Takes the loader's images, gives scores.
    loss : callable
        ``loss(scores, labels) -> (value, gradient)``; see `allconv.typing.Loss`.
    optimizer : Optimizer
        Over the model's parameters, or some of them.
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
        When called, for arguments that do not fit together. In a step, where the loss refuses the batch, as a mean over
        ignored labels alone does.
    NonFiniteError
        With `check_finite`.
    RuntimeError
        When called on several processes (`allconv.distributed`) that differ in settings, data or weights. When the
        next record or the state is asked for after an error within a step; see `Training`.

    Examples
    --------
    >>> import allconv as ac
    >>> model = ac.Sequential(ac.Flatten(), ac.Linear(3072, 10, rng=np.random.default_rng(0)))
    >>> loader = ac.data.Loader(ac.data.shapes(20, seed=0), 10)
    >>> for record in train(model, ac.SoftmaxCrossEntropy(), ac.SGD(model.parameters(), 0.01), loader, epochs=2):
    ...     print(record.epoch, record.step, record.learning_rate)
    0 2 0.01
    1 2 0.01
    """
    check_kind("model", model, Layer)
    check_loss(loss)
    check_kind("optimizer", optimizer, Optimizer)
    check_kind("loader", loader, Loader)
    if schedule is not None and not callable(schedule):
        raise TypeError(f"schedule must be callable or None, got {describe(schedule)}")
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
