"""What weft's locks do besides what all locks do: tests/conformance has that."""

import threading

import pytest
from support import (
    NO_FORK_WARNING,
    PROMPT_SECONDS,
    Interrupted,
    fail,
    in_os_thread,
    results,
    run_program,
    settle,
    wait_until,
)

import weft
from weft import _snapshot

kinds = pytest.mark.parametrize("make", [weft.Lock, weft.RLock, weft.Semaphore])


@kinds
def test_who_waits_has_it_from_the_moment_of_the_release(make, cooperative):
    lock = make()
    lock.acquire()
    waiting = weft.spawn(lock.acquire)
    settle()
    lock.release()
    assert not lock.acquire(blocking=False)
    assert waiting.result() is True


@kinds
def test_between_os_threads_who_is_there_may_be_first_once(make, cooperative):
    lock, turns = make(), []
    lock.acquire()

    def acquire_there():
        lock.acquire()
        turns.append("there")
        lock.release()

    there = in_os_thread(lambda: weft.spawn(acquire_there).result())
    wait_until(lambda: "weft-lock" in reasons() or "semaphore" in reasons())
    lock.release()
    lock.acquire()  # the other OS thread was called, and cannot be there yet
    turns.append("here")
    lock.release()
    there()
    assert turns == ["here", "there"]


def reasons():
    parks = [thread.park for thread in _snapshot.take().threads]
    return {park.reason for park in parks if park is not None}


@kinds
def test_two_os_threads_that_never_let_go_for_long_share_it(make):
    lock, counts, enough = make(), [0, 0], 200

    def work(index):
        while min(counts) < enough and max(counts) < 2000 * enough:  # some switch intervals
            with lock:
                counts[index] += 1

    other = in_os_thread(work, 1)
    work(0)
    other()
    assert min(counts) >= enough


@kinds
def test_an_interrupted_acquire_has_not_acquired(make, interrupt):
    lock = make()
    acquired = weft.spawn(lock.acquire)
    settle()

    def release_and_fail():
        if make is not weft.RLock:
            lock.release()
        raise Interrupted

    for handler in fail, release_and_fail:
        weft.spawn(interrupt(handler))
        with pytest.raises(Interrupted):
            lock.acquire()
    acquired.join()
    assert lock.acquire(blocking=False) is (make is not weft.RLock)


def test_a_condition_is_left_with_its_lock_held_whatever_happens(interrupt):
    for lock in weft.Lock(), weft.RLock(), threading.Lock():
        condition = weft.Condition(lock)
        weft.spawn(interrupt(fail))
        with pytest.raises(Interrupted), condition:
            condition.wait()
        assert condition.acquire(False)


def test_a_notification_that_comes_with_an_exception_goes_to_the_next(interrupt):
    condition = weft.Condition(weft.Lock())

    def notify_and_fail():
        with condition:
            condition.notify()
        raise Interrupted

    def wait():
        with condition:
            return condition.wait(PROMPT_SECONDS)

    def wait_behind_and_interrupt():
        behind.append(weft.spawn(wait))
        settle()
        raise_it()

    behind, raise_it = [], interrupt(notify_and_fail)
    weft.spawn(wait_behind_and_interrupt)
    with pytest.raises(Interrupted), condition:
        condition.wait()
    assert results(behind) == [True]


def test_a_condition_with_a_lock_of_somebody_elses():
    class Lock:
        def __init__(self):
            self.lock = threading.Lock()
            self.acquire = self.lock.acquire
            self.release = self.lock.release

        def __enter__(self):
            self.acquire()

        def __exit__(self, *args):
            self.release()

    condition = weft.Condition(Lock())

    def wait():
        with condition:
            return condition.wait(PROMPT_SECONDS)

    waiting = weft.spawn(wait)
    settle()
    with pytest.raises(RuntimeError, match="un-acquired"):
        condition.notify()
    with condition:
        condition.notify()
    assert waiting.result() is True


def test_threadings_condition_with_wefts_locks():
    for lock in weft.Lock(), weft.RLock():
        condition = threading.Condition(lock)

        def wait(condition=condition):
            with condition:
                return condition.wait(PROMPT_SECONDS)

        waiting = weft.spawn(wait)
        settle()
        with condition:
            condition.notify()
        assert waiting.result() is True


def test_representations():
    lock, rlock = weft.Lock(), weft.RLock()
    assert repr(lock).startswith("<unlocked weft.Lock object at")
    with lock, rlock, rlock:
        assert repr(lock).startswith("<locked weft.Lock object at")
        owner = threading.get_ident()
        assert repr(rlock).startswith(f"<locked weft.RLock object owner={owner} count=2 at")
    assert repr(weft.Condition(lock)) == f"<Condition({lock!r}, 0)>"
    for make in weft.Lock, weft.RLock, weft.Event:
        with pytest.raises(TypeError, match="takes no arguments"):
            make(1)


def test_subclasses():
    class Named(weft.Semaphore):
        def __init__(self, name):
            super().__init__(2)
            self.name = name

    assert Named("name").name == "name"
    assert Named("name")._value == 2


# --- Dumps and deadlocks --------------------------------------------------------------------


def test_a_dump_says_what_is_waited_for():
    seen = run_program(
        """
lock, full, tasks = weft.Lock(), weft.Queue(1), weft.Queue()
lock.acquire(); full.put(1); tasks.put(1)
condition, never = weft.Condition(), weft.Event().wait
def wait_for_condition():
    with condition: condition.wait()
for wait in [lock.acquire, weft.Semaphore(0).acquire, weft.Event().wait, wait_for_condition,
             weft.Queue().get, lambda: full.put(2), tasks.join, weft.Channel().recv,
             lambda: weft.Channel().send(1), lambda: weft.select(never, never)]:
    weft.spawn(wait).daemon = True
weft.yield_now()
weft.dump(sys.stdout)
"""
    )
    assert seen.status == 0, seen.errors
    for phrase in (
        "waiting for a lock of weft's, held by MainThread",
        "waiting for a semaphore",
        "waiting for an event",
        "waiting for a condition",
        "waiting for an item in a queue",
        "waiting for room in a queue",
        "waiting for a queue to be worked off",
        "waiting to receive from a channel",
        "waiting to send into a channel",
        "waiting for the first of 2 cases",
    ):
        assert phrase in seen.output


def test_a_deadlock_of_locks_is_found():
    seen = run_program(
        """
one, other = weft.Lock(), weft.RLock()
def work(first, second):
    with first:
        weft.yield_now()
        second.acquire()
thread = weft.spawn(work, one, other)
try:
    work(other, one)
except weft.Deadlock as error:
    print(error, flush=True)
os._exit(0)
"""
    )
    assert seen.status == 0, seen.errors
    assert "2 wait for each other" in seen.output
    assert "waiting for a lock of weft's, held by green-1 (work)" in seen.output


# --- Fork -----------------------------------------------------------------------------------


def test_in_the_child_of_a_fork_nobody_waits():
    seen = run_program(
        """
lock, event, channel, q = weft.Lock(), weft.Event(), weft.Channel(), weft.Queue(1)
lock.acquire()
q.put(0)
waits = [lock.acquire, event.wait, channel.recv, lambda: q.put(1)]
threads = [weft.spawn(wait) for wait in waits]
weft.yield_now()

def fork():
    if (pid := os.fork()) == 0:
        lock.release()
        assert lock.acquire(blocking=False)
        event.set()
        weft.spawn(channel.send, "ours")
        assert channel.recv() == "ours"
        assert q.get() == 0
        q.put("there is room")
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7

fork()
weft.spawn(fork).result()
lock.release(); event.set(); channel.send(1); q.get()
for thread in threads:
    thread.join()
print("all is well")
""",
        flags=NO_FORK_WARNING,
    )
    assert seen == (0, "all is well\n", "")


@pytest.mark.parametrize("make", [weft.Lock, weft.RLock])
def test_a_lock_is_made_new_in_the_child_of_a_fork(make):
    lock = make()
    lock.acquire()
    lock._at_fork_reinit()
    assert lock.acquire(blocking=False)
    assert weft.spawn(lock.acquire, blocking=False).result() is False
