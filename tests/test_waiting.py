"""weft.wait and weft.as_completed over green threads and futures."""

import threading
import time
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, CancelledError, Future

import pytest
from support import INSTANT_SECONDS, PROMPT_SECONDS, settle

import weft


def fail(error):
    raise error


@pytest.fixture
def gate():
    """What keeps green threads from ending until the test is over."""
    gate = threading.Event()
    yield gate
    gate.set()
    settle()


def test_waits_for_all(gate):
    future, thread = Future(), weft.spawn(gate.wait)
    weft.spawn(lambda: (future.set_result(1), gate.set()))
    assert weft.wait([future, thread]) == ({future, thread}, set())


def test_what_is_done_already_is_not_waited_for():
    future = Future()
    future.set_result(1)
    assert weft.wait([future, future]).done == {future}
    assert weft.wait([]) == (set(), set())


def test_waits_for_the_first(gate):
    slow, quick = weft.spawn(gate.wait), weft.spawn(int)
    assert weft.wait([slow, quick], return_when=FIRST_COMPLETED) == ({quick}, {slow})


def test_waits_for_the_first_exception(gate, reported):
    slow, quick, failing = weft.spawn(gate.wait), weft.spawn(int), weft.spawn(fail, OSError())
    done, not_done = weft.wait([slow, quick, failing], return_when=FIRST_EXCEPTION)
    assert (failing in done, not_done) == (True, {slow})
    assert reported == []


def test_a_cancelled_future_is_done_and_has_not_failed(gate):
    cancelled, slow = Future(), weft.spawn(gate.wait)
    cancelled.cancel()
    assert weft.wait([cancelled, slow], INSTANT_SECONDS, FIRST_EXCEPTION) == ({cancelled}, {slow})


def test_a_cancelled_green_thread_is_done_and_has_not_failed(gate):
    cancelled, slow = weft.spawn(gate.wait), weft.spawn(gate.wait)
    weft.spawn(cancelled.cancel)
    assert weft.wait([cancelled], PROMPT_SECONDS).done == {cancelled}
    assert weft.wait([cancelled, slow], INSTANT_SECONDS, FIRST_EXCEPTION) == ({cancelled}, {slow})


def test_gives_up_after_the_timeout(gate):
    slow, quick = weft.spawn(gate.wait), weft.spawn(int)
    assert weft.wait([slow, quick], timeout=INSTANT_SECONDS) == ({quick}, {slow})


def test_other_conditions_are_refused():
    with pytest.raises(ValueError, match="SOME"):
        weft.wait([], return_when="SOME")


def test_an_exception_that_comes_while_waited_for_is_collected(reported):
    failing = weft.spawn(fail, OSError())
    weft.wait([failing])
    assert reported == []


def test_an_exception_that_comes_after_the_wait_is_reported(gate, reported):
    error = OSError()
    failing = weft.spawn(lambda: gate.wait() and fail(error))
    weft.wait([failing], timeout=INSTANT_SECONDS)
    gate.set()
    failing.join()
    assert reported == [error]


def test_nothing_is_left_with_a_future_that_was_waited_for():
    future = Future()
    weft.wait([future], timeout=INSTANT_SECONDS)
    assert future._done_callbacks == []


def test_they_come_in_the_order_they_end():
    threads = [weft.spawn(time.sleep, seconds) for seconds in (0.004, 0.002, 0)]
    assert list(weft.as_completed(threads)) == threads[::-1]


def test_each_comes_once():
    thread = weft.spawn(int)
    assert list(weft.as_completed([thread, thread])) == [thread]


def test_as_completed_times_out(gate):
    quick, slow = weft.spawn(int), weft.spawn(gate.wait)
    things = weft.as_completed([quick, slow], timeout=INSTANT_SECONDS)
    assert next(things) is quick
    with pytest.raises(TimeoutError, match=r"1 \(of 2\)"):
        next(things)


def test_the_timeout_counts_from_the_call(gate):
    things = weft.as_completed([weft.spawn(gate.wait)], timeout=INSTANT_SECONDS)
    time.sleep(2 * INSTANT_SECONDS)
    before = time.monotonic()
    with pytest.raises(TimeoutError):
        next(things)
    assert time.monotonic() - before < PROMPT_SECONDS


def test_what_is_neither_is_refused():
    with pytest.raises(AttributeError):
        weft.wait([5])


def test_one_that_cannot_be_waited_for_leaves_nothing_with_the_others():
    future = Future()
    with pytest.raises(RuntimeError, match=r"weft\.spawn"):
        weft.wait([future, weft.current()])
    assert future._done_callbacks == []


def test_a_future_of_an_os_thread_wakes_the_waiter():
    future = Future()
    with weft.os_threads():
        threading.Timer(0.002, future.set_exception, [CancelledError()]).start()
    assert weft.wait([future], PROMPT_SECONDS).done == {future}
