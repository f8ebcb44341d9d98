"""Locks and all that is made of them, between green threads, and between green and OS threads."""

import concurrent.futures
import contextlib
import ctypes
import itertools
import multiprocessing
import queue
import random
import threading
import time

import pytest
from support import (
    INSTANT_SECONDS,
    PROMPT_SECONDS,
    green,
    in_os_thread,
    results,
    run_program,
    settle,
    spawn_each,
    starts,
    together,
)

import weft

SHORT = 0.005


# --- Lock: what all locks have in common is in conformance/test_locks.py ------------------


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock, threading.Semaphore])
def test_a_lock_is_given_up_after_the_timeout(make):
    lock = make()
    lock.acquire()

    def wait():
        start = time.monotonic()
        return lock.acquire(timeout=SHORT), time.monotonic() - start

    for acquired, seconds in results([weft.spawn(wait) for _ in range(3)]):
        assert acquired is False
        assert SHORT <= seconds < 1
    lock.release()
    assert weft.spawn(lock.acquire, timeout=SHORT).result() is True


def test_without_waiting(parked):
    lock = threading.Lock()
    assert lock.acquire(blocking=False)
    assert not lock.acquire(blocking=False)
    assert not weft.spawn(lock.acquire, blocking=False).result()


def test_a_release_is_not_lost_with_one_who_gave_up():
    # The release and the end of the timeout fall together, again and again.
    lock = threading.Lock()
    for _ in range(100):
        lock.acquire()
        hasty = weft.spawn(lock.acquire, timeout=0.0002)
        patient = weft.spawn(lock.acquire, timeout=PROMPT_SECONDS)
        settle()
        weft.sleep(0.0002)
        lock.release()
        if hasty.result():
            lock.release()
        assert patient.result()
        lock.release()


def test_random_timeouts_lose_no_wake():
    lock = threading.Lock()
    count = 0

    def enter(seed):
        nonlocal count
        chance = random.Random(seed)
        for _ in range(30):
            if lock.acquire(timeout=chance.choice([-1, 0, 0.0001, 0.0005, 0.001])):
                before = count
                if chance.random() < 0.5:
                    weft.yield_now()
                else:
                    weft.sleep(chance.random() / 5000)
                count = before + 1
                lock.release()
        return True

    assert all(results(spawn_each(enter, range(20))))
    assert count >= 30
    assert lock.acquire(blocking=False)


@pytest.mark.slow
def test_random_timeouts_lose_no_wake_among_green_and_os_threads():
    lock = threading.Lock()
    count = 0

    def enter(seed):
        nonlocal count
        chance = random.Random(seed)
        for _ in range(100):
            if lock.acquire(timeout=chance.choice([-1, -1, 0.0001, 0.001])):
                before = count
                if chance.random() < 0.3:
                    time.sleep(0)
                count = before + 1
                lock.release()
        return True

    def crowd(seed):
        return all(results(spawn_each(enter, range(seed, seed + 5))))

    waits = [in_os_thread(crowd, 100), in_os_thread(crowd, 200), in_os_thread(enter, 300)]
    assert crowd(400)
    assert [wait() for wait in waits] == [True] * 3
    assert lock.acquire(blocking=False)


# --- RLock --------------------------------------------------------------------------------


def test_an_rlock_is_its_owners():
    lock = threading.RLock()

    def enter_twice():
        with lock, lock:
            weft.yield_now()
            return lock._is_owned()

    with lock:
        assert weft.spawn(lock.acquire, blocking=False).result() is False
        assert weft.spawn(lock._is_owned).result() is False
        with pytest.raises(RuntimeError, match="cannot release un-acquired lock"):
            weft.spawn(lock.release).result()
        waiters = [weft.spawn(enter_twice) for _ in range(3)]
        settle()
    assert results(waiters) == [True] * 3


@starts
def test_an_rlock_is_waited_for(start):
    lock = threading.RLock()
    lock.acquire()
    acquired = start(lambda: lock.acquire(timeout=PROMPT_SECONDS) and (lock.release() or True))
    lock.release()
    assert acquired() is True


# --- Condition, Event, Semaphore, Barrier -------------------------------------------------


@starts
def test_condition(start):
    condition, items = threading.Condition(), []

    def take():
        with condition:
            while not items:
                assert condition.wait(PROMPT_SECONDS)
            return items.pop()

    taken = [start(take) for _ in range(3)]
    for item in "abc":
        with condition:
            items.append(item)
            condition.notify()
    assert sorted(wait() for wait in taken) == ["a", "b", "c"]


def test_condition_wakes_as_many_as_it_says():
    condition = threading.Condition()
    woken = []

    def wait(number):
        with condition:
            condition.wait()
            woken.append(number)

    threads = spawn_each(wait, range(5))
    settle()
    for count, expected in [(1, [0]), (2, [0, 1, 2]), (5, [0, 1, 2, 3, 4])]:
        with condition:
            condition.notify(count)
        settle()
        assert woken == expected
    results(threads)


@pytest.mark.parametrize("make", [threading.Condition, threading.Event])
def test_waits_time_out(make):
    thing = make()

    def wait():
        with contextlib.nullcontext() if make is threading.Event else thing:
            return thing.wait(SHORT)

    assert results([weft.spawn(wait) for _ in range(3)]) == [False] * 3


@starts
def test_event(start):
    event = threading.Event()
    waits = [start(event.wait, PROMPT_SECONDS) for _ in range(5)]
    event.set()
    assert [wait() for wait in waits] == [True] * 5


def test_event_set_by_an_os_thread():
    event = threading.Event()
    waiters = [weft.spawn(event.wait, PROMPT_SECONDS) for _ in range(5)]
    settle()
    in_os_thread(event.set)()
    assert results(waiters) == [True] * 5


@starts
def test_semaphore(start):
    semaphore = threading.Semaphore(2)
    inside = most = 0
    lock = threading.Lock()

    def enter():
        nonlocal inside, most
        with semaphore:
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.001)
            with lock:
                inside -= 1

    for wait in [start(enter) for _ in range(8)]:
        wait()
    assert most == 2


def test_barrier():
    barrier = threading.Barrier(4)
    rounds = []

    def arrive(_):
        for number in range(5):
            barrier.wait(PROMPT_SECONDS)
            rounds.append(number)

    results(spawn_each(arrive, range(4)))
    assert rounds == sorted(rounds)


def test_a_broken_barrier():
    barrier = threading.Barrier(3)

    def arrive():
        with pytest.raises(threading.BrokenBarrierError):
            barrier.wait(PROMPT_SECONDS)

    threads = [weft.spawn(arrive) for _ in range(2)]
    settle()
    barrier.abort()
    results(threads)


def test_a_barrier_between_green_and_os_threads():
    barrier = threading.Barrier(4)
    waits = [start(barrier.wait, PROMPT_SECONDS) for start in (green, in_os_thread, green)]
    barrier.wait(PROMPT_SECONDS)
    assert len({wait() for wait in waits}) == 3


# --- Queues -------------------------------------------------------------------------------

KINDS = [queue.Queue, queue.LifoQueue, queue.PriorityQueue, queue.SimpleQueue]


@pytest.mark.parametrize("make", KINDS)
@starts
def test_get_waits_for_put(start, make):
    box = make()
    waits = [start(box.get, True, PROMPT_SECONDS) for _ in range(3)]
    for number in range(3):
        box.put(number)
    assert sorted(wait() for wait in waits) == [0, 1, 2]


@pytest.mark.parametrize("make", KINDS)
def test_get_times_out(make):
    box = make()

    def get():
        start = time.monotonic()
        with pytest.raises(queue.Empty):
            box.get(timeout=SHORT)
        return time.monotonic() - start

    assert all(SHORT <= seconds < 1 for seconds in results([weft.spawn(get) for _ in range(3)]))


@starts
def test_put_waits_for_room(start):
    box = queue.Queue(1)
    box.put(1)
    with pytest.raises(queue.Full):
        box.put(2, timeout=INSTANT_SECONDS)
    put = start(box.put, 2, True, PROMPT_SECONDS)
    assert [box.get(timeout=PROMPT_SECONDS) for _ in range(2)] == [1, 2]
    put()


@pytest.mark.parametrize("make", KINDS)
def test_producers_and_consumers(make):
    box = make()

    def produce(start):
        for number in range(start, start + 50):
            box.put(number)
            if number % 7 == 0:
                weft.yield_now()

    def consume(count):
        return [box.get(timeout=PROMPT_SECONDS) for _ in range(count)]

    consumers = spawn_each(consume, [50, 30, 70])
    producers = spawn_each(produce, [0, 100, 200])
    taken = sorted(itertools.chain(*results(consumers)))
    results(producers)
    assert taken == [*range(50), *range(100, 150), *range(200, 250)]


def test_join_of_a_queue():
    box = queue.Queue()

    def work():
        while (item := box.get()) is not None:
            weft.sleep(item / 10000)
            box.task_done()

    worker = weft.spawn(work)
    for number in range(5):
        box.put(number)
    box.join()
    assert box.unfinished_tasks == 0
    box.put(None)
    worker.join()


def test_futures_are_waited_for():
    futures = [concurrent.futures.Future() for _ in range(3)]
    waiters = spawn_each(lambda future: future.result(PROMPT_SECONDS), futures)
    settle()
    for number, future in enumerate(futures):
        future.set_result(number)
    assert results(waiters) == [0, 1, 2]


def test_a_pool_of_os_threads_used_by_green_threads():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        threads = spawn_each(lambda n: pool.submit(pow, n, 2).result(PROMPT_SECONDS), range(20))
        assert results(threads) == [n * n for n in range(20)]


# --- Bare semaphores ----------------------------------------------------------------------


class Semaphore:
    """A POSIX semaphore."""

    libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self, value=0, shared=False):
        self.memory = ctypes.create_string_buffer(32)
        self.libc.sem_init(self.memory, int(shared), value)

    def wait(self):
        return self.libc.sem_wait(self.memory)

    def post(self):
        return self.libc.sem_post(self.memory)


@pytest.mark.parametrize("shared", [False, True])
@starts
def test_posix_semaphores(start, shared):
    semaphore = Semaphore(shared=shared)
    waits = [start(semaphore.wait) for _ in range(3)]
    for _ in range(3):
        assert semaphore.post() == 0
    assert [wait() for wait in waits] == [0, 0, 0]


def test_post_from_another_os_thread():
    semaphore = Semaphore()
    waiters = [weft.spawn(semaphore.wait) for _ in range(10)]
    settle()
    in_os_thread(lambda: [semaphore.post() for _ in range(10)])()
    assert results(waiters) == [0] * 10


# --- Between processes --------------------------------------------------------------------


def test_semaphores_of_multiprocessing():
    semaphore = multiprocessing.get_context("spawn").Semaphore(0)
    waiters = [weft.spawn(semaphore.acquire, True, PROMPT_SECONDS) for _ in range(3)]
    assert weft.spawn(semaphore.acquire, True, INSTANT_SECONDS).result() is False
    settle()
    for _ in range(3):
        semaphore.release()
    assert results(waiters) == [True] * 3


def test_a_lock_released_by_another_process():
    program = """
import multiprocessing
context = multiprocessing.get_context("fork")
lock = context.Lock()
lock.acquire()
waiters = [weft.spawn(lock.acquire, True, 20) for _ in range(2)]
others = weft.spawn(lambda: [weft.yield_now() for _ in range(100)] and "ran")
weft.sleep(0)
process = context.Process(target=lambda: (time.sleep(0.05), lock.release()))
process.start()
print(others.result())
while not any(waiter.done() for waiter in waiters):
    weft.sleep(0.001)
lock.release()
print([waiter.result() for waiter in waiters])
process.join()
"""
    assert run_program(program) == (0, "ran\n[True, True]\n", "")


def test_queues_of_multiprocessing():
    program = """
import multiprocessing
context = multiprocessing.get_context("fork")
def double(box, out):
    while (item := box.get()) is not None:
        out.put(item * 2)
box, out = context.SimpleQueue(), context.SimpleQueue()
process = context.Process(target=double, args=(box, out))
process.start()
reader = weft.spawn(lambda: sorted(out.get() for _ in range(10)))
writers = [weft.spawn(box.put, n) for n in range(10)]
print(reader.result(20))
box.put(None)
process.join()
"""
    expected = str([n * 2 for n in range(10)]) + "\n"
    assert run_program(program) == (0, expected, "")


def test_two_wait_for_each_other():
    ping, pong = threading.Semaphore(0), threading.Semaphore(0)
    record = []

    def player(mine, other, name):
        for _ in range(100):
            mine.acquire()
            record.append(name)
            other.release()

    ping.release()
    together(lambda: player(ping, pong, "ping"), lambda: player(pong, ping, "pong"))
    assert record == ["ping", "pong"] * 100
