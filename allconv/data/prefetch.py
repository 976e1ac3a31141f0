"""Work ahead: the next item of an iterator is made while the caller works on the last one."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

from allconv.parallel.pool import calling_thread_alone
from allconv.parallel.workers import Job

T = TypeVar("T")
_END: Any = object()  # takes the place of an item after the last one


def prefetched(items: Iterator[T]) -> Iterator[T]:
    """Yield the items of an iterator, each of which a thread has made ahead.

    An error in the iterator is raised where its item is asked for. A caller that stops early leaves one item unused.
    Such an end waits for the thread, so that no thread uses the iterator any more, nor what the iterator uses.

    Parameters
    ----------
    items : iterator
        The iterator, which only one thread at a time uses. It runs in a copy of the caller's context.

    Yields
    ------
    object
        The items in their order.

    Examples
    --------
    >>> list(prefetched(iter("abc")))
    ['a', 'b', 'c']
    """
    pending = _Next(items)
    try:
        pending.start()
        while (item := pending.result()) is not _END:
            pending = _Next(items)
            pending.start()
            yield item
    finally:
        pending.cancel_or_wait()


class _Next(Generic[T]):
    """The next item of an iterator, which a thread of its own makes; to start one takes 50 us."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._error: BaseException | None = None
        self._job = Job(self._make)
        # The thread is no daemon: Python stops daemons at its exit, and closing an iterator then would never end.
        self._thread = threading.Thread(target=self._job.begin, daemon=False)

    def start(self) -> None:
        """Let the thread begin, unless the system has no more threads."""
        with suppress(RuntimeError):
            self._thread.start()

    def _make(self) -> None:
        try:
            with calling_thread_alone():  # The workers of the pool belong to the caller.
                self._item = next(self._items, _END)
        except BaseException as error:
            self._error = error

    def result(self) -> T:
        """Wait for the item and return it, or raise the error of the iterator.

        Where no thread could start, the caller makes the item.
        """
        if self._thread.ident is None:
            self._job.begin()
        else:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._item

    def cancel_or_wait(self) -> None:
        """Wait until the thread no longer uses the iterator; a thread that has not begun never will."""
        if threading.current_thread() is not self._thread:  # Garbage collection may close an iterator in any thread.
            self._job.cancel_or_wait()
