"""The bridge between green threads and asyncio: each can wait for what the other computes.

From blocking code to coroutines:

    await_(awaitable)      waits for a coroutine, task or asyncio future: the blocking ``await``
    run(coroutine)         the same on a loop of its own, as `asyncio.run`, also where a loop runs
    weft.spawn(fn)         where `fn` is an ``async def``: the result is the coroutine's

From coroutines to blocking code:

    await to_green(fn)     calls it in a green thread, while the loop goes on
    await result(thread)   waits for a green thread, and returns or raises what it does

`await_` runs coroutines on one loop that all green threads of the process share, so that they can
share asyncio's objects as well; `_shared_loop` has the machinery.  Code that brings its own loop
(`asyncio.run`, uvloop's, a web server's) needs none of this: loops run in green threads
as they are.

Both directions cancel.  Who stops waiting for whatever reason (a timeout, Ctrl-C, because he was
cancelled himself) cancels what he waited for and waits until that has ended, so that nothing goes
on behind anybody's back.  `result` alone leaves the green thread as it is, like
`weft.GreenThread.result`.
"""

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from weft import _core
from weft._shared_loop import await_, close

__all__ = ["await_", "close", "result", "run", "to_green"]

P = ParamSpec("P")
T = TypeVar("T")


# --- from blocking code ---------------------------------------------------------------------------


def run(
    main: Coroutine[Any, Any, T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """Run a coroutine on a loop of its own, in a green thread of its own.  Parks.

    As `asyncio.run`: what the coroutine leaves behind is cancelled, and the loop closed.  Unlike
    there the caller may be inside a coroutine; that loop then stands still meanwhile, as it does
    whenever a coroutine blocks.
    """
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = []

    async def marked() -> T:
        task = asyncio.current_task()
        if task is not None:
            started.append((asyncio.get_running_loop(), task))
        return await main

    def turn() -> T:
        with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
            return runner.run(marked())

    thread = _core.spawn(turn)
    try:
        thread.exception()
    except BaseException:  # ours, since that one returns the coroutine's
        _cancel(thread, main, started)
        raise
    return thread.result()


def _cancel(
    thread: "_core.GreenThread[Any]",
    main: Coroutine[Any, Any, Any],
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]],
) -> None:
    """End what `run` has started, and wait until it has ended."""
    for loop, task in started:
        with contextlib.suppress(RuntimeError):  # closed: it has ended at this moment
            loop.call_soon_threadsafe(task.cancel)
    if not started:
        thread.cancel()
    with contextlib.suppress(concurrent.futures.CancelledError):
        thread.exception()
    main.close()  # if it never began


# --- from coroutines ------------------------------------------------------------------------------


async def to_green(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``fn(*args, **kwargs)`` in a green thread, and return what it returns.

    As `asyncio.to_thread`, without an OS thread and without a limit on their number: the caller's
    loop goes on, and `fn` may block.  It runs on the loop's OS thread in a copy of the caller's
    contextvars context.  What it raises is raised here.

    If the caller is cancelled, so is the green thread, and its end is waited for.  Code that takes
    its time to end, or catches `weft.Cancelled`, therefore holds up the caller's end as well.
    """
    thread = _core.spawn(fn, *args, **kwargs)
    try:
        await _ended(thread)
    except asyncio.CancelledError:
        while not thread.done():
            thread.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await _ended(thread)
        raise
    return _outcome(thread)


async def result(thread: "_core.GreenThread[T]") -> T:
    """Wait until a green thread is done; return or raise what its function did.

    If the caller is cancelled, the green thread goes on; if the green thread was cancelled,
    `asyncio.CancelledError` is raised, as by any task that was.

    Raises RuntimeError if it is alive and was not made by `weft.spawn`.
    """
    await _ended(thread)
    return _outcome(thread)


def _outcome(thread: "_core.GreenThread[T]") -> T:
    """Its result, once it is done, in asyncio's terms."""
    if thread.cancelled():
        raise asyncio.CancelledError("the green thread was cancelled")
    return thread.result()


def _ended(thread: "_core.GreenThread[Any]") -> "asyncio.Future[None]":
    """A future of the running loop that is done when the green thread is."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def settle() -> None:
        if not future.done():
            future.set_result(None)

    def tell(thread: "_core.GreenThread[Any]") -> None:
        if not thread.cancelled():
            thread.exception()  # from now on it is collected: it is raised in the coroutine
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle)

    thread.add_done_callback(tell)
    return future
