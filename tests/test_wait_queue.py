"""How waits for weft's own objects end: what is waited for is had, or still there, never lost.

Whatever ends a wait may come at the same moment as what is waited for.  These tests let them come
in both orders before the one who waits has run.
"""

import concurrent.futures
import contextlib
import functools
import gc
import queue
import sys

import pytest
from support import PROMPT_SECONDS, run_program, settle

import weft


def held(lock):
    lock.acquire()
    return lock


def full_queue(make=weft.Queue):
    q = make(1)
    q.put("first")
    return q


def condition_case():
    condition = weft.Condition(weft.Lock())

    def wait():
        with condition:
            condition.wait()

    def notify():
        with condition:
            condition.notify()

    # One who waits behind: the notification that the first did not use is for him.
    behind = []

    def make_ready():
        behind.append(weft.spawn(wait))
        settle()
        notify()

    def take():
        settle()
        had = behind[0].done()
        notify()
        behind[0].result(PROMPT_SECONDS)
        return had

    return wait, make_ready, take


def receive_case():
    channel = weft.Channel(1)
    return channel.recv, lambda: channel.send(1), lambda: channel.recv(False)


def send_case():
    channel = weft.Channel()
    received = []
    return (
        lambda: channel.send(1),
        lambda: received.append(take_one(channel.recv)),
        lambda: not received[0],
    )


def take_one(fn):
    try:
        return fn(False)
    except queue.Empty:
        return None


def get_case(make):
    q = make()
    return q.get, lambda: q.put(1), lambda: q.get(False)


def put_case(make):
    q = full_queue(make)
    return lambda: q.put("second"), q.get, lambda: q.put("third", False) or True


def lock_case(make):
    lock = held(make())
    return lock.acquire, lock.release, lambda: lock.acquire(False)


def rlock_case():
    lock = held(weft.RLock())
    return lock.acquire, lock.release, lambda: lock.acquire(False)


def select_case():
    channel, q = weft.Channel(), weft.Queue()
    return (
        lambda: weft.select(channel.recv, q.get),
        lambda: q.put(1),
        lambda: q.get(False),
    )


CASES = {
    "Lock": lambda: lock_case(weft.Lock),
    "RLock": rlock_case,
    "Semaphore": lambda: lock_case(weft.Semaphore),
    "Condition": condition_case,
    "get": lambda: get_case(weft.Queue),
    "get of a LifoQueue": lambda: get_case(weft.LifoQueue),
    "get of a PriorityQueue": lambda: get_case(weft.PriorityQueue),
    "put": lambda: put_case(weft.Queue),
    "put of a PriorityQueue": lambda: put_case(weft.PriorityQueue),
    "recv": receive_case,
    "send": send_case,
    "select": select_case,
}

cases = pytest.mark.parametrize("name", CASES)


def had(thread):
    """Did the wait end with what was waited for?"""
    try:
        thread.result(PROMPT_SECONDS)
    except concurrent.futures.CancelledError:
        return False
    return True


def available(take):
    with contextlib.suppress(queue.Empty, queue.Full):
        return bool(take())
    return False


def start(wait):
    thread = weft.spawn(wait)
    settle()
    assert not thread.done()
    return thread


@cases
def test_it_is_had(name, cooperative):
    wait, make_ready, take = CASES[name]()
    thread = start(wait)
    make_ready()
    assert had(thread)
    assert not available(take)


@cases
def test_a_wait_is_cancelled_and_leaves_nothing_behind(name, cooperative):
    wait, make_ready, take = CASES[name]()
    thread = start(wait)
    thread.cancel()
    assert not had(thread)
    make_ready()
    assert available(take)


@cases
@pytest.mark.parametrize("first", ["ready", "cancelled"])
def test_it_is_ready_and_cancelled_at_once(name, first, cooperative):
    wait, make_ready, take = CASES[name]()
    thread = start(wait)
    if first == "cancelled":
        thread.cancel()
    make_ready()
    thread.cancel()
    assert had(thread) != available(take)


@cases
def test_it_is_ready_when_a_scopes_time_is_up(name):
    for _ in range(20):
        wait, make_ready, take = CASES[name]()

        def wait_a_little(wait=wait):
            with weft.move_on_after(0.0003) as scope:
                wait()
                return True
            assert scope.cancelled_caught
            return False

        thread = weft.spawn(wait_a_little)
        settle()
        weft.sleep(0.0003)
        make_ready()
        assert thread.result(PROMPT_SECONDS) != available(take)


ALONE = [name for name in CASES if name not in {"Condition", "send"}]  # these need somebody else


@pytest.mark.parametrize("name", ALONE)
def test_waits_leave_no_memory_behind(name, cooperative):
    def work():
        for _ in range(20):
            wait, make_ready, _ = CASES[name]()
            ready, cancelled = start(wait), start(wait)
            make_ready()
            cancelled.cancel()
            assert had(ready)
            cancelled.join()

    def blocks():
        gc.collect()
        return sys.getallocatedblocks()

    work()
    before = blocks()
    work()
    assert blocks() - before < 40


def wait_and_tell(condition, holds):
    """Wait, and note whether the lock is held when that is over."""
    with condition:
        try:
            condition.wait()
        finally:
            holds.append(condition._is_owned())


def test_a_condition_holds_its_lock_when_it_is_cancelled():
    condition, holds = weft.Condition(weft.Lock()), []
    thread = start(functools.partial(wait_and_tell, condition, holds))
    thread.cancel()
    assert not had(thread)
    assert holds == [True]
    assert condition.acquire(False)


def test_a_condition_holds_its_lock_when_it_is_cancelled_while_taking_it_back(cooperative):
    condition, holds = weft.Condition(weft.Lock()), []
    thread = start(functools.partial(wait_and_tell, condition, holds))
    with condition:
        condition.notify()
        settle()  # it has been notified, and now wants the lock
        thread.cancel()
        settle()
        assert not thread.done()
    assert not had(thread)
    assert holds == [True]
    assert condition.acquire(False)


def test_at_the_end_of_the_interpreter_green_threads_stay_parked_and_os_threads_go_on():
    seen = run_program(
        """
import atexit, queue

lock, q = weft.Lock(), weft.Queue()
lock.acquire()
daemon = weft.spawn(lambda: (lock.acquire(), print("never"), q.put("never")))
daemon.daemon = True
weft.yield_now()

def at_the_end():
    try:
        q.get(timeout=0.01)
    except queue.Empty:
        print("nothing came")
    nothing_came.set()
    print(q.get())

nothing_came = threading.Event()
def put_later():
    nothing_came.wait()
    time.sleep(0.02)
    q.put("something came")

atexit.unregister(weft._core._finalize)
atexit.register(at_the_end)
atexit.register(weft._core._finalize)
with weft.os_threads():
    threading.Thread(target=put_later, daemon=True).start()
"""
    )
    assert seen == (0, "nothing came\nsomething came\n", "")
