"""Work ahead: the next item of an iterator is made while the caller works on the last one."""

import threading
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from allconv.parallel.blas import single_threaded_blas
from allconv.parallel.workers import this_thread

T = TypeVar("T")
_END: Any = object()  # takes the place of an item after the last one


def prefetched(items: Iterator[T]) -> Iterator[T]:
    """Yield the items of an iterator, each of which a thread has made ahead.

    An error in the iterator is raised where its item is asked for. A caller that stops early leaves one item unused.

    Parameters
    ----------
    items : iterator
        The iterator, which only one thread at a time uses.

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
    while (item := pending.result()) is not _END:
        pending = _Next(items)
        yield item


class _Next(Generic[T]):
    """The next item of an iterator, which a thread of its own makes; to start one takes 50 us."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._make, daemon=True)
        self._thread.start()

    def _make(self) -> None:
        this_thread.busy = True  # The workers of the pool belong to the caller, so this thread computes alone.
        try:
            with single_threaded_blas():
                self._item = next(self._items, _END)
        except BaseException as error:
            self._error = error

    def result(self) -> T:
        """Wait for the item and return it, or raise the error of the iterator."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._item
