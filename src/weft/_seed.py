"""One number that decides the schedule: `weft run --seed`, and the runs of `weft explore`.

The core draws from the seed which green thread runs and where it is preempted (seed.h).  For a run
to depend on nothing else, time must not either, so it is virtual; and the cyclic garbage collector,
which may call finalizers, starts from nothing.  What else differs between two runs of a program is the
program's own: `random`, the hash of strings (PYTHONHASHSEED), the outside world.

`serve` makes many runs cheap: the process imports weft, hooks libc, and forks for each seed.  A run
so made and one made by ``weft run --seed`` must not differ, so points in this file do not count.
"""

import gc
import os
import threading
from collections.abc import Callable

from weft import _core, _deadlock

MONOTONIC_NS = 1_000_000 * 10**9
"""What the monotonic clock says when a run begins."""

WALL_NS = 1_767_225_600 * 10**9
"""The time of day when a run begins: 2026-01-01, midnight UTC."""


INSIDES = frozenset(
    {
        "<frozen importlib._bootstrap>",
        "<frozen importlib._bootstrap_external>",
        threading.Thread.start.__code__.co_filename,
        __file__,
    }
)
"""Files within whose code green threads are not preempted: seed.h says why."""


def begin(number: int, *, real_time: bool = False) -> None:
    """From now on `number` decides what runs on this OS thread."""
    _core.set_preemption(None)
    threading.setprofile(_core._seed_enter)
    if not real_time:
        _core._clock_start(MONOTONIC_NS, WALL_NS)
    gc.collect()
    _core._seed_start(number, INSIDES)


def serve(commands: int, replies: int) -> int | None:
    """Fork a child for each seed asked for; the child returns it, and is to run the program.

    Commands are lines with a seed, read from the descriptor `commands`.  Replies, to `replies`: a
    line ``pid N``, then ``exception`` and ``deadlock`` when the child has met one, then ``done N``
    with its exit status as `os.waitstatus_to_exitcode` has it.  None: there are no more.
    """
    for fd in (commands, replies):
        os.set_inheritable(fd, False)  # noqa: FBT003 - positional only
    _core.set_preemption(None)
    gc.collect()
    with os.fdopen(commands) as lines:
        for line in lines:
            pid = os.fork()
            if pid == 0:
                _tell(lambda word: os.write(replies, word + b"\n"))
                return int(line)
            os.write(replies, b"pid %d\n" % pid)
            _, status = os.waitpid(pid, 0)
            os.write(replies, b"done %d\n" % os.waitstatus_to_exitcode(status))
    return None


def _tell(reply: Callable[[bytes], object]) -> None:
    """See to it that `reply` is called when a thread dies of an exception, or all wait for ever."""
    report = threading.excepthook

    def report_and_tell(args: threading.ExceptHookArgs, /) -> None:
        if args.exc_type is not SystemExit:
            reply(b"exception")
        report(args)

    def judge_and_tell(reason: str, awaited: int) -> Exception | None:
        deadlock = _deadlock.judge(reason, awaited)
        if deadlock is not None:
            reply(b"deadlock")
        return deadlock

    threading.excepthook = report_and_tell
    if _deadlock.detects():
        _core._watch_deadlocks(judge_and_tell)
