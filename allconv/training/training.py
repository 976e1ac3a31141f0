"""A training run: an iterator of records that knows where it stands."""

import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from allconv.checkpoint.weights import load_model_state, model_state
from allconv.data.batches import Batches
from allconv.data.loader import Batch, Loader
from allconv.distributed import check_same, check_same_model
from allconv.layers.base import Layer
from allconv.layers.skip import Skip
from allconv.optimizers.base import Optimizer
from allconv.training.evaluation import Evaluation, Sums, evaluated
from allconv.training.fingerprint import (
    config_fingerprint,
    data_digest,
    differences,
    digest,
    environment,
    layer_reprs,
    layer_settings,
    loader_fingerprint,
    parameter_texts,
)
from allconv.training.record import Record
from allconv.training.resume import check_state
from allconv.training.step import train_step
from allconv.typing import Loss, Schedule
from allconv.validation import describe

_HISTORY = ("epoch", "loss", "accuracy", "learning_rate", "scale", "seconds")


# Longer than 150 lines because its docstrings hold the contract and the equations; the code is short.
class Training(Iterator[Record]):
    """A training run: the iterator of records that `train` returns.

    An error between two steps, as in `augment` or by Ctrl-C while the data load, leaves a whole step behind: the state
    can be read, and the next record be asked for. An error within a step leaves weights of no step, some of them moved
    and some not. Then both raise RuntimeError, and `load_state` goes back to a state from before.

    Where the batches are the user's own, an epoch can only be made from its beginning. So in the middle of one there is
    no state, and no next record after an error.

    Attributes
    ----------
    epochs : int
        How many epochs the run has in all.
    epoch, step : int
        The position: epochs finished, and steps done in the one that follows.
    history : list of dict
        Of each finished epoch: ``epoch``, ``loss``, ``accuracy``, ``learning_rate``, ``scale`` and ``seconds``, as in
        its `Record`, and with a validation also ``validation_loss`` and ``validation_accuracy``.
    """

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        loader: Loader | Batches,
        *,
        epochs: int,
        validation: Loader | Batches | None,
        schedule: Schedule | None,
        report_every: int | None,
        check_finite: bool,
    ) -> None:
        self.model, self.loss, self.optimizer, self.loader = model, loss, optimizer, loader
        self.schedule, self.check_finite, self.epochs = schedule, check_finite, epochs
        self.epoch, self.step, self._sums = 0, 0, Sums()
        self._validation = validation
        # What a program sets up before training, and may change from then on, as by a schedule of its own.
        self._set_up = {
            "layers": layer_settings(model),
            "parameters": parameter_texts(model, optimizer),
            "constant_rates": [group.learning_rate for group in optimizer.groups] if schedule is None else None,
        }
        self._steps = len(loader) if isinstance(loader, Loader) else loader.steps()  # in an epoch; None: unknown
        self._steps_before = 0  # those of the finished epochs
        self.history: list[dict[str, Any]] = []
        self._data: str | None = None  # the digest, which takes a tenth of a second for CIFAR-10
        self.report_every = report_every
        self._batches: Iterator[Batch] | None = None  # those of the epoch, from the next step on
        self._unfinished = ""  # the step that has begun and not ended, in words

    def __repr__(self) -> str:
        return f"Training({self.epoch} of {self.epochs} epochs done; iterate over it to train)"

    def __next__(self) -> Record:
        self._check_whole()
        images_before, seconds_before = self._sums.images, self._sums.seconds
        try:
            while self.epoch < self.epochs:
                if not self._epoch_ended:  # After an error in the validation, only the record is missing.
                    self._make_step()
                ended = self._epoch_ended
                if ended or (self.report_every is not None and self.step % self.report_every == 0):
                    record = self._record(images_before, seconds_before, self._validate() if ended else None)
                    if ended:
                        self._end_epoch(record)
                    self._unfinished = ""
                    return record
                self._unfinished = ""
        except BaseException:
            self._batches = None  # An iterator that raised is at its end, and the next call makes another one.
            raise
        raise StopIteration

    def _make_step(self) -> None:
        started = time.perf_counter()
        batch = self._next_batch()
        if self.schedule is not None:
            self.optimizer.learning_rate = self._rate_at(self.epoch, self.step)
        self._unfinished = where = f"epoch {self.epoch}, step {self.step}"
        parts = self.model, self.loss, self.optimizer
        value, scores = train_step(*parts, batch, where=where, check_finite=self.check_finite)
        self._sums.add(self.loss, value, scores, *batch[1:])
        self.step += 1
        self._sums.seconds += time.perf_counter() - started

    def _next_batch(self) -> Batch:
        if self._batches is None:
            self.optimizer.start_epoch(self.epoch)
            self._batches = self.loader.epoch(self.epoch, start=self.step)
        batch = next(self._batches, None)
        if batch is None:
            raise RuntimeError(f"loader must give {self._steps} steps an epoch, got {self.step}")
        return batch

    @property
    def _epoch_ended(self) -> bool:
        """Whether all steps of the epoch are done, and its record is all that is left to do."""
        if isinstance(self.loader, Loader):
            return self.step == self._steps
        return self.step > 0 and self.loader.ended

    def _validate(self) -> Evaluation | None:
        if self._validation is None:
            return None
        unfinished, self._unfinished = self._unfinished, ""  # The step is whole, whatever happens in the evaluation.
        validation = evaluated(self.model, self.loss, self._validation)
        self._unfinished = unfinished
        return validation

    def _end_epoch(self, record: Record) -> None:
        entry = {name: getattr(record, name) for name in _HISTORY}
        if record.validation is not None:
            entry["validation_loss"] = record.validation.loss
            entry["validation_accuracy"] = record.validation.accuracy
        self.history.append(entry)
        self._steps_before += self.step
        self.epoch, self.step, self._sums, self._batches = self.epoch + 1, 0, Sums(), None

    def _check_whole(self) -> None:
        """Raise RuntimeError if an error left the model within a step."""
        if self._unfinished:
            raise RuntimeError(
                f"training must stand between two steps, got an error or an interrupt within {self._unfinished}, so "
                "that the weights belong to no step; load the last checkpoint, with train(..., resume=...), and let "
                "open_run or stop_on_signals end a run between two steps"
            )

    @property
    def steps_done(self) -> int:
        """How many steps were done in all epochs."""
        return self._steps_before + self.step

    def check_same_on_all_ranks(self) -> None:
        """Raise RuntimeError on all ranks unless they have the same settings, data, position and weights."""
        fingerprint = self._fingerprint(self.epoch, self.step)
        told = {name: value for name, value in fingerprint.items() if name != "model"} | {
            "position": (self.epoch, self.step)
        }
        check_same("the run (settings, data, position)", repr(told).encode())
        check_same_model(self.model)

    def _record(self, images_before: int, seconds_before: float, validation: Evaluation | None) -> Record:
        """Return the record of this step; its speed is that since a time with fewer images and seconds."""
        ended, spent = self._epoch_ended, self._sums.seconds - seconds_before
        skips = [layer for layer in self.model.walk() if isinstance(layer, Skip)]
        position = (self.epoch + 1, 0) if ended else (self.epoch, self.step)

        def state() -> dict[str, Any]:
            if (self.epoch, self.step) != position:
                raise RuntimeError("record.state must be read before the next record is asked for")
            return self.state

        return Record(
            epoch=self.epoch,
            step=self.step,
            steps=self.step if ended else self._steps,
            epoch_ended=ended,
            loss=self._sums.mean_loss,
            accuracy=self._sums.accuracy,
            validation=validation,
            learning_rate=self.optimizer.learning_rate,
            scale=skips[0].scale if skips else None,
            seconds=self._sums.seconds,
            images_per_second=(self._sums.images - images_before) / spent if spent else 0.0,
            _state=state,
        )

    def _fingerprint(self, epoch: int, step: int) -> dict[str, Any]:
        """Return what must be the same after a resume at this position for the run to be the same run."""
        if self._data is None:
            self._data = data_digest(self.loader)
        return {
            **loader_fingerprint(self.loader),
            "model": layer_reprs(self.model),
            **self._set_up,
            "loss": config_fingerprint(self.loss),
            "optimizer": config_fingerprint(self.optimizer),
            "groups": {
                str(index): config_fingerprint(group)
                for index, group in enumerate(self.optimizer.groups)
                if group is not self.optimizer
            },
            "data": self._data,
            "rates": None if self.schedule is None else [self.schedule(past) for past in range(epoch + 1)],
            "rates_of_steps": self._digest_of_rates(epoch, step),
        }

    def _digest_of_rates(self, epoch: int, step: int) -> str | None:
        """Return the digest of the schedule's rates at the last steps before a position, one epoch of them."""
        if self.schedule is None:
            return None
        assert self._steps is not None  # noqa: S101 - `train` has made sure
        last = epoch * self._steps + step
        positions = [divmod(done, self._steps) for done in range(max(0, last - self._steps), last)]
        return digest(np.array([self._rate_at(*position) for position in positions]))

    def _rate_at(self, epoch: int, step: int) -> float:
        """Return the schedule's rate for a step."""
        assert self.schedule is not None  # noqa: S101
        assert self._steps is not None  # noqa: S101 - `train` has made sure
        return self.schedule(epoch + step / self._steps)

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint needs to go on from here with the same bits, as a nested dict of arrays and values.

        Raises
        ------
        RuntimeError
            After an error or an interrupt within a step, whose weights belong to no step. In the middle of an epoch
            whose batches are the user's own, since no run could go on from there.
        """
        self._check_whole()
        if self.step and isinstance(self.loader, Batches):
            raise RuntimeError(
                f"loader must be a Loader or arrays for a state in the middle of an epoch, here after step {self.step} "
                f"of epoch {self.epoch}, got {describe(self.loader.source)}; read the state at the end of an epoch"
            )
        return {
            "epoch": self.epoch,
            "step": self.steps_done,
            "sums": dict(vars(self._sums)),
            "history": list(self.history),
            "run": self._fingerprint(self.epoch, self.step),
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
        # The steps of a Loader's epochs can be told; batches of the user's own have a state at an epoch's end alone.
        epoch, done = state["epoch"], state["step"]
        before_epoch = epoch * len(self.loader) if isinstance(self.loader, Loader) else done
        if changed := differences(state["run"], self._fingerprint(epoch, done - before_epoch)):
            raise ValueError(f"resume must be a checkpoint of the same run, got one with another {'; '.join(changed)}")
        if changed := differences(state.get("made_with", {}), environment()):
            message = f"the checkpoint was made elsewhere, so that bits may differ: {'; '.join(changed)}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        sums = Sums.of_state(state["sums"])
        before = model_state(self.model)
        load_model_state(self.model, state)
        try:
            self.optimizer.load_state(state["optimizer"])
        except Exception:
            load_model_state(self.model, before)
            raise
        self.optimizer.learning_rate = state.get("learning_rate", self.optimizer.learning_rate)
        self.epoch, self.step, self._steps_before = epoch, done - before_epoch, before_epoch
        self._sums, self.history = sums, list(state.get("history", []))
        self._batches, self._unfinished = None, ""
