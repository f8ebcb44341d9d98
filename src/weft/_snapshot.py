"""Who is alive, in which state, and where it stands: what dumps and the deadlock detector go by.

Taken in one go with the GIL held: Python code stands still meanwhile.  The stacks are those of
`sys._current_frames`, to which every green thread is a thread like any other.  They are
kept as (code, instruction) pairs: ten thousand threads that stand in the same place share the work
of finding out which line that is.
"""

import dataclasses
import sys
import threading
import types
from typing import NamedTuple

from weft import _core

Stack = tuple[tuple[types.CodeType, int], ...]
"""Innermost first."""

OURS = {"weft._snapshot", "weft._dump", "weft._deadlock", "weft._seed"}
"""Modules whose frames the calling thread need not show."""


class Park(NamedTuple):
    """What the scheduler knows of a park."""

    reason: str
    text: str
    awaited: int
    """By reason: a descriptor, the ident of a green thread, the address of a semaphore, ..."""
    seconds: float
    """How long it has lasted, as of the last look at the clock before it began."""
    left: float | None
    """How long it may still last."""


class Worker(NamedTuple):
    """An OS thread that runs green threads."""

    native_id: int
    ident: int
    alive: int
    run_queue: int
    timers: int
    descriptor_waits: int
    switches: int
    asleep: bool


@dataclasses.dataclass(slots=True)
class Thread:
    """A green thread, or an OS thread that runs Python code of its own."""

    ident: int
    name: str
    kind: str
    """ "main", "spawned", "threading" (by threading.Thread) or "OS thread"."""
    daemon: bool
    state: str
    """ "running", "runnable", "new" (and runnable), "parked"; or "OS thread": the kernel knows."""
    native_id: int | None
    """Of the OS thread it lives on."""
    park: Park | None
    spawned: tuple[str, int] | None
    """File and line."""
    frame: types.FrameType | None
    stack: Stack


class Snapshot(NamedTuple):
    threads: list[Thread]
    workers: list[Worker]
    offload: tuple[int, int, int]
    """OS threads of the pool: alive, idle; and calls that wait for one."""
    watchdog: bool


def take() -> Snapshot:
    """Look at everything.  Does not park."""
    fibers, workers, offload, watchdog = _core._snapshot()
    frames = sys._current_frames()
    by_ident = threading._active  # type: ignore[attr-defined]
    own = threading.get_ident()
    threads = []
    for _, ident, kind, green, state, park, spawned, native_id in fibers:
        named = green if green is not None else by_ident.get(ident)
        frame = frames.pop(ident, None)
        if ident == own:
            frame = _callers(frame)
        threads.append(
            Thread(
                ident=ident,
                name=named.name if named is not None else f"Thread-{ident}",
                kind=_kind(kind, ident),
                daemon=named is not None and named.daemon,
                state=state,
                native_id=native_id,
                park=park and Park._make(park),
                spawned=spawned,
                frame=frame,
                stack=_stack(frame),
            )
        )
    for ident, frame in frames.items():
        threads.append(_os_thread(ident, frame, by_ident.get(ident)))
    return Snapshot(threads, [Worker._make(worker) for worker in workers], offload, watchdog)


def _kind(kind: str, ident: int) -> str:
    if kind != "root":
        return kind
    return "main" if ident == threading.main_thread().ident else "OS thread"


def _os_thread(ident: int, frame: types.FrameType, thread: threading.Thread | None) -> Thread:
    return Thread(
        ident=ident,
        name=thread.name if thread is not None else f"Thread-{ident}",
        kind="main" if thread is threading.main_thread() else "OS thread",
        daemon=thread is not None and thread.daemon,
        state="OS thread",
        native_id=thread.native_id if thread is not None else None,
        park=None,
        spawned=None,
        frame=_callers(frame) if ident == threading.get_ident() else frame,
        stack=_stack(frame),
    )


def _callers(frame: types.FrameType | None) -> types.FrameType | None:
    while frame is not None and frame.f_globals.get("__name__") in OURS:
        frame = frame.f_back
    return frame


def _stack(frame: types.FrameType | None) -> Stack:
    stack = []
    while frame is not None:
        stack.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(stack)


def line_of(code: types.CodeType, instruction: int) -> int:
    """The line of an instruction."""
    for start, end, line in code.co_lines():
        if start <= instruction < end:
            return line or code.co_firstlineno
    return code.co_firstlineno
