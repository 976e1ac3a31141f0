"""Threads that wait for shares of a call's work.

`concurrent.futures` would do, but takes 20 us more a call: a tenth of a small network's training step.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

this_thread = threading.local()  # its `busy` is true in a thread that is at work on a share

_current_core = getattr(ctypes.CDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None


class Share:
    """A worker's part of a call of `run`: begun by it or called off by the caller, whoever is first."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._fate: dict[str, str] = {}
        self._ended = threading.Event()

    def begin(self) -> None:
        """Do the work, unless it was called off."""
        if self._fate.setdefault("is", "begun") == "begun":
            try:
                self._work()
            finally:
                self._ended.set()

    def settle(self) -> None:
        """Call it off, or wait for its end if it has begun; may be repeated after an interrupt."""
        if self._fate.setdefault("is", "called off") == "begun":
            self._ended.wait()


class Pool:
    """Threads that wait for shares, started when first needed."""

    def __init__(self) -> None:
        self._shares: SimpleQueue[Share | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._placed: object = None  # for which cores, core of the caller and number of threads

    def hand_out(self, work: Callable[[], None], count: int) -> list[Share]:
        """Return `count` shares of the work, fewer if there are fewer threads."""
        while len(self._threads) < count:
            thread = threading.Thread(target=self._serve, name=f"allconv-{len(self._threads)}", daemon=True)
            self._threads.append(thread)  # before it starts: an interrupt must not lose it
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads, or the interpreter is shutting down
                self._threads.remove(thread)
                break
        self._place()
        shares = [Share(work) for _ in self._threads[:count]]
        for share in shares:
            self._shares.put(share)
        return shares

    def _place(self) -> None:
        """Keep the threads off the core that the caller runs on.

        Linux may wake them there, though others are idle, and a single image's tasks then run one after the other.
        """
        if _current_core is None or (cores := os.sched_getaffinity(0)) == {core := _current_core()}:
            return
        if self._placed != (cores, core, len(self._threads)):
            self._placed = cores, core, len(self._threads)
            for thread in self._threads:
                with suppress(OSError):  # the thread has ended, or the system forbids it
                    os.sched_setaffinity(thread.native_id or 0, cores - {core})

    def _serve(self) -> None:
        this_thread.busy = True
        while (share := self._shares.get()) is not None:
            share.begin()
            del share  # and with it the arrays that it works on

    def retire(self) -> list[threading.Thread]:
        """Let the threads end when what was handed out is done; return them."""
        for _ in self._threads:
            self._shares.put(None)
        return self._threads
