"""A dump for people.

Threads in the same state, at the same place, spawned at the same place, are shown together with a
count: ten thousand idle connections are one paragraph.  The main one comes first, then who runs or
could, then who waits, the largest crowd first.
"""

import dataclasses
import linecache
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator

from weft import _core
from weft._snapshot import Park, Snapshot, Stack, Thread, Worker, line_of
from weft._waits import Wait

SHOWN = 4
"""So many of a group are shown one by one."""

ORDER = ["running", "runnable", "new", "parked", "OS thread"]


BEGINNINGS = {
    getattr(threading.Thread, name).__code__ for name in ("_bootstrap", "_bootstrap_inner", "run")
}
"""The same in every stack."""

COMMAND = os.path.join(os.path.dirname(__file__), "cli.py")


def told(snapshot: Snapshot, waits: dict[int, Wait]) -> str:
    """The text."""
    return "".join(line + "\n" for line in _lines(snapshot, waits))


@dataclasses.dataclass(slots=True)
class Group:
    """Threads that differ in nothing but their names and what exactly they wait for."""

    threads: list[Thread]

    @property
    def first(self) -> Thread:
        return self.threads[0]


def _lines(snapshot: Snapshot, waits: dict[int, Wait]) -> Iterator[str]:
    yield from _heading(snapshot)
    for group in _groups(snapshot.threads):
        yield ""
        if len(group.threads) == 1:
            yield _title(group.first)
            yield from _waiting(group.first, waits)
        else:
            yield _group_title(group)
            yield from _members(group, waits)
        yield from _place(group.first)
    yield ""


def _heading(snapshot: Snapshot) -> Iterator[str]:
    green = [thread for thread in snapshot.threads if thread.state != "OS thread"]
    count = _count(len(green), "green thread")
    yield f"weft: {count}, process {os.getpid()} ({' '.join(sys.orig_argv)})"
    for worker in snapshot.workers:
        yield "  " + _worker_text(worker, green)
    slice_seconds = _core.get_preemption() if snapshot.watchdog else None
    yield f"  preemption: {f'after {_seconds(slice_seconds)}' if slice_seconds else 'off'}"
    alive, idle, queued = snapshot.offload
    if alive:
        pool = _count(alive, "OS thread")
        yield f"  calls made on OS threads: {pool}, {idle} idle, {queued} waiting"


def _worker_text(worker: Worker, green: list[Thread]) -> str:
    states = Counter(thread.state for thread in green if thread.native_id == worker.native_id)
    states["runnable"] += states.pop("new", 0)
    told = ", ".join(f"{states[state]:,} {state}" for state in ORDER if states[state])
    waits = f"{worker.timers:,} timers, {worker.descriptor_waits:,} waits for descriptors"
    return f"OS thread {worker.native_id}: {told}; {waits}; {worker.switches:,} switches"


def _groups(threads: list[Thread]) -> list[Group]:
    groups: dict[object, Group] = {}
    for thread in threads:
        reason = thread.park.reason if thread.park else None
        key = (thread.kind, thread.state, reason, thread.spawned, thread.stack)
        if key in groups:
            groups[key].threads.append(thread)
        else:
            groups[key] = Group([thread])
    return sorted(groups.values(), key=_rank)


def _rank(group: Group) -> tuple[bool, int, int]:
    return group.first.kind != "main", ORDER.index(group.first.state), -len(group.threads)


def _title(thread: Thread) -> str:
    labels = ["main"] if thread.kind == "main" else []
    labels += ["daemon"] if thread.daemon else []
    label = f" ({', '.join(labels)})" if labels else ""
    state = f"OS thread {thread.native_id or ''}" if thread.state == "OS thread" else thread.state
    return f"{thread.name}{label}, {thread.ident:#x}: {state.strip()}"


def _group_title(group: Group) -> str:
    return f"{_count(len(group.threads), 'thread')}: {group.first.state}"


def _waiting(thread: Thread, waits: dict[int, Wait]) -> Iterator[str]:
    if thread.park is not None:
        yield f"  {waits[thread.ident].text()}, {_duration(thread.park)}"


def _members(group: Group, waits: dict[int, Wait]) -> Iterator[str]:
    for thread in group.threads[:SHOWN]:
        rest = "".join(_waiting(thread, waits)).strip()
        yield f"  {thread.name}{': ' if rest else ''}{rest}"
    more = group.threads[SHOWN:]
    if more:
        yield f"  ... and {len(more):,} more, up to {more[-1].name}{_durations(more)}"


def _durations(threads: list[Thread]) -> str:
    parks = [thread.park.seconds for thread in threads if thread.park is not None]
    if not parks:
        return ""
    least, most = _seconds(min(parks)), _seconds(max(parks))
    return f", for {least}" if least == most else f", for {least} to {most}"


def _duration(park: Park) -> str:
    left = "" if park.left is None else f", {_seconds(park.left)} left"
    return f"for {_seconds(park.seconds)}{left}"


def _place(thread: Thread) -> Iterator[str]:
    if thread.spawned is not None:
        file, line = thread.spawned
        yield f"  spawned at {file}:{line}"
    for code, instruction in _programs_part(thread.stack):
        line = line_of(code, instruction)
        yield f'    File "{code.co_filename}", line {line}, in {code.co_qualname}'
        source = linecache.getline(code.co_filename, line).strip()
        if source:
            yield f"      {source}"
    if not thread.stack:
        yield "    has not begun yet" if thread.state == "new" else "    no Python code"


def _programs_part(stack: Stack) -> Stack:
    """Outermost first, without what started the thread or, in ``weft run``, the program."""
    frames = [place for place in reversed(stack) if place[0] not in BEGINNINGS]
    ours = [number for number, (code, _) in enumerate(frames) if code.co_filename == COMMAND]
    return tuple(frames[ours[-1] + 1 :] if ours else frames)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _seconds(seconds: float) -> str:
    """A duration as people say it: 350 ms, 12.3 s, 5 min 20 s, 3 h 5 min."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
