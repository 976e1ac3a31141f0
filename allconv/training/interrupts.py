"""Note Ctrl-C and SIGTERM instead of ending at once, so that a program can finish its step and save."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stop:
    """Tells whether a signal asked the program to stop: false before, and true from then on.

    Attributes
    ----------
    number : int
        The number of the signal; 0 as long as none came.
    """

    def __init__(self) -> None:
        self.number = 0

    def __bool__(self) -> bool:
        return self.number != 0

    @property
    def exit_status(self) -> int:
        """The status that a shell reports for a process which this signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Open a context in which the first Ctrl-C or SIGTERM is noted, and the second one ends the process.

    A signal that the process ignores stays ignored. Nothing changes outside the main thread, where Python handles no
    signals, and for SIGTERM on Windows, which has no such signal.

    Yields
    ------
    Stop
        True as soon as a signal came.

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
