"""What each parked green thread waits for, in words, and which other one that depends on.

The scheduler knows the descriptor, the process, the green thread joined.  Of a lock it knows only
an address; which lock that is, and who holds it, is found here, when asked:

- The lock object is the one that has the address; the collector knows all locks.
- An RLock names its owner.  A Lock does not, but who is inside ``with lock:`` has the lock's
  ``__exit__`` on its frame's value stack, or the lock itself.  The compiler's exception table says
  in which slot: that is where the interpreter itself would find it if the block raised.
- A lock acquired by a plain ``acquire()`` leaves no trace: then its holder is not known, and that
  is what is said.

Weft's own locks know who holds them: the core tells his ident.

A condition's lock is let go of while somebody waits for the condition inside ``with condition:``.
"""

import _thread
import dataclasses
import functools
import gc
import opcode
import os
import re
import sys
import threading
import types
from collections.abc import Iterable, Iterator

from weft import _core
from weft._snapshot import Park, Thread

LOCK_TYPES = (_thread.LockType, _thread.RLock)
BOUND = (types.MethodType, types.BuiltinMethodType)


@dataclasses.dataclass(slots=True)
class Wait:
    """Why a parked green thread does not run."""

    what: str
    """As in "waiting to read"."""
    thread: int | None = None
    """The ident of the thread on whom it depends, if one is known."""
    held: bool = False
    """That one holds the lock; otherwise, it must end."""
    descriptor: int | None = None

    def text(self) -> str:
        """As in "waiting to read: descriptor 5 (pipe)"."""
        if self.descriptor is None:
            return self.what
        return f"{self.what}: descriptor {self.descriptor} ({_describe(self.descriptor)})"


def explain(threads: Iterable[Thread]) -> dict[int, Wait]:
    """What every parked one of `threads` waits for, by ident."""
    threads = list(threads)
    parked = [(thread, thread.park) for thread in threads if thread.park is not None]
    wanted = {park.awaited for _, park in parked if park.reason == "lock"}
    locks = _locks_at(wanted)
    holders = _holders(threads) if locks else {}
    names = {thread.ident: thread.name for thread in threads}
    return {
        thread.ident: _explain(thread, park, locks.get(park.awaited), holders, names)
        for thread, park in parked
    }


def _explain(
    thread: Thread,
    park: Park,
    lock: object,
    holders: dict[int, list[int]],
    names: dict[int, str],
) -> Wait:
    match park.reason:
        case "lock":
            wait = _explain_lock(thread, lock, holders, names)
        case "join" if park.awaited:
            wait = Wait(f"waiting for {_name(park.awaited, names)} to end", thread=park.awaited)
        case "weft-lock" if park.awaited:
            who = "itself" if park.awaited == thread.ident else _name(park.awaited, names)
            what = f"waiting for a lock of weft's, held by {who}"
            wait = Wait(what, thread=park.awaited, held=True)
        case "select":
            wait = Wait(f"waiting for the first of {park.awaited} cases")
        case "read" | "write" | "connect" | "backoff":
            wait = Wait(park.text, descriptor=park.awaited)
        case "poll" if park.awaited >= 0:
            wait = Wait("waiting", descriptor=park.awaited)
        case "poll":
            wait = Wait(f"waiting for any of {-1 - park.awaited} descriptors")
        case _:
            wait = Wait(park.text)
    return wait


def _name(ident: int, names: dict[int, str]) -> str:
    return names.get(ident) or f"a thread that is over ({ident})"


# --- Locks ---------------------------------------------------------------------------------


def _explain_lock(
    thread: Thread, lock: object, holders: dict[int, list[int]], names: dict[int, str]
) -> Wait:
    joined = _joined(thread)
    if joined is not None:
        return Wait(f"waiting for {_name(joined, names)} to end", thread=joined)
    phrase = _phrase(thread)
    if phrase is not None:
        return Wait(f"waiting for {phrase}")
    if lock is None:
        return Wait("waiting for a lock inside C code")
    who = f"waiting for {'an RLock' if isinstance(lock, _thread.RLock) else 'a lock'}"
    label = f"{who} (at {id(lock):#x})"
    owners = [owner] if (owner := _owner(lock)) else holders.get(id(lock), [])
    if not owners:
        return Wait(f"{label}, not known who holds it")
    if len(owners) > 1:
        among = " or ".join(_name(owner, names) for owner in owners)
        return Wait(f"{label}, held by {among}")
    text = "itself" if owners == [thread.ident] else _name(owners[0], names)
    return Wait(f"{label}, held by {text}", thread=owners[0], held=True)


def _locks_at(addresses: set[int]) -> dict[int, object]:
    """The lock objects that wait at these addresses."""
    if not addresses:
        return {}
    locks = (item for item in gc.get_objects() if type(item) in LOCK_TYPES)
    found = ((_core._lock_address(lock), lock) for lock in locks)
    return {address: lock for address, lock in found if address in addresses}


def _owner(lock: object) -> int:
    """The ident of an RLock's owner; 0 if it has none, or is no RLock."""
    if not isinstance(lock, _thread.RLock):
        return 0
    match = re.search(r"owner=(\d+)", repr(lock))
    return int(match[1]) if match else 0


def _holders(threads: Iterable[Thread]) -> dict[int, list[int]]:
    """Who is inside ``with lock:``, by the id of the lock."""
    holders: dict[int, list[int]] = {}
    for thread in threads:
        if not any(_with_slots(*place) for place in thread.stack):
            continue
        for lock in _held(thread):
            if lock.locked() and thread.ident not in holders.setdefault(id(lock), []):
                holders[id(lock)].append(thread.ident)
    return holders


def _held(thread: Thread) -> "Iterator[_thread.LockType]":
    """The locks it is inside a ``with`` of, and has not let go of to wait for a condition."""
    let_go = []
    frame = thread.frame
    while frame is not None:
        if frame.f_code is threading.Condition.wait.__code__:
            let_go.append(_lock_of(_core._frame_slot(frame, 0)))
        for slot in _with_slots(frame.f_code, frame.f_lasti):
            lock = _lock_of(_manager(_core._frame_slot(frame, slot)))
            if isinstance(lock, _thread.LockType) and lock not in let_go:
                yield lock
        frame = frame.f_back


def _manager(item: object) -> object:
    """Whose ``with`` it is: from 3.14 on that lies on the stack itself, beside its ``__exit__``."""
    return item.__self__ if isinstance(item, BOUND) else item


def _lock_of(manager: object) -> object:
    if isinstance(manager, threading.Condition):
        return manager._lock  # type: ignore[attr-defined]
    return manager


@functools.lru_cache(4096)
def _with_slots(code: types.CodeType, instruction: int) -> tuple[int, ...]:
    """The slots of a frame in which those lie whose ``with`` blocks it is inside of: `_manager`."""
    handlers = list(_handlers(code))
    slots: list[int] = []
    seen = set()
    while True:
        inside = [entry for entry in handlers if entry[0] <= instruction < entry[1]]
        if not inside or instruction in seen:
            return tuple(slots)
        seen.add(instruction)
        _, _, instruction, depth = inside[0]  # the handler is inside of the outer blocks
        if _is_with_handler(code, instruction):
            slots.append(_locals_count(code) + depth - 1)


def _handlers(code: types.CodeType) -> Iterator[tuple[int, int, int, int]]:
    """The exception table: start, end, handler, depth of the stack.

    CPython's Objects/exception_handling_notes.txt has the format.
    """
    data = iter(code.co_exceptiontable)
    for byte in data:
        start = _varint(byte, data) * 2
        length, handler, depth = (_varint(next(data), data) for _ in range(3))
        yield start, start + length * 2, handler * 2, depth >> 1


def _varint(byte: int, data: Iterator[int]) -> int:
    value = byte & 63
    while byte & 64:
        byte = next(data)
        value = value << 6 | byte & 63
    return value


def _is_with_handler(code: types.CodeType, handler: int) -> bool:
    begin = (opcode.opmap["PUSH_EXC_INFO"], opcode.opmap["WITH_EXCEPT_START"])
    return tuple(code.co_code[handler : handler + 4 : 2]) == begin


def _locals_count(code: types.CodeType) -> int:
    # A parameter that is also a cell has one slot, under both names.
    cells = sum(name not in code.co_varnames for name in code.co_cellvars)
    return len(code.co_varnames) + cells + len(code.co_freevars)


# --- Waits inside the standard library --------------------------------------------------------


def _joined(thread: Thread) -> int | None:
    """Whose end a ``threading.Thread.join`` waits for."""
    frame = thread.frame
    if frame is None or frame.f_code not in _joins():
        return None
    joined = _core._frame_slot(frame, 0)
    return joined.ident if isinstance(joined, threading.Thread) else None


@functools.cache
def _joins() -> frozenset[types.CodeType]:
    names = ("join", "_wait_for_tstate_lock")  # the latter until 3.12
    functions = (getattr(threading.Thread, name, None) for name in names)
    return frozenset(function.__code__ for function in functions if function is not None)


def _phrase(thread: Thread) -> str | None:
    """What the innermost functions wait for, if they are the standard library's."""
    phrases = _phrases("queue" in sys.modules, "concurrent.futures._base" in sys.modules)
    found = None
    for code, _ in thread.stack:
        if code not in phrases:
            break
        found = phrases[code]
    return found


@functools.cache
def _phrases(queue: bool, futures: bool) -> dict[types.CodeType, str]:
    """By code; of the modules that the program has imported."""
    phrases = {
        threading.Condition.wait: "a condition",
        threading.Condition.wait_for: "a condition",
        threading.Event.wait: "an event",
        threading.Semaphore.acquire: "a semaphore",
        threading.Barrier.wait: "a barrier",
    }
    if queue:
        module = sys.modules["queue"].Queue
        phrases |= {module.get: "an item in a queue", module.put: "room in a queue"}
        phrases |= {module.join: "a queue to be worked off"}
    if futures:
        module = sys.modules["concurrent.futures._base"].Future
        phrases |= {module.result: "a future", module.exception: "a future"}
    return {function.__code__: phrase for function, phrase in phrases.items()}


# --- Descriptors -----------------------------------------------------------------------------


def _describe(fd: int) -> str:
    """What a descriptor is, in a few words."""
    try:
        target = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return "closed"
    if target == "anon_inode:[pidfd]":
        return f"the end of process {_process_of(fd)}"
    if target.startswith("socket:"):
        own, peer = _core._socket_addresses(fd) or ("", "")
        return "socket" + (f" {own}" if own else "") + (f" to {peer}" if peer else "")
    return target.split(":", 1)[0] if target.startswith("pipe:") else target


def _process_of(fd: int) -> str:
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
            return next(line.split()[1] for line in file if line.startswith("Pid:"))
    except (OSError, StopIteration):
        return "?"
