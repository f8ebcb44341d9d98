"""Mutexes of C libraries: whoever asks for one parks, and owners are green threads.

Most tests run once with green threads and once with OS threads, which say what is right.
"""

import ctypes
import errno
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
)

import weft

NORMAL, RECURSIVE, ERRORCHECK, ADAPTIVE = range(4)
INHERIT, ROBUST, SHARED = 1, 1, 1
SHORT_MS = 5
LONG_MS = PROMPT_SECONDS * 1000

owned = pytest.mark.parametrize("kind", [RECURSIVE, ERRORCHECK])
protocols = pytest.mark.parametrize("protocol", [0, INHERIT])

KINDS = [
    pytest.param(*kind, id=name)
    for name, kind in {
        "normal": (NORMAL, 0, 0, 0),
        "recursive": (RECURSIVE, 0, 0, 0),
        "errorcheck": (ERRORCHECK, 0, 0, 0),
        "adaptive": (ADAPTIVE, 0, 0, 0),
        "inherit": (NORMAL, INHERIT, 0, 0),
        "inherit recursive": (RECURSIVE, INHERIT, 0, 0),
        "inherit errorcheck": (ERRORCHECK, INHERIT, 0, 0),
        "robust": (NORMAL, 0, ROBUST, 0),
        "shared": (NORMAL, 0, 0, SHARED),
        "shared recursive": (RECURSIVE, 0, 0, SHARED),
        "shared errorcheck": (ERRORCHECK, 0, 0, SHARED),
    }.items()
]
kinds = pytest.mark.parametrize(("kind", "protocol", "robust", "shared"), KINDS)


@pytest.fixture
def guard(locks):
    """Makes a mutex, with functions as methods."""
    locks.guard_new.restype = ctypes.c_void_p
    locks.guard_count.restype = ctypes.c_long

    class Guard:
        def __init__(self, kind=NORMAL, protocol=0, robust=0, shared=0):
            address = locks.guard_new(kind, protocol, robust, shared)
            assert address
            self.address = ctypes.c_void_p(address)

        def __getattr__(self, name):
            function = getattr(locks, f"guard_{name}")
            return lambda *args: function(self.address, *args)

    return Guard


# --- One at a time ------------------------------------------------------------------------


@kinds
@starts
def test_held_over_a_blocking_call(guard, start, kind, protocol, robust, shared):
    mutex = guard(kind, protocol, robust, shared)
    deep = 3 if kind == RECURSIVE else 1
    waits = [start(mutex.hold, 300, 3, deep) for _ in range(5)]
    assert [wait() for wait in waits] == [0] * 5
    assert mutex.most() == 1
    assert mutex.count() == 15


@kinds
@starts
def test_waited_for_while_the_root_has_it(parked, guard, start, kind, protocol, robust, shared):
    if robust and start is green:
        pytest.skip("a robust mutex takes the green threads of an OS thread for one owner")
    mutex = guard(kind, protocol, robust, shared)
    assert mutex.lock() == 0
    wait = start(mutex.hold, 0, 1, 1)
    settle()
    assert mutex.count() == 0
    assert mutex.unlock() == 0
    assert wait() == 0
    assert mutex.count() == 1


@kinds
def test_the_root_waits_while_a_green_thread_has_it(guard, kind, protocol, robust, shared):
    mutex = guard(kind, protocol, robust, shared)
    holder = weft.spawn(mutex.hold, 2000, 1, 1)
    settle()
    assert mutex.hold(0, 1, 1) == 0
    assert mutex.count() == 2
    assert holder.result() == 0


@pytest.mark.parametrize("kind", [NORMAL, RECURSIVE, ERRORCHECK])
def test_locked_before_there_was_a_green_thread(guard, kind):
    mutex = guard(kind)
    assert mutex.lock() == 0
    waiter = weft.spawn(mutex.hold, 0, 1, 1)
    settle()
    assert mutex.count() == 0
    assert mutex.unlock() == 0
    assert waiter.result(PROMPT_SECONDS) == 0


def test_unlocked_after_the_last_green_thread_has_ended(guard):
    mutex = guard(RECURSIVE)
    gate = guard()
    gate.lock()
    other = weft.spawn(gate.hold, 0, 1, 1)
    settle()
    assert mutex.lock() == 0
    gate.unlock()
    other.join()
    assert mutex.lock() == 0
    assert [mutex.unlock(), mutex.unlock()] == [0, 0]
    assert mutex.unlock() == errno.EPERM
    assert weft.spawn(mutex.hold, 0, 1, 1).result(PROMPT_SECONDS) == 0


@pytest.mark.parametrize("kind", [NORMAL, RECURSIVE])
def test_held_without_letting_go_of_the_gil(guard, locks, kind):
    mutex = guard(kind)
    holder = ctypes.PyDLL(locks._name)
    threads = [weft.spawn(holder.guard_hold, mutex.address, 300, 3, 1) for _ in range(5)]
    assert results(threads) == [0] * 5
    assert mutex.most() == 1


def test_green_and_os_threads_share_one(guard):
    mutex = guard()

    def crowd():
        return results(spawn_each(lambda _: mutex.hold(20, 20, 1), range(5)))

    waits = [in_os_thread(crowd) for _ in range(2)]
    waits += [in_os_thread(mutex.hold, 20, 50, 1) for _ in range(2)]
    assert crowd() == [0] * 5
    assert [wait() for wait in waits] == [[0] * 5] * 2 + [0] * 2
    assert mutex.most() == 1
    assert mutex.count() == 3 * 100 + 2 * 50


def test_nobody_starves_while_another_locks_in_a_loop(guard):
    mutex = guard()
    greedy = weft.spawn(mutex.hold, 50, 2000, 1)
    settle()
    modest = weft.spawn(mutex.hold, 0, 1, 1)
    assert modest.result(PROMPT_SECONDS) == 0
    assert not greedy.done()
    greedy.join()


def test_an_unlock_that_no_hook_saw(guard):
    mutex = guard()
    unlock = ctypes.CDLL(None).pthread_mutex_unlock  # libc's own: ctypes asks for its address
    mutex.lock()
    waiter = weft.spawn(mutex.hold, 0, 1, 1)
    settle()
    assert unlock(mutex.address) == 0
    assert waiter.result(PROMPT_SECONDS) == 0


# --- Owners -------------------------------------------------------------------------------


@protocols
@starts
def test_relock(parked, guard, start, protocol):
    assert start(guard(RECURSIVE, protocol).hold, 0, 1, 5)() == 0
    mutex = guard(ERRORCHECK, protocol)

    def lock_twice():
        return mutex.lock(), mutex.lock(), mutex.timedlock(SHORT_MS), mutex.unlock()

    assert start(lock_twice)() == (0, errno.EDEADLK, errno.EDEADLK, 0)


@owned
@protocols
@starts
def test_unlock_by_another(guard, start, kind, protocol):
    mutex = guard(kind, protocol)
    gate = guard()
    gate.lock()

    def hold():
        return mutex.lock(), gate.hold(0, 1, 1), mutex.unlock()

    wait = start(hold)
    while mutex.trylock() == 0:  # an OS thread may not have come so far
        mutex.unlock()
        time.sleep(0.0005)
    assert mutex.unlock() == errno.EPERM
    assert start(mutex.unlock)() == errno.EPERM
    gate.unlock()
    assert wait() == (0, 0, 0)


@owned
def test_unlock_of_what_the_root_has(parked, guard, kind):
    mutex = guard(kind)
    mutex.lock()
    assert green(mutex.unlock)() == errno.EPERM
    assert in_os_thread(mutex.unlock)() == errno.EPERM
    assert mutex.unlock() == 0


@pytest.mark.parametrize("kind", [NORMAL, RECURSIVE, ERRORCHECK])
@starts
def test_trylock(parked, guard, start, kind):
    mutex = guard(kind)
    assert mutex.trylock() == 0
    assert start(mutex.trylock)() == errno.EBUSY
    assert mutex.trylock() == (0 if kind == RECURSIVE else errno.EBUSY)
    if kind == RECURSIVE:
        mutex.unlock()
    mutex.unlock()
    assert start(lambda: (mutex.trylock(), mutex.unlock()))() == (0, 0)


def test_the_next_green_thread_is_another_owner(guard):
    # It has the same memory as the one that ended without unlocking.
    mutex = guard(ERRORCHECK)
    assert weft.spawn(mutex.lock).result() == 0
    assert weft.spawn(mutex.trylock).result() == errno.EBUSY
    assert weft.spawn(mutex.unlock).result() == errno.EPERM


# --- With a timeout -----------------------------------------------------------------------


@pytest.mark.parametrize("lock", ["timedlock", "clocklock"])
@pytest.mark.parametrize("kind", [NORMAL, RECURSIVE, ERRORCHECK])
@starts
def test_timed(parked, guard, start, lock, kind):
    mutex = guard(kind)

    def wait():
        begin = time.monotonic()
        return getattr(mutex, lock)(SHORT_MS), time.monotonic() - begin

    mutex.lock()
    for error, seconds in [give_up() for give_up in [start(wait) for _ in range(3)]]:
        assert error == errno.ETIMEDOUT
        assert SHORT_MS / 1000 <= seconds < 1
    patient = start(lambda: (getattr(mutex, lock)(LONG_MS), mutex.unlock()))
    mutex.unlock()
    assert patient() == (0, 0)


@starts
def test_a_moment_that_is_none(parked, guard, start):
    mutex = guard()
    mutex.lock()
    assert start(mutex.badlock)() == errno.EINVAL
    mutex.unlock()
    assert start(lambda: (mutex.badlock(), mutex.unlock()))() == (0, 0)


# --- C11 ----------------------------------------------------------------------------------

PLAIN, C11_RECURSIVE = 0, 1
SUCCESS, BUSY, TIMED_OUT = 0, 1, 4


@pytest.mark.parametrize("kind", [PLAIN, C11_RECURSIVE])
@starts
def test_c11(parked, locks, start, kind):
    assert locks.c11_init(kind) == SUCCESS
    deep = 2 if kind == C11_RECURSIVE else 1
    assert [wait() for wait in [start(locks.c11_hold, 500, deep) for _ in range(5)]] == [
        SUCCESS
    ] * 5
    assert locks.c11_most() == 1
    locks.c11_lock()
    assert start(locks.c11_trylock)() == BUSY
    assert start(locks.c11_timedlock, SHORT_MS)() == TIMED_OUT
    locks.c11_unlock()


# --- fork ---------------------------------------------------------------------------------


def test_fork_while_others_wait(locks_path):
    program = f"""
import ctypes
locks = ctypes.CDLL({str(locks_path)!r})
locks.guard_new.restype = ctypes.c_void_p
mutex = ctypes.c_void_p(locks.guard_new(0, 0, 0, 0))
held = ctypes.c_void_p(locks.guard_new(0, 0, 0, 0))
locks.guard_lock(held)
waiters = [weft.spawn(locks.guard_hold, held, 0, 1, 1) for _ in range(3)]
weft.yield_now()
if (child := os.fork()) == 0:
    threads = [weft.spawn(locks.guard_hold, mutex, 1000, 2, 1) for _ in range(3)]
    print([thread.result(10) for thread in threads], flush=True)
    os._exit(0)
os.waitpid(child, 0)
locks.guard_unlock(held)
print([waiter.result(10) for waiter in waiters])
"""
    assert run_program(program, flags=NO_FORK_WARNING) == (0, "[0, 0, 0]\n[0, 0, 0]\n", "")
