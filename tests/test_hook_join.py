"""Joining the OS threads of C libraries, while other green threads go on."""

import ctypes
import errno
import time

import pytest
from support import green, results, settle, starts

import weft

SHORT_MS = 5


@pytest.mark.parametrize("join", ["run_and_join", "thrd_run_and_join"])
@starts
def test_the_result_of_a_joined_thread(parked, locks, start, join):
    locks.let_end(False)
    fn = getattr(locks, join)
    fn.restype = ctypes.c_long
    waits = [start(fn, number) for number in range(3)]
    locks.let_end(True)
    assert [wait() for wait in waits] == [0, 1, 2]


@pytest.mark.parametrize("join", ["run_and_join", "thrd_run_and_join"])
def test_the_others_go_on(locks, join):
    locks.let_end(False)
    joiner = weft.spawn(getattr(locks, join), 7)
    settle()
    ticker = weft.spawn(lambda: [weft.sleep(0.0002) for _ in range(5)])
    ticker.join()
    assert not joiner.done()
    locks.let_end(True)
    assert joiner.result() == 7


@pytest.mark.parametrize("clock", [time.CLOCK_REALTIME, time.CLOCK_MONOTONIC])
@starts
def test_a_join_times_out(parked, locks, start, clock):
    waits = [start(locks.run_and_timedjoin, clock, SHORT_MS)]
    assert [wait() for wait in waits] == [errno.ETIMEDOUT]


def test_nobody_joins_himself(parked, locks):
    assert locks.join_self() == errno.EDEADLK
    assert green(locks.join_self)() == errno.EDEADLK


def test_many_join_at_once(locks):
    # More than the offload pool has OS threads, which has better things to do.
    locks.let_end(False)
    joiners = [weft.spawn(locks.run_and_join, number) for number in range(40)]
    settle()
    locks.let_end(True)
    assert results(joiners) == list(range(40))
