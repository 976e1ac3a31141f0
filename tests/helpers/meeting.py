"""Two threads in one model: the second goes through it while the first waits inside, and ends after the first."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from allconv import Layer


class Meeting:
    """A layer, and what its backward pass does in two threads."""

    def __init__(self, kind: type[Layer], pool: ThreadPoolExecutor) -> None:
        second_is_inside, first_is_done = threading.Event(), threading.Event()

        def wait_for_the_second() -> None:
            self._result = pool.submit(self._second)
            assert second_is_inside.wait(10)

        def wait_for_the_first() -> None:
            second_is_inside.set()
            assert first_is_done.wait(10)

        steps = iter([wait_for_the_second, wait_for_the_first])

        class Meets(kind):
            def backward(self, dy, cache):
                next(steps)()
                return super().backward(dy, cache)

        self.layer, self._first_is_done = Meets(), first_is_done

    def run(self, first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
        """Return the results of two functions, each of which goes backward through the layer once."""
        self._second = second
        try:
            result = first()
        finally:
            self._first_is_done.set()
        return result, self._result.result()


@contextmanager
def meeting(kind: type[Layer]) -> Iterator[Meeting]:
    """Let two threads meet in the backward pass of a layer of a class without arguments."""
    with ThreadPoolExecutor(1) as pool:
        yield Meeting(kind, pool)
