"""Callbacks: one OS thread, and what it shall do when the time has come.

Instead of waiting, a program says what is to happen afterwards and returns.  Nothing ever runs at
the same time as something else, so nothing needs a lock; but a function cannot wait, and so
whatever comes after a wait must be written inside another function.

`run` is the whole event loop: what is ready, in order, then the timer that is due next.

    ready    called as soon as whatever runs now has returned, first come, first served
    timers   a heap by due time; equal ones in the order in which they were set, none ever lost
"""

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count

from weft.models.clock import Clock

Callback = Callable[[], object]


class Runtime:
    """A loop that calls callbacks, all on the OS thread that calls `run`."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self._ready: deque[Callback] = deque()
        self._timers: list[tuple[float, int]] = []
        self._callbacks: dict[int, Callback] = {}  # by number; cleared ones are no longer here
        self._numbers = count(1)

    def set_timeout(self, ms: float, callback: Callback) -> int:
        """Call ``callback()`` in `ms` milliseconds; returns a number for `clear_timeout`."""
        number = next(self._numbers)
        self._callbacks[number] = callback
        heapq.heappush(self._timers, (self.clock.now() + ms / 1000, number))
        return number

    def clear_timeout(self, number: int) -> None:
        """Do not call it after all.  Harmless when it has been called, or cleared."""
        self._callbacks.pop(number, None)

    def call_soon(self, callback: Callback) -> None:
        """Call ``callback()`` before time passes, but not before the running one has returned."""
        self._ready.append(callback)

    def run(self, program: Callback) -> None:
        """Call ``program()``, then callbacks until there are none.

        Raises what one of them raises; those that are left are called if `run` is called again.
        """
        program()
        while self._ready or self._callbacks:
            if self._ready:
                self._ready.popleft()()
            else:
                self._wait_for_timer()
        self._timers.clear()  # cleared ones, all of them

    def _wait_for_timer(self) -> None:
        due, number = heapq.heappop(self._timers)
        if number in self._callbacks:
            self.clock.sleep(due - self.clock.now())
            self._ready.append(self._callbacks.pop(number))
