"""The glue between green threads and `threading`: how they fail and how they end.

`threading` promises two things that a green thread made by `weft.spawn` must keep as well,
although no `threading.Thread` stands behind it:

- An exception nobody collects reaches `threading.excepthook`, at once.
- A thread that is not a daemon is waited for at exit.

Order of events at exit (T1 to T3 are `threading`'s own and atexit's, W1 to W3 ours):

    the main program ends
    T1  threading._register_atexit callbacks   W1  join the green threads
    T2  non-daemon threading.Threads joined
    T3  atexit callbacks of the program
                                               W2  join those started since W1
                                               W3  _core._finalize: parked daemons stay parked
    the interpreter is torn down

W1 is early because executors, pools and `atexit` callbacks expect all threads but the main
one to be done when they run.  W2 is for a green thread started by a `threading.Thread` that
T2 waited for.  Green threads that `threading.Thread` made belong to T2 alone.

The C side is also lent `threading`'s table of threads: for the names of those that
`threading.Thread` made, and to take out the dummy entry that `threading.current_thread` makes
in a green thread, whose identity a later one may get.  And whom to call with what an ``async def``
returned, since asyncio is imported only when somebody needs it.
"""

import atexit
import sys
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from weft import _core
from weft._deadlock import Deadlock

T = TypeVar("T")


def report_exception(green_thread: "_core.GreenThread[Any]", exception: BaseException) -> None:
    """Hand an exception that nobody collects to `threading.excepthook`, as a thread would.

    Called in `green_thread` itself, before anybody can see it as done.  `SystemExit` does not
    come here: it ends a thread silently.  The hook is given the
    green thread where `threading` would give a Thread: it has the same ``name``, ``ident``,
    ``daemon`` and ``is_alive``.  A hook that fails is reported by `sys.excepthook`, and the
    failure ends there.
    """
    args = threading.ExceptHookArgs(
        (type(exception), exception, exception.__traceback__, green_thread)
    )
    try:
        threading.excepthook(args)
    except Exception as failure:  # noqa: BLE001 - whatever a user's hook raises
        failure.__suppress_context__ = True
        print("Exception in threading.excepthook:", file=sys.stderr, flush=True)  # noqa: T201
        sys.excepthook(type(failure), failure, failure.__traceback__)


def join_non_daemons() -> None:
    """Wait until no green thread made by `weft.spawn` is alive, daemons left aside.

    Those that are being waited for may start others; hence the loop.  Those of whom none can ever
    run again are not waited for any longer.
    """
    try:
        while waited_for := _alive_non_daemons():
            for green_thread in waited_for:
                green_thread.join()
    except Deadlock as deadlock:
        if not deadlock.repeated:
            print(f"weft: at exit, {deadlock}", file=sys.stderr, flush=True)  # noqa: T201


def _alive_non_daemons() -> "list[_core.GreenThread[Any]]":
    caller = _core.current()
    return [
        green_thread
        for green_thread in _core._spawned()
        if green_thread is not caller and not green_thread.daemon
    ]


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """See a coroutine through that a green thread's function has returned."""
    # Imported when needed: most programs that use green threads do not use asyncio.
    from weft.aio import await_  # noqa: PLC0415

    return await_(coroutine)


_core._set_callbacks(report_exception, threading._active, run_coroutine)  # type: ignore[attr-defined]
threading._register_atexit(join_non_daemons)  # type: ignore[attr-defined]  # W1
atexit.register(_core._finalize)  # W3: atexit runs the last one first
atexit.register(join_non_daemons)  # W2
