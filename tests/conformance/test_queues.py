"""What any queue does, among green threads and OS threads."""

import itertools
import queue
import random
import sys
from collections import Counter

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

ORDERS = {"Queue": [2, 3, 1], "LifoQueue": [1, 3, 2], "PriorityQueue": [1, 2, 3]}


@pytest.fixture
def shut_downs(lib):
    """Where queues can be shut down: weft's on every version, the standard library's since 3.13."""
    if lib is not weft and sys.version_info < (3, 13):
        pytest.skip("queue.Queue has no shutdown() before 3.13")


def test_the_order(queue_class):
    q = queue_class()
    for item in (2, 3, 1):
        q.put(item)
    assert q.qsize() == 3
    assert [q.get() for _ in range(3)] == ORDERS[queue_class.__name__]
    assert q.empty()


@starts
def test_an_item_is_waited_for(queue_class, start):
    q = queue_class()
    got = start(q.get, True, PROMPT_SECONDS)
    q.put("item")
    assert got() == "item"


@starts
def test_room_is_waited_for(queue_class, start):
    q = queue_class(1)
    q.put(1)
    assert q.full()
    put = start(q.put, 2, True, PROMPT_SECONDS)
    assert q.get() == 1
    put()
    assert q.get() == 2


def test_without_waiting(queue_class):
    q = queue_class(maxsize=1)
    with pytest.raises(queue.Empty):
        q.get_nowait()
    with pytest.raises(queue.Empty):
        q.get(block=False)
    q.put_nowait(1)
    with pytest.raises(queue.Full):
        q.put_nowait(2)
    with pytest.raises(queue.Full):
        q.put(2, block=False, timeout=PROMPT_SECONDS)
    assert q.get(False) == 1


def test_timeouts(queue_class):
    q = queue_class(1)
    with pytest.raises(queue.Empty):
        q.get(timeout=INSTANT_SECONDS)
    with pytest.raises(queue.Empty):
        q.get(timeout=0)
    with pytest.raises(ValueError, match="non-negative"):
        q.get(timeout=-1)
    q.put(1, timeout=0)
    with pytest.raises(queue.Full):
        q.put(2, timeout=INSTANT_SECONDS)
    with pytest.raises(ValueError, match="non-negative"):
        q.put(2, timeout=-1)
    assert q.get() == 1


def test_getters_and_putters_go_in_order(lib):
    q, got = lib.Queue(1), []
    getters = spawn_each(lambda number: got.append((number, q.get())), range(3))
    settle()
    putters = spawn_each(q.put, "abcde")
    results(getters + putters[:3])
    assert sorted(got) == [(0, "a"), (1, "b"), (2, "c")]
    assert [q.get(), q.get()] == ["d", "e"]


@pytest.mark.parametrize("size", [0, 1, 3])
def test_nothing_is_lost_or_doubled_among_green_and_os_threads(queue_class, size):
    q, count = queue_class(size), 200

    def put_all(base):
        for number in range(count):
            q.put(base + number)

    def get_all(_=None):
        return [q.get(timeout=PROMPT_SECONDS) for _ in range(count)]

    def in_green_threads(fn, items):
        return lambda: results(spawn_each(fn, items))

    put_there = in_os_thread(in_green_threads(put_all, [0, 1000]))
    got_there = in_os_thread(in_green_threads(get_all, [0, 1]))
    putters, getters = spawn_each(put_all, [2000]), spawn_each(get_all, [0])
    put_there()
    got = got_there() + results(getters)
    results(putters)
    expected = {base + number for base in (0, 1000, 2000) for number in range(count)}
    assert sorted(itertools.chain(*got)) == sorted(expected)


@pytest.mark.parametrize("size", [0, 2])
def test_random_timeouts_lose_nothing(queue_class, size):
    q, put, got = queue_class(size), Counter(), Counter()

    def work(seed):
        chance = random.Random(seed)
        for number in range(40):
            timeout = chance.choice([0, 0.0001, 0.0003])
            try:
                if chance.random() < 0.5:
                    item = seed * 1000 + number
                    q.put(item, timeout=timeout)
                    put[item] += 1
                else:
                    got[q.get(timeout=timeout)] += 1
            except (queue.Empty, queue.Full):
                weft.sleep(chance.random() / 5000)

    results(spawn_each(work, range(20)))
    while not q.empty():
        got[q.get_nowait()] += 1
    assert put == got
    assert len(put) > 20


def test_tasks(queue_class):
    q = queue_class()
    for number in range(3):
        q.put(number)
    joined = weft.spawn(q.join)
    for _ in range(3):
        settle()
        assert not joined.done()
        assert q.unfinished_tasks > 0
        q.get()
        q.task_done()
    joined.result(PROMPT_SECONDS)
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()


def test_a_comparison_may_raise(lib):
    q = lib.PriorityQueue(2)
    q.put(1)
    with pytest.raises(TypeError):
        q.put("one")
    assert q.get() == 1


def test_a_comparison_may_park(lib):
    class Slow(int):
        def __lt__(self, other):
            weft.yield_now()
            return int(self) < int(other)

    q = lib.PriorityQueue()
    numbers = list(range(30))
    random.Random(1).shuffle(numbers)
    results(spawn_each(lambda number: q.put(Slow(number)), numbers))
    got = together(*[q.get] * 30)
    assert sorted(got) == list(range(30))


def test_a_simple_queue(lib):
    q = lib.SimpleQueue()
    q.put(1, timeout=0)
    q.put_nowait(2)
    assert (q.qsize(), q.empty()) == (2, False)
    assert [q.get(), q.get_nowait()] == [1, 2]
    with pytest.raises(queue.Empty):
        q.get(timeout=INSTANT_SECONDS)
    assert not hasattr(q, "join")


# --- Shutting down --------------------------------------------------------------------------


@pytest.mark.usefixtures("shut_downs")
def test_a_queue_that_was_shut_down_gives_out_what_it_has(queue_class):
    q = queue_class()
    q.put(1)
    q.shutdown()
    with pytest.raises(weft.ShutDown):
        q.put(2)
    assert q.get() == 1
    for get in q.get, q.get_nowait:
        with pytest.raises(weft.ShutDown):
            get()
    q.task_done()
    q.join()


@pytest.mark.usefixtures("shut_downs")
def test_shutting_down_immediately_drops_what_there_is(queue_class):
    q = queue_class()
    for number in range(3):
        q.put(number)
    joined = weft.spawn(q.join)
    settle()
    q.shutdown(immediate=True)
    joined.result(PROMPT_SECONDS)
    with pytest.raises(weft.ShutDown):
        q.get()
    assert (q.qsize(), q.unfinished_tasks, q.is_shutdown) == (0, 0, True)


@pytest.mark.usefixtures("shut_downs")
@pytest.mark.parametrize("immediate", [False, True])
def test_all_who_wait_are_told(queue_class, immediate):
    def told(call, *args):
        with pytest.raises(weft.ShutDown):
            call(*args)
        return True

    q = queue_class()
    getters = [weft.spawn(told, q.get) for _ in range(3)]
    settle()
    q.shutdown(immediate)
    assert results(getters) == [True] * 3
    q = queue_class(1)
    q.put(1)
    putters = [weft.spawn(told, q.put, 2) for _ in range(3)]
    settle()
    q.shutdown(immediate)
    assert results(putters) == [True] * 3
