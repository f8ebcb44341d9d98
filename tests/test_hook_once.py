"""What is done only once, and barriers, in C libraries."""

import pytest
from support import NO_FORK_WARNING, green, in_os_thread, results, run_program, starts

import weft


@pytest.mark.parametrize("once", ["do_once", "c11_do_once"])
@starts
def test_all_wait_until_it_is_done(parked, locks, start, once):
    locks.once_reset()
    do = getattr(locks, once)
    waits = [start(do) for _ in range(5)]
    assert [wait() for wait in waits] == [1] * 5
    assert do() == 1


def test_once_among_green_and_os_threads(locks):
    locks.once_reset()
    waits = [start(locks.do_once) for start in (green, in_os_thread) for _ in range(3)]
    assert [wait() for wait in waits] == [1] * 6


def test_what_was_running_at_a_fork_is_done_again_in_the_child(locks_path):
    program = f"""
import ctypes
locks = ctypes.CDLL({str(locks_path)!r})
doer = weft.spawn(locks.do_once)
weft.yield_now()
if (child := os.fork()) == 0:
    print(weft.spawn(locks.do_once).result(10), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(doer.result(10))
"""
    assert run_program(program, flags=NO_FORK_WARNING) == (0, "1\n1\n", "")


@starts
def test_a_barrier_lets_all_go_on_together(parked, locks, start):
    for _ in range(2):
        locks.barrier_new(4)
        waits = [start(locks.barrier_arrive) for _ in range(4)]
        assert sorted(wait() for wait in waits) == [0, 0, 0, 1]


def test_a_barrier_for_many(locks):
    locks.barrier_new(50)
    threads = [weft.spawn(locks.barrier_arrive) for _ in range(50)]
    assert sorted(results(threads)) == [0] * 49 + [1]


def test_a_barrier_between_green_and_os_threads(locks):
    locks.barrier_new(4)
    waits = [start(locks.barrier_arrive) for start in (green, in_os_thread) for _ in range(2)]
    assert sorted(wait() for wait in waits) == [0, 0, 0, 1]
