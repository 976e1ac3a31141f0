"""Threads that wait for jobs, for `allconv.parallel.pool`.

`concurrent.futures.ThreadPoolExecutor` does not serve here. Its locks are not re-entrant, so a signal handler may wait
for itself. A thread that an interrupt catches while it starts is lost, and may keep the program from its exit. And its
threads are no daemons, so the exit would wait for all work that a daemon thread has handed out.
"""

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue

from allconv.parallel.blas import mark_worker

this_thread = threading.local()  # `busy` is true in a thread that must compute nested calls alone


class Job:
    """A worker's part in a call of `run`: the worker begins it or the caller cancels it, whoever comes first."""

    def __init__(self, work: Callable[[], None]) -> None:
        # Each job has its own copy of the caller's context, since only one thread at a time can enter a context.
        self._work: Callable[[], None] | None = partial(contextvars.copy_context().run, work)
        self._decision: dict[str, str] = {}
        # A bare lock, no threading.Event: an interrupt within Event.wait may leave the lock inside it held for ever.
        self._has_ended = False
        self._gate = threading.Lock()  # is open, which means not held, when the work has ended
        self._gate.acquire()

    def _decided_by(self, who: str) -> str:
        """Return who was first to decide on this job; `setdefault` is one step, which no other thread can divide."""
        return self._decision.setdefault("first", who)

    def begin(self) -> None:
        """Do the work, unless the caller has cancelled it."""
        if self._decided_by("worker") == "worker":
            work, self._work = self._work, None
            assert work is not None  # noqa: S101 - only a cancelled or an earlier begun job has none
            try:
                work()
            finally:
                del work  # before the caller goes on: it may want the memory of the arrays that the work refers to
                self._has_ended = True
                self._gate.release()

    def cancel_or_wait(self) -> None:
        """Cancel the job, or wait for its end if a worker has begun it; an interrupted call may be repeated."""
        if self._decided_by("caller") == "worker":
            # An interrupt may come right after the gate was passed, and a repeated call must not wait for it again.
            if not self._has_ended:
                self._gate.acquire()
        else:
            self._work = None  # and with it the arrays that it refers to: the job may wait in a queue for long


class Workers:
    """At most `count` threads, which start when the first jobs come."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.threads: list[threading.Thread] = []
        self._unstarted = deque(range(count))
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()

    def hand_out(self, jobs: Sequence[Job]) -> None:
        """Hand the jobs out, or the first of them where the system has no more threads."""
        self._start(len(jobs))
        for job in jobs[: len(self.threads)]:
            self._jobs.put(job)

    def _start(self, wanted: int) -> None:
        while len(self.threads) < wanted:
            try:
                number = self._unstarted.popleft()  # in one step, since several callers may start threads at once
            except IndexError:
                return
            thread = threading.Thread(target=self._serve, name=f"allconv-{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads, or the interpreter is about to exit
                self._unstarted.append(number)
                return
            self.threads.append(thread)

    def _serve(self) -> None:
        this_thread.busy = True
        mark_worker()
        while (job := self._jobs.get()) is not None:
            job.begin()
            del job  # and with it the arrays that it refers to
        self._jobs.put(None)  # for the next thread

    def end(self) -> None:
        """Let each thread end after the jobs that were handed out before. This neither waits nor takes a lock."""
        self._jobs.put(None)
