"""What any lock, semaphore, event, condition and barrier does, among green and OS threads."""

import random
import threading
import time
import weakref

import pytest
from support import (
    INSTANT_SECONDS,
    PROMPT_SECONDS,
    in_os_thread,
    results,
    settle,
    spawn_each,
    starts,
    together,
)

import weft

kinds = pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])


# --- Locks and semaphores -------------------------------------------------------------------


@kinds
@starts
def test_it_is_waited_for(lib, kind, start):
    lock = getattr(lib, kind)()
    assert lock.acquire() is True
    acquired = start(lambda: (lock.acquire(timeout=PROMPT_SECONDS), lock.release()))
    lock.release()
    assert acquired() == (True, None)


@kinds
def test_it_is_held_by_one_at_a_time(lib, kind):
    lock = getattr(lib, kind)()
    inside = most = 0

    def enter(_):
        nonlocal inside, most
        for _ in range(10):
            with lock:
                inside += 1
                most = max(most, inside)
                weft.yield_now()
                inside -= 1

    results(spawn_each(enter, range(10)))
    assert most == 1


@kinds
def test_it_is_held_by_one_at_a_time_among_green_and_os_threads(lib, kind):
    lock = getattr(lib, kind)()
    count = 0

    def add(times=50):
        nonlocal count
        for number in range(times):
            with lock:
                before = count
                if number % 20 == 0:
                    time.sleep(0.0001)
                count = before + 1

    def add_in_green_threads():
        results([weft.spawn(add) for _ in range(3)])

    others = [in_os_thread(add), in_os_thread(add_in_green_threads)]
    add_in_green_threads()
    for other in others:
        other()
    assert count == 7 * 50


@kinds
def test_those_who_wait_get_it_in_order(lib, kind):
    lock = getattr(lib, kind)()
    record = []

    def enter(number):
        with lock:
            record.append(number)

    lock.acquire()
    threads = spawn_each(enter, range(10))
    settle()
    lock.release()
    results(threads)
    assert record == list(range(10))


@kinds
def test_without_waiting(lib, kind):
    lock = getattr(lib, kind)()
    assert lock.acquire(blocking=False) is True
    assert weft.spawn(lock.acquire, blocking=False).result() is False
    assert weft.spawn(lock.acquire, False).result() is False


@kinds
def test_it_is_given_up_after_the_timeout(lib, kind):
    lock = getattr(lib, kind)()
    lock.acquire()
    waits = [weft.spawn(lock.acquire, timeout=INSTANT_SECONDS) for _ in range(3)]
    assert results(waits) == [False] * 3
    lock.release()
    assert weft.spawn(lock.acquire, timeout=INSTANT_SECONDS).result() is True


@kinds
def test_arguments_that_make_no_sense(lib, kind):
    lock = getattr(lib, kind)()
    with pytest.raises(ValueError, match="non-blocking"):
        lock.acquire(False, 1)
    with pytest.raises(TypeError):
        lock.acquire(True, 1, 2)
    with pytest.raises(TypeError):
        lock.acquire(patience=3)
    assert lock.acquire(blocking=False)


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_arguments_of_locks(lib, kind):
    lock = getattr(lib, kind)()
    with pytest.raises(ValueError, match="timeout value"):
        lock.acquire(timeout=-2)
    with pytest.raises(OverflowError):
        lock.acquire(timeout=threading.TIMEOUT_MAX * 2)
    with pytest.raises(TypeError):
        lock.acquire(timeout="long")
    assert lock.acquire(timeout=threading.TIMEOUT_MAX)


@kinds
def test_a_release_is_not_lost_with_one_who_gave_up(lib, kind):
    # The release and the end of the timeout fall together, again and again.
    lock = getattr(lib, kind)()

    def enter(timeout):
        if acquired := lock.acquire(timeout=timeout):
            lock.release()
        return acquired

    for _ in range(50):
        lock.acquire()
        hasty = weft.spawn(enter, 0.0002)
        patient = weft.spawn(enter, PROMPT_SECONDS)
        settle()
        weft.sleep(0.0002)
        lock.release()
        hasty.join()
        assert patient.result()


@pytest.mark.parametrize("kind", ["Lock", "Semaphore"])
def test_random_timeouts_lose_no_wake(lib, kind):
    lock = getattr(lib, kind)()
    count = 0

    def enter(seed):
        nonlocal count
        chance = random.Random(seed)
        for _ in range(20):
            if lock.acquire(True, chance.choice([0, 0.0001, 0.0005, 0.001])):
                before = count
                weft.yield_now() if chance.random() < 0.5 else weft.sleep(chance.random() / 5000)
                count = before + 1
                lock.release()
        return True

    assert all(results(spawn_each(enter, range(20))))
    assert count >= 20
    assert lock.acquire(blocking=False)


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_weak_references(lib, kind):
    lock = getattr(lib, kind)()
    reference = weakref.ref(lock)
    assert reference() is lock
    del lock
    assert reference() is None


def test_a_lock_is_released_by_anybody_once(lib):
    lock = lib.Lock()
    lock.acquire()
    weft.spawn(lock.release).join()
    assert not lock.locked()
    with pytest.raises(RuntimeError, match="release unlocked lock"):
        lock.release()


def test_an_rlock_belongs_to_its_owner(lib):
    lock = lib.RLock()
    with lock, lock:
        assert lock.acquire()
        with pytest.raises(RuntimeError, match="cannot release un-acquired lock"):
            weft.spawn(lock.release).result()
        lock.release()
        assert weft.spawn(lock.acquire, blocking=False).result() is False
    with pytest.raises(RuntimeError, match="cannot release un-acquired lock"):
        lock.release()
    assert weft.spawn(lock.acquire, blocking=False).result() is True


def test_an_rlock_of_an_os_thread_that_becomes_a_worker(lib):
    # Its identity is the same before and after it has green threads.
    def acquire_spawn_release():
        lock = lib.RLock()
        with lock:
            weft.spawn(int).join()
            with lock:
                return weft.spawn(lock.acquire, blocking=False).result()

    assert in_os_thread(acquire_spawn_release)() is False


def test_a_semaphore_counts(lib):
    semaphore = lib.Semaphore(2)
    assert [semaphore.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    waiting = [weft.spawn(semaphore.acquire) for _ in range(3)]
    settle()
    semaphore.release(2)
    settle()
    assert [thread.done() for thread in waiting] == [True, True, False]
    semaphore.release()
    assert results(waiting) == [True] * 3


def test_semaphores_that_make_no_sense(lib):
    for make in lib.Semaphore, lib.BoundedSemaphore:
        with pytest.raises(ValueError, match="must be >= 0"):
            make(-1)
        with pytest.raises(ValueError, match="one or more"):
            make().release(0)


def test_a_bounded_semaphore_is_bounded(lib):
    semaphore = lib.BoundedSemaphore(2)
    semaphore.acquire()
    with pytest.raises(ValueError, match="released too many times"):
        semaphore.release(2)
    semaphore.release()
    with pytest.raises(ValueError, match="released too many times"):
        semaphore.release()


# --- Events ---------------------------------------------------------------------------------


@starts
def test_an_event_lets_all_go_on(lib, start):
    event = lib.Event()
    waits = [start(event.wait, PROMPT_SECONDS) for _ in range(3)]
    settle()
    assert not event.is_set()
    event.set()
    assert [wait() for wait in waits] == [True] * 3
    assert event.is_set()
    assert event.wait(0) is True


def test_an_event_set_for_an_instant_is_seen_by_all_who_waited(lib):
    event = lib.Event()
    waits = [weft.spawn(event.wait, PROMPT_SECONDS) for _ in range(3)]
    settle()
    event.set()
    event.clear()
    assert results(waits) == [True] * 3
    assert event.wait(0) is False


def test_an_event_times_out(lib):
    assert lib.Event().wait(timeout=INSTANT_SECONDS) is False


# --- Conditions -----------------------------------------------------------------------------


def make_locks(lib):
    return [None, lib.Lock(), lib.RLock(), threading.Lock(), threading.RLock()]


def test_a_condition_notifies_as_many_as_it_is_told(lib):
    for lock in make_locks(lib):
        condition, woken = lib.Condition(lock), []

        def wait(number, condition=condition, woken=woken):
            with condition:
                assert condition.wait(PROMPT_SECONDS) is True
                woken.append(number)

        threads = spawn_each(wait, range(4))
        settle()
        for count, expected in ((1, [0]), (2, [0, 1, 2])):
            with condition:
                condition.notify(count)
            settle()
            assert woken == expected
        with condition:
            condition.notify_all()
        results(threads)
        assert woken == [0, 1, 2, 3]


@starts
def test_a_condition_lets_go_of_all_holds_of_its_lock(lib, start):
    condition = lib.Condition()

    def wait():
        with condition, condition:
            return condition.wait(PROMPT_SECONDS)

    def notify():
        while not waited.done():
            with condition:
                condition.notify()
            weft.sleep(0.0001)

    waited = weft.spawn(wait)
    settle()
    start(notify)()
    assert waited.result() is True


def test_a_condition_needs_its_lock(lib):
    for lock in make_locks(lib):
        condition = lib.Condition(lock)
        for call in condition.wait, condition.notify, condition.notify_all:
            with pytest.raises(RuntimeError, match="un-acquired lock"):
                call()


def test_a_condition_holds_its_lock_after_the_timeout(lib):
    for lock in make_locks(lib):
        condition = lib.Condition(lock)
        with condition:
            assert condition.wait(INSTANT_SECONDS) is False
            assert weft.spawn(condition.acquire, False).result() is False
        assert weft.spawn(condition.acquire, False).result() is True


def test_a_condition_waits_for_a_predicate(lib):
    condition, state = lib.Condition(), []

    def wait():
        with condition:
            return condition.wait_for(lambda: len(state) > 2 and "enough")

    waited = weft.spawn(wait)
    for number in range(3):
        settle()
        with condition:
            state.append(number)
            condition.notify()
    assert waited.result() == "enough"
    with condition:
        assert condition.wait_for(lambda: False, timeout=INSTANT_SECONDS) is False
        with pytest.raises(ZeroDivisionError):
            condition.wait_for(lambda: 1 / 0)


def test_a_notification_is_not_lost_with_one_who_gave_up(lib):
    condition, tokens = lib.Condition(), 0

    def take(timeout):
        nonlocal tokens
        with condition:
            if taken := condition.wait_for(lambda: tokens, timeout):
                tokens -= 1
            return bool(taken)

    for _ in range(50):
        hasty, patient = weft.spawn(take, 0.0002), weft.spawn(take, PROMPT_SECONDS)
        settle()
        weft.sleep(0.0002)
        with condition:
            tokens += 1
            condition.notify()
        if hasty.result():
            with condition:
                tokens += 1
                condition.notify()
        assert patient.result()


# --- Barriers -------------------------------------------------------------------------------


def test_a_barrier_lets_them_go_together(lib):
    calls = []
    barrier = lib.Barrier(3, action=lambda: calls.append(barrier.n_waiting))
    for _ in range(3):
        assert sorted(together(*[barrier.wait] * 3)) == [0, 1, 2]
    assert len(calls) == 3


@pytest.mark.parametrize("end", ["abort", "reset", "timeout"])
def test_a_barrier_breaks(lib, end):
    barrier = lib.Barrier(3)

    def wait():
        with pytest.raises(threading.BrokenBarrierError):
            barrier.wait(INSTANT_SECONDS if end == "timeout" else PROMPT_SECONDS)
        return True

    waits = [weft.spawn(wait) for _ in range(2)]
    settle()
    if end != "timeout":
        getattr(barrier, end)()
    assert results(waits) == [True] * 2
    assert barrier.broken is (end != "reset")


# --- Locals ---------------------------------------------------------------------------------


def test_each_green_thread_has_its_own(lib):
    mine = lib.local()
    mine.value = "root"

    def look(number):
        assert not hasattr(mine, "value")
        mine.value = number
        weft.yield_now()
        return mine.value

    assert results(spawn_each(look, range(3))) == [0, 1, 2]
    assert mine.value == "root"
