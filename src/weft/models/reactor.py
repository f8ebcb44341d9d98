"""The reactor: it knows when things happen, and whom to wake then.  It runs nothing itself.

Only timers here, since they show all there is to show.  An OS thread of its own waits for the next
one; when it is due, the *waker* that was left for it is called once and forgotten.

Whoever waits may be polled again before that, by somebody else or for another reason; it then
leaves a new waker with `rearm`, and only the newest counts.

Invariants
    a token means one timer for ever: none is given out twice
    wakers are called without the lock: they take locks of their own
"""

import heapq
import threading
from collections.abc import Callable
from itertools import count
from typing import Self

from weft.models.clock import Clock, Parker
from weft.models.threads import Thread

Wake = Callable[[], object]


class Reactor:
    """Timers, on an OS thread of its own until `close`.  Every method from any OS thread."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._tokens = count(1)
        self._due: list[tuple[float, int]] = []
        self._wakers: dict[int, Wake] = {}
        self._closed = False
        self._parker = Parker(clock)
        self._thread = Thread(clock, self._run)

    def register(self, seconds: float, wake: Wake) -> int:
        """Call ``wake()`` in so many seconds; returns a token to ask by.

        Raises RuntimeError if the reactor is closed: nobody would ever be woken.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the reactor is closed")
            token = next(self._tokens)
            self._wakers[token] = wake
            heapq.heappush(self._due, (self.clock.now() + seconds, token))
        self._parker.unpark()
        return token

    def rearm(self, token: int, wake: Wake) -> bool:
        """Call this one instead of the one before.  False: it is due, and has been called."""
        with self._lock:
            if token not in self._wakers:
                return False
            self._wakers[token] = wake
            return True

    def close(self) -> None:
        """End the OS thread; what is not due yet will never be."""
        with self._lock:
            self._closed = True
        self._parker.unpark()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closed:
            for wake in self._take_due():
                wake()
            with self._lock:
                next_due = self._due[0][0] if self._due else None
            self._parker.park(next_due)

    def _take_due(self) -> list[Wake]:
        with self._lock:
            now = self.clock.now()
            wakers = []
            while self._due and self._due[0][0] <= now:
                _, token = heapq.heappop(self._due)
                wakers.append(self._wakers.pop(token))
            return wakers
