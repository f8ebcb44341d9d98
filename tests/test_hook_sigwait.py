"""Waiting for signals: sigwait and its kin, pause, sigsuspend."""

import ctypes
import os
import signal
import threading
import time

import pytest
from support import INSTANT_SECONDS, PROMPT_SECONDS, libc, results, run_program, settle

import weft

WANTED = [signal.SIGUSR1, signal.SIGUSR2]


@pytest.fixture
def blocked():
    """SIGUSR1 and SIGUSR2 are blocked, and forgotten at the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WANTED)
    yield
    while signal.sigtimedwait(WANTED, 0):
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill_me(number=signal.SIGUSR1):
    """For this OS thread: another (the time limit has one) may not have blocked it yet."""
    signal.pthread_kill(threading.main_thread().ident, number)


WAITS = {
    "sigwait": lambda: signal.sigwait(WANTED),
    "sigwaitinfo": lambda: signal.sigwaitinfo(WANTED).si_signo,
    "sigtimedwait": lambda: signal.sigtimedwait(WANTED, PROMPT_SECONDS).si_signo,
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("number", WANTED)
def test_a_wait_parks_until_the_signal_comes(blocked, wait, number):
    waiter = weft.spawn(WAITS[wait])
    settle()
    assert waiter.is_alive()
    kill_me(number)
    assert waiter.result(PROMPT_SECONDS) == number


@pytest.mark.parametrize("wait", WAITS)
def test_a_pending_signal_is_taken_at_once(blocked, wait, parked):
    kill_me()
    assert WAITS[wait]() == signal.SIGUSR1


@pytest.mark.parametrize("wait", WAITS)
def test_main_waits_while_others_run(blocked, wait):
    sender = weft.spawn(lambda: (time.sleep(0.001), kill_me()))
    assert WAITS[wait]() == signal.SIGUSR1
    sender.join()


def test_one_signal_is_for_one_of_those_who_wait(blocked):
    waiters = [weft.spawn(WAITS["sigwaitinfo"]) for _ in range(2)]
    settle()
    kill_me(signal.SIGUSR1)
    kill_me(signal.SIGUSR2)
    assert sorted(results(waiters)) == sorted(WANTED)


def test_a_wait_times_out(blocked, parked):
    start = time.monotonic()
    assert signal.sigtimedwait(WANTED, 5 * INSTANT_SECONDS) is None
    assert time.monotonic() - start >= 5 * INSTANT_SECONDS
    assert signal.sigtimedwait(WANTED, 0) is None


def test_what_is_wrong_is_told(parked):
    with pytest.raises(ValueError, match="out of range"):
        signal.sigtimedwait([10**6], 1)


def test_a_wait_leaves_no_descriptor_behind(blocked):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        waiter = weft.spawn(WAITS["sigwait"])
        settle()
        kill_me()
        waiter.result(PROMPT_SECONDS)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_wait_when_no_descriptors_are_left():
    program = """
import resource
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
weft.spawn(int).join()
waiting = weft.spawn(signal.sigwait, [signal.SIGUSR1])
timing_out = weft.spawn(signal.sigtimedwait, [signal.SIGUSR1], 0.01)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 100))
print(timing_out.result(10))
os.kill(os.getpid(), signal.SIGUSR1)
print(waiting.result(10))
"""
    assert run_program(program) == (0, "None\n10\n", "")


def test_handlers_run_while_main_waits(blocked):
    calls = []
    before = signal.signal(signal.SIGHUP, lambda *_: calls.append(1))
    sender = weft.spawn(
        lambda: (kill_me(signal.SIGHUP), time.sleep(0.005), calls.append(2), kill_me())
    )
    try:
        assert signal.sigwaitinfo(WANTED).si_signo == signal.SIGUSR1
    finally:
        signal.signal(signal.SIGHUP, before)
    sender.join()
    assert calls == [1, 2]


# --- For a handler ------------------------------------------------------------------------


@pytest.fixture
def handled():
    calls = []
    before = signal.signal(signal.SIGUSR1, lambda *_: calls.append(1))
    yield calls
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("who", ["main", "another"])
def test_pause_ends_when_a_handler_has_run(handled, who):
    if who == "main":
        sender = weft.spawn(kill_me)
        signal.pause()
        sender.join()
    else:
        pauser = weft.spawn(signal.pause)
        settle()
        assert pauser.is_alive()
        kill_me()
        pauser.result(PROMPT_SECONDS)
    assert handled == [1]


def test_a_pause_is_not_ended_by_a_signal_of_the_past(handled):
    kill_me()
    weft.sleep(0)
    pauser = weft.spawn(signal.pause)
    weft.sleep(INSTANT_SECONDS)
    assert pauser.is_alive()
    kill_me()
    pauser.result(PROMPT_SECONDS)


def mask_of(*numbers):
    return ctypes.create_string_buffer(
        sum(1 << (number - 1) for number in numbers).to_bytes(128, "little"), 128
    )


def test_sigsuspend_lets_a_pending_signal_in(blocked, handled):
    kill_me()
    assert weft.spawn(libc.sigsuspend, mask_of()).result(PROMPT_SECONDS) == -1
    weft.sleep(0)
    assert handled == [1]


def test_sigsuspend_waits_for_a_signal_to_let_in(blocked, handled):
    suspended = weft.spawn(libc.sigsuspend, mask_of(signal.SIGUSR2))
    settle()
    kill_me(signal.SIGUSR2)
    weft.sleep(INSTANT_SECONDS)
    assert suspended.is_alive()
    kill_me(signal.SIGUSR1)
    assert suspended.result(PROMPT_SECONDS) == -1
    weft.sleep(0)
    assert handled == [1]
