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

    A context within another one notes a signal for both. A signal that the process ignores stays ignored. Nothing
    changes outside the main thread, where Python handles no signals, and for SIGTERM on Windows, which has no such
    signal.

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
    note = _Note()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                note.earlier[number] = signal.signal(number, note)
    try:
        yield note.stop
    finally:
        for each, handler in note.earlier.items():
            # An outer context knows of a signal that came here, so that the next one ends the process there too.
            outer_knows = bool(note.stop) and isinstance(handler, _Note)
            signal.signal(each, signal.SIG_DFL if outer_knows else handler)


class _Note:
    """The handler of an open context; `earlier` has the handlers from before it by their signals."""

    def __init__(self) -> None:
        self.stop = Stop()
        self.earlier: dict[int, Any] = {}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note a signal in this context and in those around it, and let the next one end the process."""
        self.stop.number = number
        for each in self.earlier:
            signal.signal(each, signal.SIG_DFL)
        if isinstance(outer := self.earlier.get(number), _Note):
            outer(number, frame)
