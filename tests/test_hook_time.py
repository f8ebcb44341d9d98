"""Sleeping, by whatever function, lets the others run."""

import ctypes
import errno
import time

import pytest
from support import PROMPT_SECONDS, results, run_program, settle, spawn_each

import weft

libc = ctypes.CDLL(None, use_errno=True)

SHORT = 0.005


class Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))

    @classmethod
    def of(cls, seconds):
        return cls(int(seconds), int(seconds % 1 * 1e9))


def nanosleep(seconds):
    return libc.nanosleep(ctypes.byref(Timespec.of(seconds)), None)


def usleep(seconds):
    return libc.usleep(int(seconds * 1e6))


def clock_nanosleep(seconds):
    request = Timespec.of(seconds)
    return libc.clock_nanosleep(time.CLOCK_MONOTONIC, 0, ctypes.byref(request), None)


def until(clock):
    def sleep(seconds):
        request = Timespec.of(time.clock_gettime(clock) + seconds)
        return libc.clock_nanosleep(clock, 1, ctypes.byref(request), None)

    return sleep


WAYS = {
    "time.sleep": time.sleep,
    "nanosleep": nanosleep,
    "usleep": usleep,
    "clock_nanosleep": clock_nanosleep,
    "until monotonic": until(time.CLOCK_MONOTONIC),
    "until realtime": until(time.CLOCK_REALTIME),
}


@pytest.fixture(params=WAYS)
def sleep(request):
    return WAYS[request.param]


def test_sleeps_overlap(sleep):
    start = time.monotonic()
    results(spawn_each(sleep, [0.02] * 50))
    assert 0.02 <= time.monotonic() - start < 0.5


def test_a_sleep_lasts_as_long_as_it_says(sleep, parked):
    start = time.monotonic()
    assert not sleep(SHORT)
    assert SHORT <= time.monotonic() - start < 1


def test_others_run_meanwhile(sleep):
    record = []
    sleeper = weft.spawn(lambda: (sleep(SHORT), record.append("slept")))
    worker = weft.spawn(record.append, "worked")
    results([sleeper, worker])
    assert record == ["worked", "slept"]


@pytest.mark.slow
def test_sleep_in_whole_seconds_lets_others_run():
    sleeper = weft.spawn(libc.sleep, 1)
    settle()
    assert sleeper.is_alive()
    assert sleeper.result(PROMPT_SECONDS) == 0


def test_sleep_of_the_gil_holder(parked):
    """A library that sleeps without releasing the GIL stops OS threads, but no green threads."""
    holder = ctypes.PyDLL(None)
    start = time.monotonic()
    results(spawn_each(holder.usleep, [20_000] * 20))
    assert 0.02 <= time.monotonic() - start < 0.3


def test_a_moment_in_the_past(parked):
    past = Timespec.of(1)
    assert libc.clock_nanosleep(time.CLOCK_MONOTONIC, 1, ctypes.byref(past), None) == 0
    assert libc.clock_nanosleep(time.CLOCK_REALTIME, 1, ctypes.byref(past), None) == 0


@pytest.mark.parametrize("wrong", [Timespec(-1, 0), Timespec(0, -1), Timespec(0, 10**9)])
def test_wrong_times_are_refused_as_ever(parked, wrong):
    assert libc.clock_nanosleep(time.CLOCK_MONOTONIC, 0, ctypes.byref(wrong), None) == errno.EINVAL
    assert libc.nanosleep(ctypes.byref(wrong), None) == -1
    assert ctypes.get_errno() == errno.EINVAL


def test_errno_is_ones_own():
    def keep(number):
        ctypes.set_errno(number)
        libc.usleep(1000)
        return ctypes.get_errno()

    assert results(spawn_each(keep, [11, 22, 33])) == [11, 22, 33]


def test_a_sleep_of_ages_is_possible():
    program = """
import ctypes
weft.spawn(int).join()  # the hooks are on before ctypes asks for the address of nanosleep
class Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))
libc = ctypes.CDLL(None)
for ages in (2**62, 2**63 - 1):
    sleeper = weft.spawn(libc.nanosleep, ctypes.byref(Timespec(ages, 0)), None)
    sleeper.daemon = True
    weft.sleep(0.001)
    print(sleeper.is_alive())
"""
    assert run_program(program) == (0, "True\nTrue\n", "")


def test_wrong_arguments_of_time_sleep(parked):
    with pytest.raises(ValueError, match="non-negative"):
        time.sleep(-1)
