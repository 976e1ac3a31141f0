"""A training run in a folder: settings, log and checkpoints, so that it can be stopped at any moment and resumed."""

# This file is longer than 300 lines because the run folder's rules stand in its docstrings; the code is short.

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from allconv import checkpoint
from allconv.checkpoint.atomic import atomic_write
from allconv.checkpoint.format import check_storable
from allconv.data.loader import Loader
from allconv.distributed import check_same_model
from allconv.parallel.process_group import current
from allconv.training.interrupts import Stop, stop_on_signals
from allconv.training.log import Log
from allconv.training.progress import ProgressBar, print_above_bar
from allconv.training.record import Record
from allconv.training.resume import STATE_KEYS
from allconv.training.settings import check_same_settings, with_environment
from allconv.training.training import Training
from allconv.validation import (
    check_bool,
    check_choice,
    check_instance,
    check_int,
    check_path,
    check_positive,
    describe,
    items_of,
)

# The keys of a run's checkpoint that are no names for what the caller keeps.
_RESERVED = (*STATE_KEYS, "config", "rows", "blocks")


class Stopped(Exception):  # noqa: N818 - this exception reports no error
    """A run ended before its last epoch, after everything was saved.

    Parameters
    ----------
    exit_status : int
        The status that a program should exit with: 130 after Ctrl-C, 143 after SIGTERM, and 0 if the run reached the
        step at which it was told to stop.
    """

    def __init__(self, exit_status: int) -> None:
        super().__init__(exit_status)
        self.exit_status = exit_status


@contextmanager
def open_run(
    folder: str | Path,
    config: Mapping[str, Any],
    *,
    columns: Sequence[str],
    resume: bool = False,
    defaults: Mapping[str, Any] | None = None,
    best: str | None = None,
    checkpoint_every: int = 500,
    checkpoint_minutes: float = 10,
    until_step: int | None = None,
    progress: bool = True,
) -> Iterator["Run"]:
    """Open a folder for a training run that can be stopped at any moment, and goes on with the same bits.

    The folder holds ``config.json`` (the settings), ``log.csv`` (one row an epoch), ``log.txt`` (if the log has text)
    and ``checkpoints/``. A checkpoint contains the log too, so neither can be ahead of the other. While the ``with``
    block is open, the folder is locked against other processes, and Ctrl-C or SIGTERM save before the run ends. On
    several processes (`allconv.distributed`), rank 0 alone prints and writes, and all ranks stop at the same step.

    Parameters
    ----------
    folder : path
        Where the run lives. It is made if it is missing, and must be empty unless `resume` is given.
    config : mapping
        The run's settings by name, as JSON can hold them. ``threads``, ``ranks`` and ``versions`` are added. A resume
        with other settings is refused; only these three and ``epochs`` may change.
    columns : sequence of str
        The columns of ``log.csv``. A column that has the name of a setting gets the value of that setting.
    resume : bool, default False
        Go on from the newest checkpoint in the folder. Without a checkpoint the run starts over.
    defaults : mapping, optional
        The values of settings that older runs did not record.
    best : str, optional
        A column: the checkpoint of the epoch with its largest value is kept as the best one. NaN and None do not count.
    checkpoint_every : int, default 500
        Save after each multiple of this many steps of an epoch.
    checkpoint_minutes : float, default 10
        Save when the last checkpoint is this many minutes old.
    until_step : int, optional
        Save and stop after this many steps, counted over all epochs.
    progress : bool, default True
        Draw a progress bar on standard error.

    Yields
    ------
    Run
        The open run.

    Raises
    ------
    ValueError
        The folder holds other files, or a run with other settings. Nothing is overwritten then.
    RuntimeError
        Another process trains in the folder.

    Examples
    --------
    >>> import tempfile
    >>> import allconv as ac
    >>> def train(folder, resume=False):
    ...     model = ac.Sequential(ac.Flatten(), ac.Linear(3072, 10, rng=np.random.default_rng(0)))
    ...     loss, optimizer = ac.SoftmaxCrossEntropy(), ac.SGD(model.parameters(), 0.01)
    ...     loader = ac.data.Loader(ac.data.shapes(20, seed=0), 10)
    ...     columns = ["rate", "epoch", "loss"]
    ...     with ac.open_run(folder, {"rate": 0.01}, columns=columns, resume=resume, progress=False) as run:
    ...         training = ac.train(model, loss, optimizer, loader, epochs=2, report_every=1, resume=run.saved)
    ...         for record in run.steps(training):
    ...             if record.epoch_ended:
    ...                 run.log({"epoch": record.epoch, "loss": record.loss})
    ...     return run.rows
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows = train(folder)
    ...     rows == train(folder, resume=True)  # the run is complete, so nothing is trained again
    True
    """
    folder, is_first = check_path("folder", folder), current().rank == 0
    resume, progress = check_bool("resume", resume), check_bool("progress", progress)
    names = None if isinstance(columns, str) else items_of(columns)
    if names is None or not all(isinstance(name, str) for name in names):
        raise TypeError(f"columns must be a sequence of str, got {describe(columns)}")
    if defaults is not None and not isinstance(defaults, Mapping):
        raise TypeError(f"defaults must be a dict of settings or None, got {describe(defaults)}")
    if best is not None:
        check_choice("best", best, names)
    cadence = _Cadence(
        steps=check_int("checkpoint_every", checkpoint_every),
        seconds=60 * check_positive("checkpoint_minutes", checkpoint_minutes),
        until_step=None if until_step is None else check_int("until_step", until_step),
    )
    config = with_environment(config)
    checkpoints = folder / "checkpoints"
    if is_first and not resume:
        _check_empty(folder)
    with checkpoint.lock(checkpoints) if is_first else nullcontext(), stop_on_signals() as stop:
        saved = checkpoint.load(checkpoints) if resume and checkpoint.exists(checkpoints) else None
        if saved is not None:
            not_recorded = {name: value for name, value in (defaults or {}).items() if name in config}
            check_same_settings(not_recorded | saved["config"], config, folder)
        log = Log(names, config, saved or {}, best=best)
        run = Run(folder, config, saved, log, cadence, stop, progress=progress)
        try:
            yield run
        finally:
            run.close_bar()


class Run:
    """An open run, as `open_run` gives it.

    Attributes
    ----------
    saved : dict or None
        The checkpoint to resume from, for ``train(..., resume=run.saved)``; None at the start of a run.
    rows : list of dict
        The rows of ``log.csv``, those from before the resume included.
    is_first : bool
        Whether this is rank 0, the process that may write files.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        saved: dict[str, Any] | None,
        log: Log,
        cadence: "_Cadence",
        stop: Stop,
        *,
        progress: bool,
    ) -> None:
        self.saved, self.rows, self.is_first = saved, log.rows, current().rank == 0
        self._folder, self._config, self._log, self._cadence, self._stop = folder, config, log, cadence, stop
        self._progress = progress and self.is_first
        self._kept: dict[str, Any] = {}
        self._training: Training | None = None
        self._bar: ProgressBar | None = None

    def keep(self, name: str, value: Any = None) -> Any:
        """Let all checkpoints hold a value of the caller's, and return the value that they hold.

        Parameters
        ----------
        name : str
            The key in the checkpoint, which must be none of the run's own.
        value : array or plain value
            What to keep, if neither this run nor the checkpoint that it resumes from keeps a value under `name`. A list
            or a dict may be changed in place afterwards.

        Returns
        -------
        array or plain value
            The value that is kept.

        Raises
        ------
        TypeError, ValueError
            The run has a key `name` of its own, or a checkpoint cannot hold `value`.
        """
        if check_instance("name", name, str) in _RESERVED:
            raise ValueError(f"name must be none of the run's own, {', '.join(_RESERVED)}, got {name!r}")
        check_storable({name: value})
        return self._kept.setdefault(name, (self.saved or {}).get(name, value))

    def steps(self, training: Training) -> Iterator[Record]:
        """Train: yield one record a step, and save a checkpoint when one is due.

        A checkpoint is due at the start of a run, after each epoch, after a signal, and as the arguments of `open_run`
        say. It is saved when the caller asks for the next record, so it holds what the caller did with the last one.

        Parameters
        ----------
        training : Training
            What `train` returned, with ``report_every=1``.

        Yields
        ------
        Record
            The record of a step.

        Raises
        ------
        Stopped
            After a signal, or at `until_step`.
        TypeError, ValueError
            The training is on batches of the user's own, which no run can go on with in the middle of an epoch; it
            gives no record a step; or it does not go on from the checkpoint of a resumed run.
        """
        self._check_training(training)
        self._training = training
        if self.is_first:
            with atomic_write(self._folder / "config.json") as file:
                file.write(json.dumps(self._config, indent=2).encode())
        if self.saved is None:
            self._save()
        elif self.is_first:
            self._log.write(self._folder)  # If the newest checkpoint is damaged, the files are ahead of the one loaded.
        self._saved_step, self._saved_time = training.steps_done, time.monotonic()
        if training.epoch < training.epochs and self._cadence.is_reached(training.steps_done):
            raise Stopped(0)
        self._bar = ProgressBar(training, hidden=not self._progress)
        for record in training:
            self._bar.show(record)
            yield record
            due, signal = self._cadence.ask(
                record, training.steps_done, time.monotonic() - self._saved_time, self._stop
            )
            if due and training.steps_done != self._saved_step:
                self._save()
            if signal or self._cadence.is_reached(training.steps_done):
                raise Stopped(128 + signal if signal else 0)

    def _check_training(self, training: Training) -> None:
        """Raise an error unless `steps` can train, save after each step, and go on where the log ends."""
        if not isinstance(training.loader, Loader):
            rule = "training must be on a Loader or arrays, since a run is saved in the middle of epochs"
            raise TypeError(f"{rule}, got one on {describe(training.loader.source)}")
        if training.report_every != 1:
            rule = "training must have report_every=1, since a run may stop after each step"
            raise ValueError(f"{rule}, got report_every={training.report_every}")
        at = training.steps_done
        if self._training is None and self.saved is not None and at != self.saved["step"]:
            rule = f"training must go on from the run's step {self.saved['step']}, as by train(..., resume=run.saved)"
            raise ValueError(f"{rule}, got one at step {at}")

    def log(self, row: Mapping[str, Any], text: str = "") -> None:
        """Add an epoch to the log, and save a checkpoint that holds it.

        Parameters
        ----------
        row : mapping
            A value for each column of ``log.csv``, except for the columns that are settings.
        text : str
            Lines for ``log.txt``.

        Raises
        ------
        TypeError, ValueError
            `row` has other columns, or a value that no checkpoint can hold. Nothing is added then.
        RuntimeError
            The run has no training, since `steps` has not begun.
        """
        if self._training is None:
            raise RuntimeError("log must be called after the first record of steps(training), got a run not yet begun")
        self._log.add(row, text)
        self._save(best=self._log.last_is_best())

    def print(self, text: str, end: str = "\n") -> None:
        """Print above the progress bar, on rank 0 alone.

        Parameters
        ----------
        text : str
            What to print.
        end : str, default newline
            What to print after it.
        """
        if self._progress:
            print_above_bar(text, end)
        elif self.is_first:
            print(text, end=end, flush=True)

    def close_bar(self) -> None:
        """Close the progress bar of an epoch that did not end."""
        if self._bar is not None:
            self._bar.close()

    def _save(self, *, best: bool = False) -> None:
        assert self._training is not None  # noqa: S101 - `steps` and `log` have made sure
        check_same_model(self._training.model)
        if self.is_first:
            state = {**self._training.state, "config": self._config, **self._log.state, **self._kept}
            checkpoint.save(self._folder / "checkpoints", state, best=best)
            self._log.write(self._folder)
        self._saved_step, self._saved_time = self._training.steps_done, time.monotonic()


@dataclass(frozen=True)
class _Cadence:
    """When a checkpoint is due: the number of steps and of seconds between two, and the step to stop at."""

    steps: int
    seconds: float
    until_step: int | None

    def ask(self, record: Record, step: int, age: float, stop: Stop) -> tuple[bool, int]:
        """Tell whether a checkpoint is due, and the number of the signal that asks to stop, or 0.

        Clocks and signals differ between the ranks, so all ranks do what one of them must do.
        """
        group = current()
        told = group.all_gather(np.array([[stop.number, age >= self.seconds]]), group.size)
        signal, late = told.max(axis=0).tolist()
        due = record.epoch_ended or record.step % self.steps == 0 or self.is_reached(step)
        return bool(due or signal or late), int(signal)

    def is_reached(self, step: int) -> bool:
        """Tell whether so many steps are those after which the run is to stop."""
        return self.until_step is not None and step >= self.until_step


def _check_empty(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"folder must be empty unless resume is given, got {folder}, which is not")
