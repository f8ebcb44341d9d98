"""The event loop that all green threads share when they wait for coroutines.

asyncio's objects belong to a loop: a lock, a queue, a client's connections.  Green threads that
are to meet in them need one loop, and somebody who turns it.  It is turned by a green thread of
its own, the *driver*, which is parked in `epoll_wait` as long as nothing happens.  It lives on the
main OS thread; if somebody else is the first to need it, it is an OS thread, since a green
thread goes no further when its OS thread has ended.

To hand every call to the driver would cost two switches and two turns of the loop, even if the
coroutine never waits.  So the caller takes the first step itself:

    the baton     a lock.  Who holds it *is* the thread of the loop: only he runs its code.  The
                  driver lets go of it only around its wait, so callers get it when the loop is idle
    the step      with the baton, the caller makes the loop the running one, and a task the current
                  one, and sends the coroutine its first None
    the rest      if the coroutine wants to wait, the task is given what is left of it, and the
                  driver is woken, for it waits with an outdated timeout

A coroutine that never waits is thus a function call (see `benchmarks/await_ready.py`), and one that
does sees nothing unusual: it has the same task before and after.

The task of a first step has no life before it is needed: ``Task.__new__`` without ``__init__``,
which is enough to be asked for, cancelled, and compared with.  Rejected: a whole task for each
call, which costs as much as a switch between tasks; and no current task in the first step, since
`asyncio.timeout`, task groups and anyio ask for it.

Invariants
    _scheduled and _ready, asyncio's own queues of a loop, change only in who holds the baton
    a step that parks keeps the baton: as everywhere in asyncio, who blocks in a coroutine holds
    up its loop
    the driver is a daemon; `close` ends it, at the latest at exit
"""

import asyncio
import atexit
import contextvars
import functools
import os
import selectors
import threading
from asyncio import Task, _enter_task, _get_running_loop, _leave_task, _set_running_loop
from collections import deque
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, TypeVar

from weft import _core
from weft._future_wait import OWN_LOOP, Wait
from weft._offload import os_threads

T = TypeVar("T")

NAME = "asyncio loop"  # the driver's, in dumps


class Selector(selectors.EpollSelector):
    """Lets go of the baton while it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.baton = threading.Lock()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """For the driver, who holds the baton before and after."""
        self.baton.release()
        try:
            return super().select(timeout)
        finally:
            self.baton.acquire()


class Begun(Coroutine[Any, Any, T]):
    """What is left of a coroutine that has taken its first step and handed out `first`."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], first: object) -> None:
        self._coroutine = coroutine
        self._first: object = first
        self._handed_out = False
        self.__name__ = getattr(coroutine, "__name__", type(coroutine).__name__)
        self.__qualname__ = getattr(coroutine, "__qualname__", self.__name__)

    def send(self, value: object) -> object:
        """The task's first one gets what has been handed out already."""
        if self._handed_out:
            return self._coroutine.send(value)
        self._handed_out = True
        return self._first

    def throw(
        self,
        error: Any,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
    ) -> object:
        """Raise it where the coroutine waits."""
        self._handed_out = True
        if value is None and traceback is None:
            return self._coroutine.throw(error)
        return self._coroutine.throw(error, value, traceback)

    def close(self) -> None:
        """As a coroutine's."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, T]:
        raise TypeError("only a task runs this")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)  # cr_frame and its kin, for stacks of tasks


class SharedLoop(asyncio.SelectorEventLoop):
    """An asyncio loop with a baton, and a green thread of its own that turns it."""

    # asyncio's own, which every loop has had since there is asyncio
    _scheduled: list[asyncio.TimerHandle]
    _ready: deque[asyncio.Handle]

    def __init__(self) -> None:
        selector = Selector()
        super().__init__(selector)
        self._baton = selector.baton
        self._driver = self._start_driver()

    def is_running_here(self) -> bool:
        """Is the caller in one of its callbacks or tasks?"""
        return _get_running_loop() is self

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine, its first step in the caller, and return what it returns.  Parks.

        Raises what it raises, and RuntimeError in a coroutine of this loop.  If the caller is
        interrupted, the coroutine is cancelled.
        """
        before = _get_running_loop()
        if before is self:
            coroutine.close()
            raise RuntimeError(OWN_LOOP)
        with self._baton:
            timers = len(self._scheduled)
            task: Task[T] = _new_task(Task)
            _set_running_loop(self)
            try:
                _enter_task(self, task)
                first = coroutine.send(None)
            except StopIteration as stop:
                value: T = stop.value
                return value
            finally:
                _leave_task(self, task)
                _set_running_loop(before)
                if self._ready or len(self._scheduled) != timers:
                    self._wake()  # it can do nothing before it has the baton
            wait = self._adopt(task, Begun(coroutine, first))
        return wait.park()

    def close_down(self) -> None:
        """Cancel its tasks, wait until they are done, end the driver and close it.  Parks."""
        asyncio.run_coroutine_threadsafe(self._end_all(), self).result()
        self.call_soon_threadsafe(self.stop)
        self._driver.join()
        self.close()

    # --- for ourselves and asyncio ---

    def _start_driver(self) -> "_core.GreenThread[None] | threading.Thread":
        drive = functools.partial(contextvars.Context().run, self._drive)
        if threading.get_native_id() == os.getpid():
            driver = _core.spawn(drive)
            driver.daemon = True
            driver.name = NAME
            return driver
        with os_threads():
            thread = threading.Thread(target=drive, name=NAME, daemon=True)
            thread.start()
        return thread

    def _drive(self) -> None:
        with self._baton:
            self.run_forever()

    def _adopt(self, task: "Task[T]", rest: Begun[T]) -> Wait[T]:
        """Give the task its life; what it was asked for before must not be lost."""
        cancels = task.cancelling()
        before = _get_running_loop()
        _set_running_loop(self)
        try:
            task.__init__(rest, loop=self, context=contextvars.copy_context())  # type: ignore[misc]
        finally:
            _set_running_loop(before)
        for _ in range(cancels):
            task.cancel()
        wait = Wait(task)
        task.add_done_callback(wait.wake)
        self._wake()
        return wait

    def _wake(self) -> None:
        self.call_soon_threadsafe(_nothing)

    def _check_thread(self) -> None:
        """What asyncio asks in debug mode: is the caller the loop's thread?"""
        if not self.is_running_here():
            raise RuntimeError("not in a coroutine or callback of this loop")

    async def _end_all(self) -> None:
        tasks = asyncio.all_tasks(self) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.shutdown_asyncgens()
        await self.shutdown_default_executor()


_new_task = Task.__new__


def _nothing() -> None:
    pass


_shared: SharedLoop | None = None
_making = threading.Lock()


def call(coroutine: Coroutine[Any, Any, T]) -> T:
    """`SharedLoop.call`, on the loop there is."""
    return (_shared or shared_loop()).call(coroutine)


def shared_loop() -> SharedLoop:
    """The loop, made when first asked for."""
    global _shared  # noqa: PLW0603 - the one there is
    with _making:
        if _shared is None:
            _shared = SharedLoop()
        return _shared


def close() -> None:
    """End the shared loop, if there is one: its tasks are cancelled and waited for.  Parks.

    Whoever needs a loop afterwards gets a new one.  At exit this happens by itself.

    Raises RuntimeError in a coroutine of that loop.
    """
    global _shared  # noqa: PLW0603 - the one there is
    loop = _shared
    if loop is None:
        return
    if loop.is_running_here():
        raise RuntimeError("the loop cannot be closed by one of its own coroutines")
    _shared = None
    loop.close_down()


def _forget() -> None:
    """In a forked child: the driver is not there."""
    global _shared, _making  # noqa: PLW0603 - the one there is
    _shared = None
    _making = threading.Lock()


atexit.register(close)
os.register_at_fork(after_in_child=_forget)
