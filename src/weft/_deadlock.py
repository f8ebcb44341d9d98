"""`weft.Deadlock`: the main green thread is told that nobody can ever run again, and why.

The core calls `judge` in the main green thread when all are parked, no timer, descriptor or
offloaded call is left, and every other OS thread is idle, too, or waits for a lock.  Only a signal
could change that.  On OS threads such a program hangs, and some hang on purpose: until Ctrl-C.  So,
unless asked for more:

- a cycle of waits (each for a lock the next one holds, or for its end) is a deadlock: no signal
  handler ends it.  Daemons alone in one are nobody's concern, unless the main one waits for them;
- ``join()``, ``result()`` or ``exception()`` of a `weft.GreenThread` is one, if the program handles
  no signals.

docs/design/0016 has the reasons.  What looks and tells is imported when it is needed.
"""

import signal
import threading
from typing import TYPE_CHECKING, Literal

from weft import _core

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from weft._snapshot import Thread
    from weft._waits import Wait

Mode = Literal["certain", "likely", "never"]

SHOWN = 20
"""So many of those outside the cycles are told one by one."""

FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
"""Their handlers report a crash."""


class Deadlock(RuntimeError):  # noqa: N818 - what it is, as with StopIteration
    """Raised in the main green thread when no green thread can ever run again.

    The message says who waits for what, who holds it, and where each was spawned, cycles first.
    """

    repeated = False
    """True if the same green threads were told of before."""


Deadlock.__module__ = "weft"  # where people find it

_mode: Mode = "certain"
_told: frozenset[int] = frozenset()


def detect_deadlocks(mode: Mode) -> None:
    """Say what the main green thread is told when no green thread can ever run again.

    - ``"certain"``, the default: `Deadlock` is raised where there is a cycle of waits, or where the
      main one waits for the end of a `GreenThread` and the program handles no signals.
    - ``"likely"``: it is raised wherever the program handles no signals, although on OS threads
      it would wait, for Ctrl-C perhaps.
    - ``"never"``: it is never raised.

    Counts for the whole process.  Raises ValueError for another mode.  Does not park.
    """
    global _mode  # noqa: PLW0603 - the process has one
    if mode not in {"certain", "likely", "never"}:
        raise ValueError(f"not a way to detect deadlocks: {mode!r}")
    _mode = mode
    _core._watch_deadlocks(None if mode == "never" else judge)


def detects() -> bool:
    """Is anybody told of deadlocks?"""
    return _mode != "never"


def judge(reason: str, awaited: int) -> Deadlock | None:
    """The exception to raise in the main green thread, if this is a deadlock.

    All are parked but that one, which was until now, for `reason` and exactly `awaited`.
    """
    from weft import _snapshot, _waits  # noqa: PLC0415

    global _told  # met again at exit, it need not be told at length
    threads = {thread.ident: thread for thread in _snapshot.take().threads}
    main = threads[threading.get_ident()]
    main.park = _snapshot.Park(reason, f"waiting ({reason})", awaited, 0, None)
    for thread, lock in _bystanders(threads.values()):
        thread.park = _snapshot.Park("lock", "waiting for a lock", lock, 0, None)
    waits = _waits.explain(threads.values())
    cycles = [cycle for cycle in _cycles(waits) if _concerns(cycle, main, threads, waits)]
    if not cycles and (_handles_signals() or not (reason == "join" or _mode == "likely")):
        return None
    before, _told = _told, frozenset(threads)
    if before != _told:
        return Deadlock("\n".join(_message(cycles, threads, waits)))
    again = Deadlock("no green thread can ever run again, as was said before")
    again.repeated = True
    return again


def _bystanders(threads: "Iterable[Thread]") -> "Iterator[tuple[Thread, int]]":
    """OS threads that wait for a lock as such, and what tells that from others."""
    waiting = dict(_core._waiting_os_threads())
    for thread in threads:
        if thread.state == "OS thread" and thread.native_id in waiting:
            yield thread, waiting[thread.native_id]


def _cycles(waits: "dict[int, Wait]") -> list[list[int]]:
    """Who waits for whom in a circle.  Everybody waits for one other at most."""
    cycles, seen = [], set()
    for start in waits:
        path: list[int] = []
        ident: int | None = start
        while ident is not None and ident in waits and ident not in seen:
            seen.add(ident)
            path.append(ident)
            ident = waits[ident].thread
        if ident in path:
            cycles.append(path[path.index(ident) :])
    return cycles


def _concerns(
    cycle: list[int], main: "Thread", threads: "dict[int, Thread]", waits: "dict[int, Wait]"
) -> bool:
    """Does anybody wait for it but daemons?"""
    if any(not threads[ident].daemon for ident in cycle):
        return True
    ident: int | None = main.ident
    passed = set()
    while ident in waits and ident not in passed:
        if ident in cycle:
            return True
        passed.add(ident)
        ident = waits[ident].thread
    return False


def _handles_signals() -> bool:
    """Could a signal make the program do anything but end?"""
    from weft import _dump  # noqa: PLC0415

    harmless = {signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, _dump.on_signal}
    handlers = (signal.getsignal(number) for number in signal.valid_signals() - FAULTS)
    return any(handler not in harmless for handler in handlers)


# --- The message -----------------------------------------------------------------------------


def _message(
    cycles: list[list[int]], threads: "dict[int, Thread]", waits: "dict[int, Wait]"
) -> "Iterator[str]":
    yield "no green thread can ever run again"
    for cycle in cycles:
        count = len(cycle)
        yield f"  {count} wait for each other:" if count > 1 else "  one waits for itself:"
        for ident in cycle:
            yield from _told_of(threads[ident], waits[ident])
    inside = {ident for cycle in cycles for ident in cycle}
    others = [ident for ident in waits if ident not in inside]
    if others and cycles:
        yield "  and besides:"
    for ident in others[:SHOWN]:
        yield from _told_of(threads[ident], waits[ident])
    if len(others) > SHOWN:
        yield f"    ... and {len(others) - SHOWN:,} more (weft.dump() shows all)"


def _told_of(thread: "Thread", wait: "Wait") -> "Iterator[str]":
    spawned = "" if thread.spawned is None else ", spawned at {}:{}".format(*thread.spawned)
    yield f"    {thread.name}{spawned}: {wait.text()}"
    place = _place(thread)
    if place is not None:
        yield f"      {place}"


def _place(thread: "Thread") -> str | None:
    """The line it stands at, outside of `threading`."""
    import linecache  # noqa: PLC0415

    from weft._snapshot import line_of  # noqa: PLC0415

    for code, instruction in thread.stack:
        if code.co_filename != threading.__file__:
            line = line_of(code, instruction)
            source = linecache.getline(code.co_filename, line).strip()
            said = f"{code.co_filename}:{line}, in {code.co_qualname}"
            return f"{said}: {source}" if source else said
    return None


detect_deadlocks("certain")
