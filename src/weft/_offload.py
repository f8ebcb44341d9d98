"""Work for OS threads: what would keep a green thread's OS thread busy, or cannot bear green ones.

C code that computes for long with the GIL released (compression, hashing, linear algebra), or that
waits where no hook reaches, keeps all green threads of its OS thread waiting.  `to_thread` runs
such a function on an OS thread and parks the caller meanwhile.  The threads come from a pool, as
asyncio.to_thread's do: at most as many as `concurrent.futures` thinks right, made when needed.

After `weft.install` every `threading.Thread` is green; `os_threads` makes exceptions.
"""

import contextvars
import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from weft import _core
from weft._region import Region

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

P = ParamSpec("P")
T = TypeVar("T")


class os_threads(Region):  # noqa: N801 - read as a word of the language, like contextlib's
    """``with weft.os_threads():`` makes the threads started inside OS threads, installed or not.

    For libraries whose threads must not be green: those that wait where no hook reaches, and
    debuggers' and profilers'.  Counts for the green thread that enters it.  Nests; does not park.
    """

    _add = staticmethod(_core._want_os_threads)


class _Outside(Region):
    """Virtual time passes at the speed of the real one."""

    _add = staticmethod(_core._clock_outside)


_outside = _Outside()


def to_thread(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``fn(*args, **kwargs)`` on an OS thread, and return what it returns.  Parks.

    It runs in a copy of the caller's contextvars context, as with `asyncio.to_thread`, and what it
    raises is raised here.  Blocking calls block the OS thread it runs on, not the caller's.
    """
    context = contextvars.copy_context()
    with os_threads():
        future = _pool().submit(functools.partial(context.run, fn, *args, **kwargs))
    with _outside:
        return future.result()


@functools.cache
def _pool() -> "ThreadPoolExecutor":
    # Imported when needed: a program run by weft should not meet modules it did not ask for.
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    return ThreadPoolExecutor(thread_name_prefix="weft.to_thread")


os.register_at_fork(after_in_child=_pool.cache_clear)  # its threads are not in the child
