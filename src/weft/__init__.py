"""Green threads for Python: stackful, cheap, and real threads as far as Python can tell.

Replace ``threading.Thread(...)`` with `weft.spawn`, or run an unmodified threaded program
with ``weft run app.py``.  Whatever used to block an operating-system thread (a lock, a
socket, a sleep, a query in a C extension) now parks a green thread, and another one runs.

    import time, weft

    def greet(name):
        time.sleep(1)
        return f"hello, {name}"

    greeters = [weft.spawn(greet, name) for name in ("warp", "weft")]
    print([greeter.result() for greeter in greeters])

This file only re-exports.  What the names mean stands in `_core.pyi`; the machinery is
written in C under ``src/core``, and the few places where it touches `threading` in `_threads`.

For pytest, which rewrites the packages of its plugins and complains of those that ``weft run`` has
imported before it: PYTEST_DONT_REWRITE.
"""

import importlib
import typing

from weft import _greenlet, _select, _threads  # noqa: F401 - they join in by being imported
from weft._core import (
    BoundedSemaphore,
    Cancelled,
    CancelScope,
    Channel,
    Condition,
    Event,
    GreenThread,
    LifoQueue,
    Lock,
    PriorityQueue,
    Queue,
    RLock,
    Semaphore,
    ShutDown,
    SimpleQueue,
    all_threads,
    current,
    get_preemption,
    install,
    installed,
    move_on_after,
    select,
    set_policy,
    set_preemption,
    sleep,
    spawn,
    statistics,
    timeout,
    timeout_at,
    uninstall,
    yield_now,
)
from weft._deadlock import Deadlock, detect_deadlocks
from weft._dump import dump
from weft._groups import TaskGroup
from weft._offload import os_threads, to_thread
from weft._preemption import no_preempt
from weft._stalls import blocking, warn_stalls
from weft._sync import Barrier, local

if typing.TYPE_CHECKING:
    from weft._executor import Executor
    from weft._waiting import as_completed, wait

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "CancelScope",
    "Cancelled",
    "Channel",
    "Condition",
    "Deadlock",
    "Event",
    "Executor",
    "GreenThread",
    "LifoQueue",
    "Lock",
    "PriorityQueue",
    "Queue",
    "RLock",
    "Semaphore",
    "ShutDown",
    "SimpleQueue",
    "TaskGroup",
    "all_threads",
    "as_completed",
    "blocking",
    "current",
    "detect_deadlocks",
    "dump",
    "get_preemption",
    "install",
    "installed",
    "local",
    "move_on_after",
    "no_preempt",
    "os_threads",
    "select",
    "set_policy",
    "set_preemption",
    "sleep",
    "spawn",
    "statistics",
    "timeout",
    "timeout_at",
    "to_thread",
    "uninstall",
    "wait",
    "warn_stalls",
    "yield_now",
]

_ASKED_FOR = {"Executor": "_executor", "as_completed": "_waiting", "wait": "_waiting"}
"""Where names are that come with `concurrent.futures`, which few programs need."""


def __getattr__(name: str) -> object:
    if name not in _ASKED_FOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"weft.{_ASKED_FOR[name]}"), name)
    globals()[name] = value
    return value


__version__ = "0.1.0"
