"""What a full disk, a broken one, or a kill does to the code under test, at each of its I/O calls in turn.

`io_calls(folder, act)` puts a shim under os and open. Within it, ``act(number, name, do, *args)`` stands in for each
call that changes or lists `folder`, numbered from 0; ``do(*args)`` does the real thing. The calls are open, write,
fsync and close (of files and of folders), replace, rename, unlink, remove, mkdir, listdir and scandir.
"""

import contextlib
import errno
import io
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

Act = Callable[..., Any]  # (number, name, do, *args) -> result of the call


@contextlib.contextmanager
def io_calls(folder: Path | str, act: Act) -> Iterator[None]:
    """Let `act` stand in for each I/O call of the block on `folder` and what lies in it."""
    numbers = itertools.count()
    inside = os.path.realpath(folder)
    descriptors: set[int] = set()

    def concerns(target: object) -> bool:
        if isinstance(target, int):
            return target in descriptors
        return os.path.realpath(os.fspath(target)).startswith(inside)  # type: ignore[call-overload]

    def shimmed(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: object, *args: Any, **kwargs: Any) -> Any:
            if not concerns(target):
                return real(target, *args, **kwargs)
            if name == "close":
                descriptors.discard(target)  # type: ignore[arg-type]
                try:  # a close that fails has closed all the same
                    return act(next(numbers), name, lambda: None)
                finally:
                    real(target)
            result = act(next(numbers), name, lambda: real(target, *args, **kwargs))
            if name == "open":
                descriptors.add(result)
            return result

        return call

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            written: int = act(next(numbers), "write", super().write, memoryview(data))
            return written

        def close(self) -> None:
            if not self.closed:
                descriptors.discard(self.fileno())
                try:
                    act(next(numbers), "close", lambda: None)
                finally:
                    super().close()

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "b" not in mode or "r" in mode or not concerns(file):
            return real_open(file, mode, *args, **kwargs)
        raw = act(next(numbers), "open", lambda: Raw(file, mode.replace("b", "")))
        descriptors.add(raw.fileno())
        return io.BufferedWriter(raw)

    real_open = io.open
    names = ("open", "close", "fsync", "replace", "rename", "unlink", "remove", "mkdir", "listdir", "scandir")
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(os, name, shimmed(name, getattr(os, name))))
        stack.enter_context(mock.patch("io.open", opened))
        stack.enter_context(mock.patch("builtins.open", opened))
        yield


def fault(at: int, error: Exception, *, for_good: bool = False) -> Act:
    """Raise `error` at call number `at`; with `for_good` at every later call too, as a disk that stays full does."""

    def act(number: int, name: str, do: Callable[..., Any], *args: Any) -> Any:
        if number == at or (for_good and number > at):
            raise error
        return do(*args)

    return act


def short_write(at: int, then: Exception | None = None) -> Act:
    """Write half of what call number `at` should write, and say so, or raise `then`."""

    def act(number: int, name: str, do: Callable[..., Any], *args: Any) -> Any:
        if number != at or name != "write":
            return do(*args)
        written = do(args[0][: (len(args[0]) + 1) // 2])
        if then is not None:
            raise then
        return written

    return act


def kill(at: int) -> Act:
    """Kill this very process before call number `at`."""

    def act(number: int, name: str, do: Callable[..., Any], *args: Any) -> Any:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return do(*args)

    return act


def record(calls: list[str]) -> Act:
    """Do every call, and append its name to `calls`."""

    def act(number: int, name: str, do: Callable[..., Any], *args: Any) -> Any:
        calls.append(name)
        return do(*args)

    return act


CODES = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EMFILE)


def errors() -> list[Exception]:
    """Return new instances of what an I/O call may raise: a disk's and a system's errors, and no memory."""
    return [*(OSError(code, os.strerror(code)) for code in CODES), MemoryError()]
