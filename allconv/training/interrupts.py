"""Ctrl-C and SIGTERM as a wish to stop, so that a step can be finished and saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stop:
    """Whether a signal asked to stop: true from then on; `number` is the signal's, 0 before."""

    def __init__(self) -> None:
        self.number = 0

    def __bool__(self) -> bool:
        return self.number != 0

    @property
    def exit_status(self) -> int:
        """What a shell reports for a process that this signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """While open, the first Ctrl-C or SIGTERM is noted in the `Stop` that this yields; a second one ends the process.

    Signals that the process ignores stay ignored. Outside the main thread, where Python handles no signals, and for
    SIGTERM on Windows, which has none, nothing changes.

    Examples
    --------
    >>> with stop_on_signals() as stop:
    ...     for step in range(3):  # training, a record at a time
    ...         if stop:
    ...             break  # after saving
    >>> step, bool(stop)
    (2, False)
    """
    stop = Stop()
    before: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - Python's form
        stop.number = number
        for each in before:
            signal.signal(each, signal.SIG_DFL)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
