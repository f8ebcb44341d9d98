"""How a green thread waits for an asyncio future.

It leaves a waker with the future and parks; the loop, wherever it runs, calls the waker when the
future is done.  A waker may be called from any OS thread and any number of times; it ends one wait.

Who is interrupted while he waits (Ctrl-C, a cancellation, an exception set by another thread) does
not leave the work to itself: the future is cancelled, and once more waited for, until it has ended.
"""

import _thread
import asyncio
from typing import Any, Generic, TypeVar

T = TypeVar("T")

OWN_LOOP = "a coroutine that waits for its own loop without `await` would wait for ever"


class Wait(Generic[T]):
    """One wait for one future."""

    def __init__(self, future: "asyncio.Future[T]") -> None:
        self._future = future
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def wake(self, _: Any = None) -> None:
        """End the wait, or let it not begin."""
        if self._lock.locked():
            self._lock.release()

    def park(self) -> T:
        """Wait until woken, and return the future's result or raise its exception.  Parks.

        Whoever made this has seen to it that `wake` will be called when the future is done.
        """
        try:
            self._lock.acquire()
        except BaseException:
            self._future.get_loop().call_soon_threadsafe(self._future.cancel)
            self._lock.acquire()
            raise
        return self._future.result()


def wait_for(future: "asyncio.Future[T]") -> T:
    """Wait for a future whose loop runs in another green thread or OS thread.  Parks.

    Raises what it raises, and RuntimeError if its loop is the caller's own, or closed.
    """
    loop = future.get_loop()
    if asyncio._get_running_loop() is loop:
        raise RuntimeError(OWN_LOOP)
    wait = Wait(future)
    loop.call_soon_threadsafe(future.add_done_callback, wait.wake)
    return wait.park()
