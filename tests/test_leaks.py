"""What comes and goes many times leaves nothing behind: memory, descriptors, objects."""

import gc
import os
import socket
import sys
import threading

import pytest
from support import results, run_program, settle

import weft

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE_BYTES


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def objects():
    gc.collect()
    return len(gc.get_objects())


def grows(measure, work, rounds=4):
    """By how much `measure()` grows over some rounds of work, once it has warmed up."""
    work()
    work()
    before = measure()
    for _ in range(rounds):
        work()
    return measure() - before


def spawn_and_join(count, fn, *args):
    for _ in range(count // 100):
        results([weft.spawn(fn, *args) for _ in range(100)])


def park_once():
    weft.yield_now()


def fail_and_catch():
    def fail(depth):
        local = [depth] * 10
        if depth == 0:
            raise ValueError(local)
        fail(depth - 1)

    error = weft.spawn(fail, 10).exception()
    assert error.__traceback__ is not None


def talk():
    left, right = socket.socketpair()
    reader = weft.spawn(right.recv, 10)
    settle()
    left.send(b"argh")
    assert reader.result() == b"argh"
    left.close()
    right.close()


def wait_in_vain():
    lock = threading.Lock()
    lock.acquire()
    assert not weft.spawn(lock.acquire, True, 0.0001).result()
    with pytest.raises(TimeoutError):
        weft.spawn(lock.acquire, True, 0.0003).result(0.0001)
    settle()


def use_locals():
    local = threading.local()
    local.value = [1] * 100
    weft.yield_now()


WORK = {
    "spawn and join": lambda: spawn_and_join(2000, int),
    "park": lambda: spawn_and_join(2000, park_once),
    "fail": lambda: [fail_and_catch() for _ in range(200)],
    "talk": lambda: [talk() for _ in range(100)],
    "wait in vain": lambda: [wait_in_vain() for _ in range(20)],
    "locals": lambda: spawn_and_join(1000, use_locals),
}


@pytest.mark.parametrize("work", WORK)
def test_objects_do_not_accumulate(work):
    assert grows(objects, WORK[work], rounds=3) < 50


@pytest.mark.parametrize("work", WORK)
def test_descriptors_do_not_accumulate(work):
    assert grows(descriptors, WORK[work], rounds=1) == 0


@pytest.mark.slow
@pytest.mark.parametrize("fn", [int, park_once, use_locals])
def test_memory_does_not_accumulate(fn):
    assert grows(resident_bytes, lambda: spawn_and_join(20_000, fn)) < 2**20


@pytest.mark.slow
def test_memory_of_failures_does_not_accumulate():
    assert grows(resident_bytes, lambda: [fail_and_catch() for _ in range(3000)]) < 2**20


@pytest.mark.slow
def test_memory_of_threads_does_not_accumulate(installed):
    def work():
        for _ in range(50):
            threads = [threading.Thread(target=park_once) for _ in range(100)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    assert grows(resident_bytes, work) < 2**20


@pytest.mark.slow
def test_memory_of_a_crowd_is_used_again():
    def crowd():
        gate = threading.Event()
        threads = [weft.spawn(gate.wait) for _ in range(5000)]
        settle()
        gate.set()
        results(threads)

    assert grows(resident_bytes, crowd) < 4 * 2**20


def test_references_to_singletons_do_not_accumulate():
    def count():
        return [sys.getrefcount(thing) for thing in (int, weft.GreenThread, park_once)]

    spawn_and_join(200, park_once)
    before = count()
    spawn_and_join(2000, park_once)
    spawn_and_join(2000, int)
    assert [now - then for now, then in zip(count(), before, strict=True)] == [0, 0, 0]


def test_os_threads_leave_no_descriptors():
    def work():
        for _ in range(10):
            thread = threading.Thread(target=lambda: weft.spawn(int).join())
            thread.start()
            thread.join()

    assert grows(descriptors, work, rounds=2) == 0


def test_children_of_fork_have_no_more_descriptors_than_the_parent():
    program = """
weft.spawn(int).join()
count = len(os.listdir("/proc/self/fd"))
pid = os.fork()
if pid == 0:
    weft.spawn(int).join()
    os._exit(len(os.listdir("/proc/self/fd")) - count)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert run_program(program) == (0, "0\n", "")


@pytest.mark.slow
def test_memory_of_a_crowd_is_given_back_when_there_is_nothing_to_do():
    program = """
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
gate = threading.Event()
before = resident()
crowd = [weft.spawn(gate.wait) for _ in range(5000)]
weft.yield_now()
full = resident()
gate.set()
for thread in crowd:
    thread.join()
del crowd, thread
time.sleep(0)
deadline = time.monotonic() + 15
weft.spawn(time.sleep, 20).daemon = True  # so that the waits below are green ones
while resident() - before > (full - before) / 2 and time.monotonic() < deadline:
    time.sleep(0.05)
print(resident() - before < (full - before) / 2, full - before > 5000 * 4096)
"""
    assert run_program(program) == (0, "True True\n", "")
