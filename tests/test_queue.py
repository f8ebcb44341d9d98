"""What weft's queues do besides what all queues do: tests/conformance has that."""

import gc
import queue
import weakref

import pytest
from support import Interrupted, fail, results, settle, spawn_each, wait_until

import weft

classes = pytest.mark.parametrize(
    "make", [weft.Queue, weft.LifoQueue, weft.PriorityQueue, weft.SimpleQueue]
)


def test_what_a_getter_has_been_promised_is_not_counted(cooperative):
    q = weft.Queue()
    getter = weft.spawn(q.get)
    settle()
    q.put("promised")
    assert (q.qsize(), q.empty(), getter.done()) == (0, True, False)
    with pytest.raises(queue.Empty):
        q.get_nowait()
    q.put("free")
    assert q.qsize() == 1
    assert getter.result() == "promised"


def test_what_a_putter_has_been_promised_is_not_counted(cooperative):
    q = weft.Queue(1)
    q.put(1)
    putter = weft.spawn(q.put, 2)
    settle()
    assert q.get() == 1
    assert q.full()
    with pytest.raises(queue.Full):
        q.put_nowait(3)
    putter.join()
    assert q.get() == 2


def test_who_was_promised_an_item_gets_it_though_the_queue_is_dropped(cooperative):
    for make in weft.Queue, weft.LifoQueue, weft.PriorityQueue:
        q = make()
        getters = [weft.spawn(q.get) for _ in range(2)]
        settle()
        for number in range(4):
            q.put(number)
        q.shutdown(immediate=True)
        assert len(results(getters)) == 2
        with pytest.raises(weft.ShutDown):
            q.get()
        assert q.unfinished_tasks == 2


def test_the_size_may_change():
    q = weft.Queue(1)
    q.put(0)
    putters = spawn_each(q.put, [1, 2, 3])
    settle()
    q.maxsize = 3
    settle()
    assert [putter.done() for putter in putters] == [True, True, False]
    q.maxsize = 1
    assert [q.get(), q.get()] == [0, 1]
    settle()
    assert not putters[2].done()
    q.maxsize = 0
    assert q.maxsize == 0
    assert [q.get(), q.get()] == [2, 3]
    results(putters)
    with pytest.raises(TypeError):
        q.maxsize = "large"


def test_a_subclass_adds_but_does_not_replace_the_store():
    class Named(weft.Queue):
        def __init__(self, name, maxsize=0):
            super().__init__(maxsize)
            self.name = name

        def put_twice(self, item):
            self.put(item)
            self.put(item)

    q = Named("name", 5)
    q.put_twice(1)
    assert (q.get(), q.get(), q.name, q.maxsize) == (1, 1, "name", 5)
    for name in "_init", "_qsize", "_put", "_get":
        with pytest.raises(TypeError, match=rf"do not call {name}\(\): subclass queue.Queue"):
            type("Other", (weft.Queue,), {name: lambda self, *args: None})


@classes
def test_garbage_in_a_queue_is_collected(make):
    class Thing:
        pass

    thing, q = Thing(), make()
    thing.queue = q
    q.put(thing)
    gone = weakref.ref(thing)
    del thing, q
    gc.collect()
    assert gone() is None


@classes
def test_a_destructor_may_use_the_queue(make):
    class Thing:
        def __init__(self, q):
            self.queue = q

        def __del__(self):
            self.queue.put(1)

    q = make()
    q.put(Thing(q))
    q.get()
    assert q.get_nowait() == 1


def test_a_destructor_may_use_a_queue_that_drops_its_item():
    class Thing(int):
        def __del__(self):
            with pytest.raises(weft.ShutDown):
                q.get()
            seen.append(q.qsize())

    for make in weft.Queue, weft.LifoQueue, weft.PriorityQueue:
        q, seen = make(), []
        for number in range(3):
            q.put(Thing(number))
        q.shutdown(immediate=True)
        assert seen == [0, 0, 0]


@classes
def test_an_interrupted_get_loses_nothing(make, interrupt):
    q = make()

    def put_and_fail():
        q.put("item")
        raise Interrupted

    for handler in fail, put_and_fail:
        weft.spawn(interrupt(handler))
        with pytest.raises(Interrupted):
            q.get()
    assert q.get_nowait() == "item"


def test_an_interrupted_put_has_not_happened(interrupt):
    q = weft.Queue(1)
    q.put("first")
    weft.spawn(interrupt(fail))
    with pytest.raises(Interrupted):
        q.put("second")
    assert (q.get(), q.empty()) == ("first", True)


@pytest.mark.parametrize(("make", "left"), [(weft.Queue, ["second"]), (weft.PriorityQueue, [])])
def test_an_interrupted_put_that_a_handler_made_room_for(make, left, interrupt):
    q = make(1)
    q.put("first")

    def get_and_fail():
        q.get()
        raise Interrupted

    weft.spawn(interrupt(get_and_fail))
    with pytest.raises(Interrupted):
        q.put("second")
    assert [q.get_nowait() for _ in range(q.qsize())] == left
    q.put_nowait("third")
    assert q.get() == "third"


def test_an_interrupted_join(interrupt):
    q = weft.Queue()
    q.put(1)
    weft.spawn(interrupt(fail))
    with pytest.raises(Interrupted):
        q.join()
    seen = []
    raise_it = interrupt(lambda: seen.append(None))

    def interrupt_then_finish():
        raise_it()
        wait_until(lambda: seen)
        q.task_done()

    weft.spawn(interrupt_then_finish)
    q.join()
    assert seen == [None]


def test_annotations():
    assert weft.Queue[int].__args__ == weft.SimpleQueue[int].__args__ == (int,)
