"""Waiting for the end of a green thread: what comes out, and who takes it."""

import math
import threading
import time

import pytest
from support import INSTANT_SECONDS, PROMPT_SECONDS, results, settle

import weft


def give(value):
    return value


def fail(error):
    raise error


# --- Waiting ------------------------------------------------------------------------------


def test_result_can_be_asked_for_again():
    value = object()
    thread = weft.spawn(give, value)
    assert thread.result() is value
    assert thread.result() is value
    assert thread.exception() is None


def test_exception_is_the_same_object_each_time():
    error = KeyError("argh")
    thread = weft.spawn(fail, error)
    assert thread.exception() is error
    for _ in range(2):
        with pytest.raises(KeyError) as caught:
            thread.result()
        assert caught.value is error


def test_exception_tells_where_it_was_raised():
    thread = weft.spawn(fail, ValueError("argh"))
    with pytest.raises(ValueError, match="argh") as caught:
        thread.result()
    entries = [entry.name for entry in caught.traceback]
    assert entries[-1] == "fail"


def test_join_returns_none_and_raises_nothing(reported):
    assert weft.spawn(give, 1).join() is None
    assert weft.spawn(fail, ValueError("argh")).join() is None
    assert len(reported) == 1


def test_all_who_wait_get_the_result():
    gate = threading.Event()
    awaited = weft.spawn(lambda: gate.wait() and "argh")
    waiters = [weft.spawn(awaited.result) for _ in range(5)]
    settle()
    gate.set()
    assert results(waiters) == ["argh"] * 5


@pytest.mark.parametrize("timeout", [INSTANT_SECONDS, 0, 0.0, -1, -math.inf])
def test_timeouts(parked, timeout):
    with pytest.raises(TimeoutError):
        parked.result(timeout)
    with pytest.raises(TimeoutError):
        parked.exception(timeout=timeout)
    assert parked.join(timeout=timeout) is None
    assert parked.is_alive()


def test_timeout_takes_as_long_as_it_says(parked):
    start = time.monotonic()
    parked.join(0.02)
    assert 0.02 <= time.monotonic() - start < 1


@pytest.mark.parametrize("timeout", [None, 1e300, math.inf, PROMPT_SECONDS, 10**12])
def test_a_long_timeout_does_not_delay(timeout):
    assert weft.spawn(give, 1).result(timeout) == 1


def test_with_timeout_zero_the_others_get_no_more_than_a_turn(parked):
    thread = weft.spawn(give, 1)
    settle()
    assert thread.result(0) == 1


def test_waiting_for_oneself_is_an_error():
    def wait_for_myself():
        me = weft.current()
        for wait in (me.join, me.result, me.exception):
            with pytest.raises(RuntimeError, match="cannot join current thread"):
                wait()

    weft.spawn(wait_for_myself).result()


@pytest.mark.parametrize("method", ["join", "result", "exception"])
def test_wrong_timeouts(parked, method):
    wait = getattr(parked, method)
    with pytest.raises(TypeError):
        wait("1")
    with pytest.raises(ValueError, match="NaN"):
        wait(math.nan)
    with pytest.raises(TypeError):
        wait(1, 2)
    with pytest.raises(TypeError):
        wait(seconds=1)


# --- Failing: test_threads.py has the report itself ---------------------------------------


def test_a_collector_who_gave_up_does_not_count(reported):
    gate, error = threading.Event(), ValueError("argh")
    thread = weft.spawn(lambda: gate.wait() and fail(error))
    with pytest.raises(TimeoutError):
        thread.result(INSTANT_SECONDS)
    gate.set()
    thread.join()
    assert reported == [error]


def test_a_collector_in_a_green_thread_counts(reported):
    gate, error = threading.Event(), ValueError("argh")
    thread = weft.spawn(lambda: gate.wait() and fail(error))
    collector = weft.spawn(thread.exception)
    settle()
    gate.set()
    assert collector.result() is error
    assert reported == []


def test_a_joiner_does_not_collect(reported):
    gate, error = threading.Event(), ValueError("argh")
    thread = weft.spawn(lambda: gate.wait() and fail(error))
    joiner = weft.spawn(thread.join)
    settle()
    gate.set()
    joiner.join()
    assert reported == [error]


def test_keyboard_interrupt_in_a_green_thread_is_reported_as_any_other(reported):
    error = KeyboardInterrupt()
    weft.spawn(fail, error).join()
    assert reported == [error]


def test_system_exit_can_be_collected():
    thread = weft.spawn(fail, SystemExit(3))
    with pytest.raises(SystemExit) as caught:
        thread.result()
    assert caught.value.code == 3
