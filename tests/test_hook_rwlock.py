"""Read-write locks of C libraries: readers together, writers alone, and whoever has to wait parks.

Most tests run once with green threads and once with OS threads, which say what is right.
"""

import ctypes
import errno
import time

import pytest
from support import PROMPT_SECONDS, in_os_thread, results, settle, spawn_each, starts

import weft

PREFER_READER, PREFER_WRITER, PREFER_WRITER_NONRECURSIVE = range(3)
SHORT_MS = 5
LONG_MS = PROMPT_SECONDS * 1000

locks_of_all_kinds = pytest.mark.parametrize(
    ("preference", "shared"),
    [(PREFER_READER, 0), (PREFER_WRITER_NONRECURSIVE, 0), (PREFER_READER, 1)],
    ids=["prefers readers", "prefers writers", "shared"],
)


@pytest.fixture
def book(locks):
    """Makes a thing with a read-write lock, with functions as methods."""
    locks.book_new.restype = ctypes.c_void_p

    class Book:
        def __init__(self, preference=PREFER_READER, shared=0):
            self.address = ctypes.c_void_p(locks.book_new(preference, shared))

        def __getattr__(self, name):
            function = getattr(locks, f"book_{name}")
            return lambda *args: function(self.address, *args)

    return Book


@locks_of_all_kinds
@starts
def test_readers_together_writers_alone(book, start, preference, shared):
    novel = book(preference, shared)
    waits = [start(fn, 500) for _ in range(4) for fn in (novel.read, novel.write, novel.read)]
    assert [wait() for wait in waits] == [0] * 12
    assert novel.most_writers() == 1
    assert not novel.mixed()


@locks_of_all_kinds
@starts
def test_readers_come_in_together(parked, book, start, preference, shared):
    novel = book(preference, shared)
    novel.wrlock()
    waits = [start(novel.read, 2000) for _ in range(5)]
    settle()
    assert novel.most_readers() == 0
    novel.unlock()
    assert [wait() for wait in waits] == [0] * 5
    assert novel.most_readers() > 1


def test_all_green_readers_come_in_together(book):
    novel = book()
    writer = weft.spawn(novel.write, 500)
    settle()
    assert results(spawn_each(novel.read, [1000] * 5)) == [0] * 5
    assert novel.most_readers() == 5
    assert writer.result() == 0


def test_a_writer_waits_for_the_last_reader(book):
    novel = book()
    readers = spawn_each(novel.read, [500, 1000, 1500])
    settle()
    writer = weft.spawn(novel.write, 0)
    settle()
    assert novel.most_writers() == 0
    assert results([*readers, writer]) == [0] * 4
    assert not novel.mixed()


def test_green_and_os_threads_share_one(book):
    novel = book()

    def crowd():
        def visit(number):
            visits = [novel.write if number % 2 else novel.read] * 20
            return sum(visit(20) for visit in visits)

        return sum(results(spawn_each(visit, range(6))))

    waits = [in_os_thread(crowd) for _ in range(2)]
    waits.append(in_os_thread(lambda: sum(novel.write(20) for _ in range(50))))
    assert crowd() == 0
    assert [wait() for wait in waits] == [0] * 3
    assert novel.most_writers() == 1
    assert not novel.mixed()


@starts
def test_the_writer_asks_again(parked, book, start):
    novel = book()

    def ask():
        asked = novel.wrlock(), novel.wrlock(), novel.rdlock(), novel.timedwrlock(SHORT_MS)
        tried = novel.trywrlock(), novel.tryrdlock()
        return *asked, *tried, novel.unlock()

    expected = 0, *[errno.EDEADLK] * 3, *[errno.EBUSY] * 2, 0
    assert start(ask)() == expected
    assert ask() == expected
    novel.trywrlock()
    assert novel.wrlock() == errno.EDEADLK
    waiter = start(novel.write, 0)
    settle()
    assert novel.most_writers() == 0
    novel.unlock()
    assert waiter() == 0


@starts
def test_try(parked, book, start):
    novel = book()
    novel.rdlock()
    assert start(lambda: (novel.tryrdlock(), novel.unlock()))() == (0, 0)
    assert start(novel.trywrlock)() == errno.EBUSY
    novel.unlock()
    novel.wrlock()
    assert start(novel.tryrdlock)() == errno.EBUSY
    novel.unlock()


@pytest.mark.parametrize("lock", ["timedrdlock", "timedwrlock", "clockrdlock", "clockwrlock"])
@starts
def test_timed(parked, book, start, lock):
    novel = book()

    def wait():
        begin = time.monotonic()
        return getattr(novel, lock)(SHORT_MS), time.monotonic() - begin

    novel.wrlock()
    for error, seconds in [give_up() for give_up in [start(wait) for _ in range(3)]]:
        assert error == errno.ETIMEDOUT
        assert SHORT_MS / 1000 <= seconds < 1
    patient = start(lambda: (getattr(novel, lock)(LONG_MS), novel.unlock()))
    novel.unlock()
    assert patient() == (0, 0)
