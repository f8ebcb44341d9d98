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
                  one, and sends the coroutine its first None (`_core._first_step`)
    the rest      if the coroutine wants to wait, the task is given what is left of it, and the
                  driver is woken, for it waits with an outdated timeout

A coroutine that never waits is thus a function call (see `benchmarks/await_ready.py`), and one that
does sees nothing unusual: it has the same task before and after.

The task of a first step has no life before it is needed: ``Task.__new__`` without ``__init__``,
which is enough to be asked for, cancelled, and compared with.  Rejected: a whole task for each
call, which costs as much as a switch between tasks; and no current task in the first step, since
`asyncio.timeout`, task groups and anyio ask for it.

Invariants
    asyncio's own queues of a loop, `_ready` and `_scheduled`, change only in who holds the baton,
    but for `call_soon_threadsafe`
    a step that parks keeps the baton: as everywhere in asyncio, who blocks in a coroutine holds
    up its loop
    the driver is a daemon, and shielded from who cancels every green thread there is; `close`
    ends it, at the latest at exit
"""

import asyncio
import atexit
import contextvars
import functools
import os
import selectors
import sys
import threading
from asyncio import Task, _enter_task, _get_running_loop, _leave_task, _set_running_loop
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from weft import _core
from weft._core import _first_step
from weft._future_wait import Wait, wait_for
from weft._offload import os_threads

if TYPE_CHECKING:
    from collections import deque

T = TypeVar("T")

NAME = "asyncio loop"  # the driver's, in dumps


class Selector(selectors.EpollSelector):
    """Lets go of the baton while it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.baton = threading.RLock()  # who has it and wants it again is told why not

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

    # asyncio's own, which its loops have had since there is asyncio
    _ready: "deque[asyncio.Handle]"
    _scheduled: list[asyncio.TimerHandle]
    _asyncgen_firstiter_hook: Callable[[AsyncGenerator[Any, Any]], None]
    _asyncgen_finalizer_hook: Callable[[AsyncGenerator[Any, Any]], None]

    def __init__(self) -> None:
        selector = Selector()
        super().__init__(selector)
        self.baton = selector.baton
        self._driver = self._start_driver()

    def is_running_here(self) -> bool:
        """Is the caller in one of its callbacks or tasks?"""
        return _get_running_loop() is self

    def adopt(self, coroutine: Coroutine[Any, Any, T], first: object, task: "Task[T]") -> Wait[T]:
        """Give the task its life; what it was asked for before must not be lost."""
        rest = Begun(coroutine, first)
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
        with _core.CancelScope(shield=True), self.baton:
            self.run_forever()

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


def _nothing() -> None:
    pass


_shared: SharedLoop | None = None
_making = threading.Lock()


# --- asynchronous generators ----------------------------------------------------------------------

# Those that a first step begins belong to the loop, like those that tasks begin: it closes them if
# nobody else does.  The hooks are a thread's, and stay as long as the green thread lives; a loop
# that runs in it has its own meanwhile.


def _watch_async_gens() -> None:
    sys.set_asyncgen_hooks(_generator_begins, _generator_is_dropped)


def _generator_begins(generator: AsyncGenerator[Any, Any]) -> None:
    if _shared is not None and _shared.is_running_here():
        _shared._asyncgen_firstiter_hook(generator)


def _generator_is_dropped(generator: AsyncGenerator[Any, Any]) -> None:
    if _shared is not None:
        _shared._asyncgen_finalizer_hook(generator)


_core._lend_asyncio(
    _get_running_loop,
    _set_running_loop,
    _enter_task,
    _leave_task,
    Task,
    SharedLoop.adopt,
    _watch_async_gens,
)


# --- waiting for coroutines -----------------------------------------------------------------------


def await_(awaitable: Awaitable[T]) -> T:
    """Wait for a coroutine, or anything else that can be awaited, and return its result.  Parks.

    A future or task is waited for on its own loop, wherever that runs.  A coroutine begins at once,
    in the caller and its contextvars context; if it has to wait, it goes on on the loop that green
    threads share, in a copy of that context.

    Raises what it raises, `asyncio.CancelledError` if it was cancelled; and RuntimeError where
    nobody could ever answer: in a coroutine or callback of the very loop it would run on.  Whoever
    is interrupted meanwhile, or cancelled, cancels what he waits for and waits until it has ended.
    """
    if type(awaitable) is not CoroutineType:
        if isinstance(awaitable, asyncio.Future):
            future: asyncio.Future[T] = awaitable
            return wait_for(future)
        awaitable = _coroutine(awaitable)
    coroutine: Coroutine[Any, Any, T] = awaitable
    try:
        loop = _shared or shared_loop()
        with loop.baton:
            outcome: Any = _first_step(loop, loop._ready, loop._scheduled, coroutine)
            if type(outcome) is not Wait:
                return outcome  # type: ignore[no-any-return]
    except BaseException:
        coroutine.close()  # for the case that it never began
        raise
    wait: Wait[T] = outcome
    return wait.park()


async def _coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable


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
