"""Stages of short calls that two or more threads share without being handed each stage anew.

A prediction of one image takes a millisecond, and a thread that sleeps takes 30 microseconds to wake and to find its
work. So `pool.run` hands out the whole prediction once. Its threads go through the stages together::

    stage 0           stage 1                   stage 2
    part 0  ------->  part 0 (thread A)  ---->  part 0 (thread A)
                      part 1 (thread B)  ---->  part 1 (thread B)

The parts of a stage are independent of each other. A stage begins when all parts of the stage before have ended. A
part is a list of calls, which were prepared: the same calls in any number of threads give the same bits.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from allconv.parallel.pool import get_num_threads, run
from allconv.parallel.workers import this_thread

Part = Sequence[Callable[[], object]]


class _Stage:
    """The parts of a stage: which are still to do in this run, and how many have not ended."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self._waiting: dict[int, Part] = {}
        self._tickets: list[int] = []
        self._gate = threading.Lock()  # is open, which means not held, when all parts have ended

    def begin(self) -> None:
        """Close the gate, and let all parts wait to be done."""
        self._gate.acquire(blocking=False)
        self._waiting = dict(enumerate(self.parts))
        self._tickets = list(range(len(self.parts)))

    def work(self, favourite: int) -> bool:
        """Do parts until none waits, and tell whether the last part of all has ended here.

        The favourite part comes first: its memory may still be in the cache of this core.
        """
        was_last = False
        part = self._waiting.pop(favourite, None)
        if part is None:
            part = self._any()
        while part is not None:
            for call in part:
                call()
            was_last = self._tickets.pop() == 0  # each part takes one ticket, and the last one to end gets number 0
            part = self._any()
        return was_last

    def _any(self) -> Part | None:
        try:
            return self._waiting.popitem()[1]
        except KeyError:
            return None

    def open(self) -> None:
        """Let the threads that wait go on."""
        with suppress(RuntimeError):  # the gate is open already
            self._gate.release()

    def wait(self) -> None:
        """Wait until all parts have ended."""
        self._gate.acquire()
        self.open()


class Stages:
    """Stages that one caller at a time can run, as often as it likes.

    Parameters
    ----------
    stages : list of list of parts
        A part is a list of callables without arguments. The parts of one stage must be independent of each other.
    """

    def __init__(self, stages: Sequence[Sequence[Part]]) -> None:
        self._stages = [_Stage(parts) for parts in stages if parts]
        widths = [len(stage.parts) for stage in self._stages]
        self._width = max(widths, default=1)
        # After the last stage with several parts, one thread is enough.
        self._shared = max((k + 1 for k, width in enumerate(widths) if width > 1), default=0)
        self._failed = False

    def run(self) -> None:
        """Do all stages in order. An error or an interrupt in one thread stops the others, and is raised here."""
        threads = min(self._width, get_num_threads())
        if threads == 1 or getattr(this_thread, "busy", False):
            for stage in self._stages:
                for part in stage.parts:
                    for call in part:
                        call()
            return
        self._failed = False
        for stage in self._stages:
            stage.begin()
        run(self._go_through, threads)

    def _go_through(self, thread: int) -> None:
        try:
            for stage in self._stages if thread == 0 else self._stages[: self._shared]:
                if stage.work(thread):
                    stage.open()
                else:
                    stage.wait()
                if self._failed:
                    return
        except BaseException:
            self._failed = True
            for stage in self._stages:
                stage.open()
            raise
