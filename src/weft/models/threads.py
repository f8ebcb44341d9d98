"""OS threads: a function each, and the system decides who runs.

The simplest model to use, and the one all others are measured by.  Its price: a stack in the
kernel and one outside for each, a system call for each switch, and locks around what is shared,
since a switch may come between any two instructions.

`Thread` is `threading.Thread` with three things made explicit: it has begun when you get it, `join`
returns its result, and a clock knows of it.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from weft.models.clock import Clock, Parker

T = TypeVar("T")


class Thread(Generic[T]):
    """An OS thread that calls ``fn()``; it runs from the moment this is made."""

    def __init__(self, clock: Clock, fn: Callable[[], T]) -> None:
        self._clock = clock
        self._fn = fn
        self._lock = threading.Lock()
        self._joiners: list[Parker] = []
        self._done = False
        self._outcome: Callable[[], T] = self._not_done
        clock.enter()
        threading.Thread(target=self._run, daemon=True).start()

    def join(self) -> T:
        """Wait until it is done; return what the function returned, or raise what it raised."""
        parker = Parker(self._clock)
        with self._lock:
            if self._done:
                parker.unpark()
            else:
                self._joiners.append(parker)
        parker.park()
        return self._outcome()

    def _run(self) -> None:
        outcome = self._call()
        with self._lock:
            self._done, self._outcome = True, outcome
            for parker in self._joiners:
                parker.unpark()
        self._clock.leave()

    def _not_done(self) -> T:
        raise RuntimeError("the thread is not done")

    def _call(self) -> Callable[[], T]:
        try:
            result = self._fn()
        except BaseException as error:  # noqa: BLE001 - it is raised in join
            failure = error

            def fail() -> T:
                raise failure

            return fail
        return lambda: result
