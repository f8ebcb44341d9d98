"""Condition variables of C libraries: waiters park, and a signal reaches green and OS threads.

Most tests run once with green threads and once with OS threads, which say what is right.
"""

import ctypes
import errno
import itertools
import time

import pytest
from support import (
    NO_FORK_WARNING,
    PROMPT_SECONDS,
    green,
    in_os_thread,
    results,
    run_program,
    settle,
    spawn_each,
    starts,
    together,
    wait_until,
)

import weft

NORMAL, RECURSIVE, ERRORCHECK = range(3)
SHORT_MS = 5
LONG_MS = PROMPT_SECONDS * 1000
CLOCKS = [time.CLOCK_REALTIME, time.CLOCK_MONOTONIC]

clocks = pytest.mark.parametrize("clock", CLOCKS, ids=["realtime", "monotonic"])
types = pytest.mark.parametrize("kind", [NORMAL, RECURSIVE, ERRORCHECK])
shares = pytest.mark.parametrize("shared", [0, 1], ids=["private", "shared"])


@pytest.fixture
def box(locks):
    """Makes a box that has room for one number, with functions as methods."""
    locks.box_new.restype = ctypes.c_void_p

    class Box:
        def __init__(self, kind=NORMAL, clock=time.CLOCK_REALTIME, shared=0):
            self.address = ctypes.c_void_p(locks.box_new(kind, clock, shared))

        def __getattr__(self, name):
            function = getattr(locks, f"box_{name}")
            return lambda *args: function(self.address, *args)

    return Box


# --- Signals arrive -----------------------------------------------------------------------


@types
@shares
@starts
def test_take_waits_for_put(box, start, kind, shared):
    room = box(kind, shared=shared)
    waits = [start(room.take) for _ in range(3)]
    for number in (1, 2, 3):
        assert room.put(number) == 0
    assert sorted(wait() for wait in waits) == [1, 2, 3]


def test_producers_and_consumers(box):
    room = box()

    def produce(first):
        return [room.put(number) for number in range(first, first + 50)]

    consumers = spawn_each(lambda count: [room.take() for _ in range(count)], [30, 50, 70])
    producers = spawn_each(produce, [1, 101, 201])
    taken = sorted(itertools.chain(*results(consumers)))
    assert results(producers) == [[0] * 50] * 3
    assert taken == [*range(1, 51), *range(101, 151), *range(201, 251)]


def test_producers_and_consumers_among_green_and_os_threads(box):
    room = box()

    def produce(first):
        return [room.put(number) for number in range(first, first + 100)]

    def consume(count):
        return [room.take() for _ in range(count)]

    consumers = [start(consume, 100) for start in (green, in_os_thread, green, in_os_thread)]
    producers = [start(produce, first) for start in (green, in_os_thread) for first in (1, 201)]
    taken = sorted(itertools.chain(*[wait() for wait in consumers]))
    assert [wait() for wait in producers] == [[0] * 100] * 4
    assert taken == sorted([*range(1, 101), *range(201, 301)] * 2)


def test_a_signal_wakes_one_green_thread(box):
    room = box()
    waiters = [weft.spawn(room.wait) for _ in range(3)]
    settle()
    for count in (1, 2, 3):
        assert room.signal() == 0
        settle()
        assert room.wakes() == count
    assert results(waiters) == [0] * 3


@starts
def test_broadcast(box, start):
    room = box()
    waits = [start(room.wait) for _ in range(5)]
    wait_until(lambda: room.waiting() == 5)
    assert room.broadcast() == 0
    assert [wait() for wait in waits] == [0] * 5


def test_broadcast_to_green_and_os_threads(box):
    room = box()
    waits = [start(room.wait) for start in (green, in_os_thread) for _ in range(3)]
    wait_until(lambda: room.waiting() == 6)
    room.broadcast()
    assert [wait() for wait in waits] == [0] * 6


def test_a_signal_from_another_os_thread(box):
    room = box()
    waiter = weft.spawn(room.wait)
    settle()
    in_os_thread(room.signal)()
    assert waiter.result(PROMPT_SECONDS) == 0


@starts
def test_a_job_on_the_stack_of_who_waits(locks, start):
    # An OS thread of the library does it, and signals.
    waits = [start(locks.job_run, number) for number in range(1, 11)]
    assert [wait() for wait in waits] == [number * 2 for number in range(1, 11)]


def test_waiting_without_letting_go_of_the_gil(box, locks):
    room = box()
    holder = ctypes.PyDLL(locks._name)
    taken, put = together(
        lambda: holder.box_take(room.address), lambda: holder.box_put(room.address, 7)
    )
    assert (taken, put) == (7, 0)


# --- With a timeout -----------------------------------------------------------------------


def timed(fn, *args):
    begin = time.monotonic()
    return fn(*args), time.monotonic() - begin


@clocks
@shares
@starts
def test_timedwait_on_the_clock_of_the_condition(parked, box, start, clock, shared):
    # On the other clock this moment would be long past, or in many years.
    room = box(NORMAL, clock, shared)

    def wait():  # other processes' signals are looked for now and then
        while (error := room.timedwait(clock, SHORT_MS)) == 0:
            assert shared and start is green
        return error

    for error, seconds in [wait() for wait in [start(timed, wait) for _ in range(3)]]:
        assert error == errno.ETIMEDOUT
        assert SHORT_MS / 1000 <= seconds < 1


@clocks
@starts
def test_clockwait(parked, box, start, clock):
    room = box()
    error, seconds = start(timed, room.clockwait, clock, SHORT_MS)()
    assert error == errno.ETIMEDOUT
    assert SHORT_MS / 1000 <= seconds < 1


@clocks
def test_a_timed_wait_is_signalled(box, clock):
    room = box(NORMAL, clock)
    waiters = [
        weft.spawn(room.timedwait, clock, LONG_MS),
        weft.spawn(room.clockwait, clock, LONG_MS),
    ]
    settle()
    room.broadcast()
    assert results(waiters) == [0, 0]


@starts
def test_a_moment_that_is_none(parked, box, start):
    assert start(box().badwait)() == errno.EINVAL


@starts
def test_without_the_mutex(parked, box, start):
    room = box(ERRORCHECK)
    assert start(room.wait_without_mutex)() == errno.EPERM
    room.put(1)
    assert start(room.take)() == 1


# --- C11, fork ----------------------------------------------------------------------------

TIMED_OUT = 4


@starts
def test_c11(parked, locks, start):
    locks.c11_box_init()
    assert start(locks.c11_box_timedtake, SHORT_MS)() == TIMED_OUT
    waits = [start(locks.c11_box_take) for _ in range(3)]
    locks.c11_box_put(5)
    assert [wait() for wait in waits] == [5] * 3


def test_python_handles_signals_after_the_wait(locks_path):
    # As in a thread: no error from the wait, and the handler runs once the library has returned.
    program = f"""
import ctypes
weft.set_preemption(None)  # the signal comes when the library waits, not before
locks = ctypes.CDLL({str(locks_path)!r})
locks.box_new.restype = ctypes.c_void_p
box = ctypes.c_void_p(locks.box_new(0, 0, 0))
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
def other():
    os.kill(os.getpid(), signal.SIGUSR1)
    weft.sleep(0.01)
    print("put", locks.box_put(box, 7))
weft.spawn(other)
print("taken", locks.box_take(box))
"""
    assert run_program(program) == (0, "put 0\nhandled\ntaken 7\n", "")


def test_fork_while_others_wait(locks_path):
    program = f"""
import ctypes
locks = ctypes.CDLL({str(locks_path)!r})
locks.box_new.restype = ctypes.c_void_p
box = ctypes.c_void_p(locks.box_new(0, 0, 0))
waiters = [weft.spawn(locks.box_take, box) for _ in range(2)]
weft.yield_now()
if (child := os.fork()) == 0:
    own = weft.spawn(locks.box_take, box)
    weft.yield_now()
    locks.box_put(box, 9)
    print(own.result(10), flush=True)
    os._exit(0)
os.waitpid(child, 0)
for number in (1, 2):
    locks.box_put(box, number)
print(sorted(waiter.result(10) for waiter in waiters))
"""
    assert run_program(program, flags=NO_FORK_WARNING) == (0, "9\n[1, 2]\n", "")
