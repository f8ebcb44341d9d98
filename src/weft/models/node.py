"""An event loop in phases, as Node's: one OS thread for the program, a few for what it cannot do.

    run(program)
       |
       v
    +--> timers      whatever is due, in order of time, equal ones as they were set
    |    callbacks   what the last turn left: results of jobs, answers from the network
    |    poll        waits for descriptors and for the pool; not at all if there is more to do now,
    |                at most until the next timer
    |    check       what `set_immediate` asked for
    |    close       what `call_at_close` asked for, when it is all over
    +--- anything pending?

Descriptors are asked about with epoll (`selectors.EpollSelector`).  Files are not: epoll does not
take them, they always count as ready and then make the caller wait.  So files and computation go
to a *pool* of OS threads, whose results come back through `call_from_thread`.

Invariants
    callbacks run on the OS thread that calls `run`, one at a time
    a job that finds all threads busy waits for one; it is never refused
    the poll is always given the time of the next timer: timers fire without any I/O
    a turn calls those callbacks it found, not those they add, so that no phase is starved
"""

import heapq
import queue
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

Callback = Callable[[], object]
Done = Callable[[BaseException | None, Any], object]
"""Node's convention: called with an error and None, or with None and the value."""


class Pool:
    """A few OS threads for jobs; more jobs than threads wait in line."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._jobs: queue.SimpleQueue[Callback | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, job: Callback) -> None:
        """Call ``job()`` on an OS thread of the pool, when one is free."""
        if len(self._threads) < self._size:
            thread = threading.Thread(target=self._work, name=f"pool{len(self._threads)}")
            self._threads.append(thread)
            thread.start()
        self._jobs.put(job)

    def close(self) -> None:
        """Wait until all jobs are done, and end the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class Loop:
    """The event loop, for one `run`.  Only `call_from_thread` is for other OS threads as well."""

    def __init__(self, pool_size: int = 4) -> None:
        self._pool = Pool(pool_size)
        self._selector = selectors.EpollSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._numbers = count()
        self._timers: list[tuple[float, int, Callback]] = []
        self._callbacks: deque[Callback] = deque()
        self._immediates: deque[Callback] = deque()
        self._at_close: deque[Callback] = deque()
        self._results: deque[Callback] = deque()  # appended to by other OS threads
        self._pending = 0  # jobs and descriptors that somebody waits for

    # --- what a program asks for ---

    def set_timeout(self, ms: float, callback: Callback) -> None:
        """Call ``callback()`` in `ms` milliseconds."""
        due = time.monotonic() + ms / 1000
        heapq.heappush(self._timers, (due, next(self._numbers), callback))

    def set_immediate(self, callback: Callback) -> None:
        """Call ``callback()`` in this turn, after the poll."""
        self._immediates.append(callback)

    def call_at_close(self, callback: Callback) -> None:
        """Call ``callback()`` when nothing is pending any more."""
        self._at_close.append(callback)

    def submit(self, job: Callable[[], object], done: Done) -> None:
        """Call ``job()`` on the pool, and then ``done(error, value)`` here."""
        self._pending += 1
        self._pool.submit(lambda: self._work(job, done))

    def wait_for(self, sock: socket.socket, event: int, callback: Callback) -> None:
        """Call ``callback()`` once, when `sock` is ready for `event`, one of `selectors`' two.

        Others may wait for the same socket at the same time, for either event.
        """
        self._pending += 1
        key = self._selector.get_map().get(sock)
        if key is None:
            self._selector.register(sock, event, [(event, callback)])
        else:
            key.data.append((event, callback))
            self._selector.modify(sock, key.events | event, key.data)

    def call_from_thread(self, callback: Callback) -> None:
        """Call ``callback()`` on the loop's OS thread; from any other, at any time."""
        self._results.append(callback)
        self._wake_writer.send(b"!")

    # --- the loop ---

    def run(self, program: Callback) -> None:
        """Call ``program()``, then turn until nothing is pending.

        Raises what a callback raises; then it is over.
        """
        try:
            program()
            while self._turn():
                pass
            _call_those_in(self._at_close)
        finally:
            self._pool.close()
            self._selector.close()
            self._wake_reader.close()
            self._wake_writer.close()

    def _turn(self) -> bool:
        self._fire_timers()
        _call_those_in(self._callbacks)
        if self._is_pending():
            self._poll()
        _call_those_in(self._immediates)
        return self._is_pending()

    def _is_pending(self) -> bool:
        return bool(self._timers or self._callbacks or self._immediates or self._pending)

    def _fire_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, callback = heapq.heappop(self._timers)
            callback()

    def _poll(self) -> None:
        for key, events in self._selector.select(self._patience()):
            if key.fileobj is self._wake_reader:
                self._take_results()
            else:
                self._take_ready(key, events)

    def _patience(self) -> float | None:
        """How long the poll may wait, in seconds; None: until something comes."""
        if self._callbacks or self._immediates:
            return 0
        return max(0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _take_ready(self, key: selectors.SelectorKey, events: int) -> None:
        left = [(event, callback) for event, callback in key.data if not event & events]
        for event, callback in key.data:
            if event & events:
                self._pending -= 1
                self._callbacks.append(callback)
        if left:
            wanted = selectors.EVENT_READ * any(e == selectors.EVENT_READ for e, _ in left)
            wanted |= selectors.EVENT_WRITE * any(e == selectors.EVENT_WRITE for e, _ in left)
            self._selector.modify(key.fileobj, wanted, left)
        else:
            self._selector.unregister(key.fileobj)

    def _take_results(self) -> None:
        self._wake_reader.recv(4096)
        while self._results:
            self._callbacks.append(self._results.popleft())

    def _work(self, job: Callable[[], object], done: Done) -> None:
        """On an OS thread of the pool."""
        error: BaseException | None = None
        value = None
        try:
            value = job()
        except BaseException as failure:  # noqa: BLE001 - it is `done`'s to judge
            error = failure

        def finish() -> None:
            self._pending -= 1
            done(error, value)

        self.call_from_thread(finish)


def _call_those_in(callbacks: deque[Callback]) -> None:
    for _ in range(len(callbacks)):
        callbacks.popleft()()
