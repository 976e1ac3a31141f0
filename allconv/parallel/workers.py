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
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []  # each enters itself: an interrupt of the caller then loses none
        self._placed: object = None  # for which cores, core of the caller and number of threads

    def hand_out(self, work: Callable[[], None], count: int, shares: list[Share]) -> None:
        """Hand out `count` shares of the work, fewer if there are fewer threads.

        They are added to `shares` before a thread gets one: an interrupted caller must not lose what it has to settle.
        """
        while len(self._threads) < count:
            entered: SimpleQueue[None] = SimpleQueue()
            name = f"allconv-{len(self._threads)}"
            thread = threading.Thread(target=self._serve, args=(count, entered), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads, or the interpreter is shutting down
                break
            entered.get()
        self._place()
        shares += [Share(work) for _ in self._threads[:count]]
        for share in shares:
            self._shares.put(share)

    def _place(self) -> None:
        """Keep the threads off the core that the caller runs on.

        Linux may wake them there, though others are idle, and a single image's tasks then run one after the other.
        """
        if _current_core is None or (cores := os.sched_getaffinity(0)) == {core := _current_core()}:
            return
        if self._placed != (cores, core, len(self._threads)):
            for thread in self._threads:
                assert thread.native_id is not None  # noqa: S101 - it runs
                with suppress(OSError):  # the thread has ended, or the system forbids it
                    os.sched_setaffinity(thread.native_id, cores - {core})
            self._placed = cores, core, len(self._threads)

    def _serve(self, count: int, entered: SimpleQueue[None]) -> None:
        with self._lock:
            needed = len(self._threads) < count  # an interrupted caller did not wait, and may have started another
            if needed:
                self._threads.append(threading.current_thread())
        entered.put(None)
        if not needed:
            return
        this_thread.busy = True
        while (share := self._shares.get()) is not None:
            share.begin()
            del share  # and with it the arrays that it works on
        self._shares.put(None)  # for the next thread

    def retire(self) -> list[threading.Thread]:
        """Let the threads end when what was handed out is done; return them."""
        self._shares.put(None)
        return self._threads
