"""How a green thread waits for an asyncio future.

It leaves a waker with the future and parks; the loop, wherever it runs, calls the waker when the
future is done.  A waker may be called from any OS thread and any number of times; it ends one wait.

Who is interrupted while he waits (Ctrl-C, a cancellation, an exception set by another thread) does
not leave the work to itself: the future is cancelled, and once more waited for, until it has ended.
So from the moment at which the wait is prepared until it is over he is not preempted: a
cancellation then comes in the wait, where it is seen to, and not a bytecode before.
"""

import _thread
import asyncio
from typing import Any, Generic, TypeVar

from weft import _core

T = TypeVar("T")

OWN_LOOP = "a coroutine that waits for its own loop without `await` would wait for ever"


class Wait(Generic[T]):
    """One wait for one future, which must be parked for, or given up."""

    def __init__(self, future: "asyncio.Future[T]") -> None:
        _core._hold_preemption(1)
        self._future = future
        self._woken = False  # an interrupt may come with the lock, or without it
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def wake(self, _: Any = None) -> None:
        """End the wait, or let it not begin."""
        self._woken = True
        if self._lock.locked():
            self._lock.release()

    def park(self) -> T:
        """Wait until woken, and return the future's result or raise its exception.  Parks.

        Whoever made this has seen to it that `wake` will be called when the future is done.
        """
        try:
            self._lock.acquire()
        except BaseException:
            if not self._woken:
                self._future.get_loop().call_soon_threadsafe(self._future.cancel)
                self._lock.acquire()
            raise
        finally:
            self.give_up()
        return self._future.result()

    def give_up(self) -> None:
        """It is over."""
        _core._hold_preemption(-1)


def wait_for(future: "asyncio.Future[T]") -> T:
    """Wait for a future whose loop runs in another green thread or OS thread.  Parks.

    Raises what it raises, and RuntimeError if its loop is the caller's own, or closed.
    """
    loop = future.get_loop()
    if asyncio._get_running_loop() is loop:
        raise RuntimeError(OWN_LOOP)
    wait = Wait(future)
    try:
        loop.call_soon_threadsafe(future.add_done_callback, wait.wake)
    except RuntimeError:
        wait.give_up()
        raise
    return wait.park()
