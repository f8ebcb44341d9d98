"""Waiting for several things: green threads and futures, as `concurrent.futures` waits for futures.

Each thing is asked to call back when it is done, and what has called is taken from a queue.  What
was asked of things that are not done in the end is taken back, so waiting again and again for the
same ones leaves nothing behind.

The queue is ours: `queue.SimpleQueue` of CPython up to 3.12 waits for ever when the time it is
given passes before it begins to wait.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    CancelledError,
    Future,
)
from contextlib import suppress
from queue import Empty
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

from weft import _core
from weft._core import GreenThread, SimpleQueue

Thing: TypeAlias = GreenThread[Any] | Future[Any]
T = TypeVar("T", bound=Thing)


class DoneAndNotDone(NamedTuple):
    """What `wait` returns."""

    done: set[Any]
    not_done: set[Any]


def wait(
    things: Iterable[Thing], timeout: float | None = None, return_when: str = ALL_COMPLETED
) -> DoneAndNotDone:
    """Wait until some or all of `things` are done, at most `timeout` seconds.  Parks.

    Things are green threads made by `weft.spawn` and `concurrent.futures.Future` objects, mixed as
    you like.  `return_when` is one of `concurrent.futures`' ``ALL_COMPLETED``, ``FIRST_COMPLETED``
    and ``FIRST_EXCEPTION``.  Returns two sets, `done` and `not_done`.  What was cancelled is done,
    and has not failed.  A green thread that ends meanwhile counts as collected: its exception is
    not reported.

    Raises ValueError for another `return_when`.
    """
    if return_when not in {ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION}:
        raise ValueError(f"invalid return condition: {return_when!r}")
    not_done = set(things)
    done = {thing for thing in not_done if thing.done()}
    not_done -= done
    if _is_enough(done, not_done, done, return_when):
        return DoneAndNotDone(done, not_done)
    with _Watch(not_done, timeout) as watch:
        while not_done:
            newly = watch.next()
            if newly is None:
                break
            done.add(newly)
            not_done.discard(newly)
            if _is_enough(done, not_done, {newly}, return_when):
                break
    return DoneAndNotDone(done, not_done)


def as_completed(things: Iterable[T], timeout: float | None = None) -> Iterator[T]:
    """Iterate over `things` as they are done; those that are already come first.  Parks.

    Things are those of `wait`; one given twice comes once.  Raises TimeoutError from the iteration
    if not all are done `timeout` seconds after the call.
    """
    return _in_order(set(things), None if timeout is None else time.monotonic() + timeout)


def _in_order(not_done: set[T], deadline: float | None) -> Iterator[T]:
    count = len(not_done)
    left = None if deadline is None else max(0, deadline - time.monotonic())
    with _Watch(not_done, left) as watch:
        while not_done:
            thing = watch.next()
            if thing is None:
                raise TimeoutError(f"{len(not_done)} (of {count}) are not done")
            not_done.remove(thing)
            yield thing
            del thing  # while the next is waited for, it is the caller's alone


def _is_enough(done: set[Any], not_done: set[Any], newly: set[Any], return_when: str) -> bool:
    if not not_done:
        return True
    if return_when == FIRST_COMPLETED:
        return bool(done)
    return return_when == FIRST_EXCEPTION and any(map(_has_failed, newly))


def _has_failed(thing: Thing) -> bool:
    if thing.cancelled():
        return False
    return thing.exception() is not None


class _Watch:
    """Things that call when they are done, while its block runs."""

    def __init__(self, things: Collection[Any], timeout: float | None) -> None:
        self._things = list(things)
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._done: SimpleQueue[Any] = SimpleQueue()

    def __enter__(self) -> Self:
        try:
            for thing in self._things:
                thing.add_done_callback(self._tell)
        except BaseException:  # one that cannot be waited for
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for thing in self._things:
            if not thing.done():
                _take_back(thing, self._tell)

    def _tell(self, thing: Thing) -> None:
        if isinstance(thing, GreenThread):
            with suppress(CancelledError):
                thing.exception()  # now it is collected
        self._done.put(thing)

    def next(self) -> Any:
        """The next that is done, or None when the time is over."""
        left = None if self._deadline is None else max(0, self._deadline - time.monotonic())
        try:
            return self._done.get(timeout=left)
        except Empty:
            return None


def _take_back(thing: Thing, callback: Callable[[Any], None]) -> None:
    if isinstance(thing, GreenThread):
        _core._remove_done_callback(thing, callback)
        return
    with thing._condition, suppress(ValueError):  # it has no public way
        thing._done_callbacks.remove(callback)  # type: ignore[attr-defined]
