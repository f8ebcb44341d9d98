"""Helpers for tests of threaded programs: time that costs none, and schedules that can be repeated.

    def test_a_cache_forgets_after_an_hour():
        with virtual_clock() as clock:
            cache = Cache(seconds=3600)
            cache["key"] = "value"
            time.sleep(3601)  # returns at once
            assert "key" not in cache

Everything here is for green threads of one OS thread: that of the caller.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from weft import _core, _dump_text, _seed, _snapshot, _waits

__all__ = [
    "LeakError",
    "Sequencer",
    "VirtualClock",
    "no_leaks",
    "seeded",
    "virtual_clock",
    "wait_all_parked",
]


class VirtualClock:
    """What `virtual_clock` hands out: asks and moves the clock it belongs to."""

    def __init__(self) -> None:
        self._began = time.monotonic_ns()

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the clock was started."""
        return (time.monotonic_ns() - self._began) / 1e9

    def jump(self, seconds: float) -> None:
        """Let so much time have passed.  Does not park.

        Those who waited for it run when the caller parks, in the order of their deadlines.
        Raises ValueError for a negative number, and RuntimeError once the clock is over.
        """
        if not seconds >= 0:
            raise ValueError("time does not go back")
        _core._clock_jump(seconds)


@contextmanager
def virtual_clock(*, patience: float = 0.001) -> Iterator[VirtualClock]:
    """Give the calling OS thread a clock that stands still, and jumps when everybody waits.

    While a green thread can run, no time passes: `time.monotonic`, `time.time`, `datetime.now` and
    whatever C libraries ask tell the same.  When all are parked the clock jumps to the next
    deadline, so sleeps and timeouts take no time and end in the right order, to the nanosecond.
    A program that waits for time to pass in a loop, without parking, sees it pass in the end.

    What is outside takes the time it takes, and virtual time passes with it: `to_thread` and other
    calls on OS threads, child processes that are waited for.  For data, from another process or OS
    thread, the clock waits `patience` real seconds if anybody waits for a descriptor; then it
    jumps, and a timeout is over.  For what an OS thread does without `to_thread` it does not wait
    at all. Timers of the kernel (`signal.alarm`, timerfd) and other OS threads keep the real time.

    When the block ends time passes again as it does.  The time of day is right at once; the
    monotonic clock goes on from where it was, since it never goes back.  Raises RuntimeError if
    there is one already.  Does not park.
    """
    _core._clock_start(None, None)
    try:
        _core._clock_grace(patience)
        yield VirtualClock()
    finally:
        _core._clock_stop()


def wait_all_parked() -> None:
    """Park until every other green thread of this OS thread is parked, and none is due to run.

    Then nothing happens until the caller does something, time passes (a virtual clock does not jump
    before this returns), or something comes from outside.  A call on an OS thread counts as parked.
    """
    _core._wait_all_parked()


class Sequencer:
    """Makes blocks of code run in a certain order, in whatever green threads they stand::

        seq = Sequencer()
        # in one green thread      # in another
        with seq(0):               with seq(1):
            write()                    read()
        with seq(2):
            close()

    A block waits until the one with the number before it has ended; 0 does not wait.  As in
    `trio.testing`, each number can be used once, and if a wait is ended by an exception the
    sequence is broken: all others get RuntimeError.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._claimed: set[int] = set()
        self._next = 0
        self._broken = False

    @contextmanager
    def __call__(self, position: int) -> Iterator[None]:
        """Wait for the turn of `position`, and end it with the block.  Parks.

        Raises RuntimeError if the number was used already or the sequence is broken.
        """
        with self._changed:
            if position in self._claimed:
                raise RuntimeError(f"position {position} was used already")
            self._claimed.add(position)
            self._wait_for(position)
        try:
            yield
        finally:
            with self._changed:
                self._next = position + 1
                self._changed.notify_all()

    def _wait_for(self, position: int) -> None:
        try:
            self._changed.wait_for(lambda: self._broken or self._next >= position)
        except BaseException:
            self._broken = True
            self._changed.notify_all()
            raise
        if self._broken:
            raise RuntimeError("the sequence is broken: a wait for a position was interrupted")


@contextmanager
def seeded(number: int) -> Iterator[None]:
    """Let `number` decide which green thread of this OS thread runs, and where it is preempted.

    Preemption comes between two bytecodes, and only where CPython itself could switch threads, so
    what is found can happen to OS threads.  The same number gives the same schedule, as far as the
    program asks neither the real time (see `virtual_clock`) nor chance.  There is none by time.

    A thread in which the program has called `sys.setprofile` is not preempted; one with
    `sys.settrace` (of a debugger, of a coverage tool) at calls only, not in loops without.
    """
    before = _core.get_preemption(), threading.getprofile()
    _seed.begin(number)
    try:
        yield
    finally:
        _core._seed_stop()
        threading.setprofile(before[1])
        _core.set_preemption(before[0])


class LeakError(AssertionError):
    """Green threads were left behind; the message says which, and where they stand."""

    def __init__(self, threads: "list[_core.GreenThread[Any]]") -> None:
        names = ", ".join(thread.name for thread in threads)
        super().__init__(f"green threads were left behind: {names}\n{_describe(threads)}")
        self.threads = threads


@contextmanager
def no_leaks(*, patience: float = 0.5) -> Iterator[None]:
    """Raise `LeakError` at the end of the block if green threads that began in it are alive.

    Those that are about to end get `patience` seconds for it.  Daemons are left aside, as at the
    end of a program.
    """
    before = set(_core.all_threads())
    yield
    check_leaks(before, patience)


def check_leaks(before: Iterable[_core.GreenThread[Any]], patience: float) -> None:
    """Raise `LeakError` if others than those `before` are alive, daemons aside.  Parks."""
    __tracebackhide__ = True  # by pytest: the message tells all
    known = set(before)
    others = [thread for thread in _core.all_threads() if thread not in known]
    left = [thread for thread in others if not _is_daemon(thread) and thread is not _core.current()]
    deadline = time.monotonic() + patience
    for thread in left:
        thread.join(max(0, deadline - time.monotonic()))
    left = [thread for thread in left if thread.is_alive()]
    if left:
        raise LeakError(left)


def _is_daemon(thread: _core.GreenThread[Any]) -> bool:
    """Would the program not wait for it?  Of those made by `threading`, that knows."""
    made_by_threading = threading._active.get(thread.ident)  # type: ignore[attr-defined]
    if made_by_threading is None or isinstance(made_by_threading, threading._DummyThread):
        return thread.daemon
    return bool(made_by_threading.daemon)


def _describe(threads: Iterable[_core.GreenThread[Any]]) -> str:
    idents = {thread.ident for thread in threads}
    snapshot = _snapshot.take()
    waits = _waits.explain(snapshot.threads)
    left = [thread for thread in snapshot.threads if thread.ident in idents]
    return _dump_text.told(snapshot._replace(threads=left), waits)
