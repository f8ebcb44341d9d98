"""Green threads as Python sees them: started, waited for, asked, collected."""

import contextvars
import functools
import gc
import math
import sys
import threading
import time
import weakref

import pytest
from support import (
    INSTANT_SECONDS,
    PROMPT_SECONDS,
    results,
    run_program,
    settle,
    spawn_each,
    together,
)

import weft


def give(value):
    return value


def fail(error):
    raise error


class Thing:
    """Something a weak reference can be made to."""

    def method(self):
        return self


@pytest.fixture
def parked():
    """A green thread that is parked until the test is over."""
    gate = threading.Event()
    thread = weft.spawn(gate.wait)
    settle()
    yield thread
    gate.set()
    thread.join()


@pytest.fixture
def reported(monkeypatch):
    """The exceptions that reach threading.excepthook."""
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.append(args.exc_value))
    return seen


# --- Starting -----------------------------------------------------------------------------


def test_arguments_and_keywords_are_passed():
    def collect(*args, **kwargs):
        return args, kwargs

    thread = weft.spawn(collect, 1, "two", fn=3, self=4, args=5)
    assert thread.result() == ((1, "two"), {"fn": 3, "self": 4, "args": 5})


def test_it_starts_when_the_spawner_parks():
    record = []
    thread = weft.spawn(record.append, "ran")
    assert record == []
    weft.yield_now()
    assert record == ["ran"]
    assert thread.done()


@pytest.mark.parametrize(
    "fn", [len, str.upper, functools.partial(give, "x"), Thing().method, Thing]
)
def test_whatever_can_be_called_can_be_spawned(fn):
    arguments = ["x"] if fn in (len, str.upper) else []
    assert type(weft.spawn(fn, *arguments).result()) is type(fn(*arguments))


@pytest.mark.parametrize("arguments", [(), (None,), (3,), ("text", 1)])
def test_what_cannot_be_called_cannot_be_spawned(arguments):
    with pytest.raises(TypeError, match="callable"):
        weft.spawn(*arguments)


def test_function_is_positional_only():
    with pytest.raises(TypeError):
        weft.spawn(fn=give)


def test_wrong_arguments_are_the_green_threads_failure():
    with pytest.raises(TypeError, match="positional argument"):
        weft.spawn(give).result()


def test_green_threads_are_made_by_spawn_alone():
    with pytest.raises(TypeError):
        weft.GreenThread()


def test_a_green_thread_can_spawn():
    def outer():
        return weft.spawn(give, "inner").result()

    assert weft.spawn(outer).result() == "inner"


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


def test_done_and_is_alive_are_opposites(parked):
    ended = weft.spawn(give, 1)
    assert (ended.done(), ended.is_alive()) == (False, True)
    ended.join()
    assert (ended.done(), ended.is_alive()) == (True, False)
    assert (parked.done(), parked.is_alive()) == (False, True)


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


# --- Callbacks ----------------------------------------------------------------------------


@pytest.fixture
def unraisable(monkeypatch):
    """The exceptions that reach sys.unraisablehook."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: seen.append(args.exc_value))
    return seen


def test_callbacks_get_the_green_thread_in_the_order_added():
    seen, thread = [], weft.spawn(give, 1)
    for name in ("first", "second"):
        thread.add_done_callback(lambda ended, name=name: seen.append((name, ended)))
    thread.join()
    assert seen == [("first", thread), ("second", thread)]


def test_a_callback_runs_in_the_green_thread_that_ends_and_finds_it_done():
    def look(ended):
        seen.extend([weft.current(), ended.done(), ended.result(), ended.exception()])

    seen, thread = [], weft.spawn(give, 1)
    thread.add_done_callback(look)
    thread.join()
    assert seen == [thread, True, 1, None]


def test_callbacks_run_before_joiners():
    order, gate = [], threading.Event()
    thread = weft.spawn(gate.wait)
    joiner = weft.spawn(lambda: (thread.join(), order.append("joiner")))
    settle()
    thread.add_done_callback(lambda _: (weft.yield_now(), order.append("callback")))
    gate.set()
    joiner.join()
    assert order == ["callback", "joiner"]


def test_a_callback_of_one_that_is_done_is_called_at_once_by_the_caller():
    seen, thread = [], weft.spawn(give, 1)
    thread.join()
    thread.add_done_callback(lambda ended: seen.append((ended, weft.current())))
    assert seen == [(thread, weft.current())]


def test_a_callback_added_by_a_callback_is_called():
    seen, thread = [], weft.spawn(give, 1)
    thread.add_done_callback(lambda ended: ended.add_done_callback(seen.append))
    thread.join()
    assert seen == [thread]


@pytest.mark.parametrize("late", [False, True])
def test_what_a_callback_raises_is_reported_and_stops_no_other(unraisable, late):
    seen, error, thread = [], ValueError("argh"), weft.spawn(give, 1)
    if late:
        thread.join()
    thread.add_done_callback(lambda _: fail(error))
    thread.add_done_callback(seen.append)
    thread.join()
    assert (unraisable, seen) == ([error], [thread])


def test_a_callback_that_asks_collects(reported):
    seen, error = [], ValueError("argh")
    thread = weft.spawn(fail, error)
    thread.add_done_callback(lambda ended: seen.append(ended.exception()))
    thread.join()
    assert (seen, reported) == ([error], [])


def test_a_callback_that_does_not_ask_does_not_collect(reported):
    error = ValueError("argh")
    thread = weft.spawn(fail, error)
    thread.add_done_callback(lambda _: None)
    thread.join()
    assert reported == [error]


def test_callbacks_are_dropped_once_called():
    thing, thread = Thing(), weft.spawn(give, 1)
    dropped = weakref.ref(thing)
    thread.add_done_callback(lambda _, thing=thing: None)
    del thing
    thread.join()
    gc.collect()
    assert dropped() is None


def test_those_that_weft_did_not_spawn_take_no_callbacks():
    with pytest.raises(RuntimeError, match=r"weft\.spawn"):
        weft.current().add_done_callback(print)


def test_callbacks_of_one_without_a_stack_are_called_by_the_main_one():
    seen = run_program(
        """
import resource
weft.spawn(int).join()
called, limit = threading.Event(), 64 << 20
def call(thread):
    print(type(thread.exception()).__name__, weft.current().name)
    called.set()
threading.stack_size(1 << 30)
size = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGESIZE")
resource.setrlimit(resource.RLIMIT_AS, (size + limit, resource.RLIM_INFINITY))
thread = weft.spawn(print, "never")
thread.add_done_callback(call)
called.wait()
"""
    )
    assert (seen.status, seen.output) == (0, "MemoryError MainThread\n")


# --- Asking -------------------------------------------------------------------------------


def test_name_tells_number_and_function():
    first, second = weft.spawn(give, 1), weft.spawn(Thing().method)
    number = int(first.name.removeprefix("green-").removesuffix(" (give)"))
    assert second.name == f"green-{number + 1} (method)"
    first.join()
    assert first.name == f"green-{number} (give)"
    second.join()


def test_name_of_a_callable_object_is_that_of_its_type():
    thread = weft.spawn(functools.partial(give, 1))
    assert thread.name.endswith(" (functools.partial)")
    thread.join()


def test_name_is_made_when_asked_even_after_the_end():
    thread = weft.spawn(give, 1)
    thread.join()
    assert thread.name.endswith(" (give)")


def test_name_can_be_set():
    thread = weft.spawn(give, 1)
    thread.name = "argh"
    assert thread.name == "argh"
    thread.join()
    assert thread.name == "argh"
    with pytest.raises(AttributeError):
        del thread.name


def test_ident_is_what_get_ident_says_inside():
    thread = weft.spawn(threading.get_ident)
    assert thread.result() == thread.ident


def test_idents_are_unique_while_alive():
    gate = threading.Event()
    threads = spawn_each(lambda _: (gate.wait(), threading.get_ident())[1], range(100))
    idents = {thread.ident for thread in threads} | {threading.get_ident()}
    gate.set()
    assert set(results(threads)) | {threading.get_ident()} == idents
    assert len(idents) == 101


def test_ident_and_daemon_are_not_to_be_changed_at_will(parked):
    with pytest.raises(AttributeError):
        parked.ident = 3
    with pytest.raises(AttributeError):
        del parked.daemon


def test_daemon_is_inherited_and_settable(parked):
    assert parked.daemon is False
    parked.daemon = True
    assert parked.daemon is True

    def spawner():
        return weft.spawn(give, 1)

    outer = weft.spawn(spawner)
    outer.daemon = True
    inner = outer.result()
    assert inner.daemon is True
    inner.join()


def test_daemon_is_fixed_at_the_end():
    thread = weft.spawn(give, 1)
    thread.join()
    with pytest.raises(RuntimeError):
        thread.daemon = True


def test_daemon_of_the_main_thread_is_fixed():
    with pytest.raises(RuntimeError):
        weft.current().daemon = True


def test_repr_tells_name_state_and_ident(parked):
    parked.name = "argh"
    assert repr(parked) == f"<GreenThread(argh, alive {parked.ident})>"
    parked.daemon = True
    assert repr(parked) == f"<GreenThread(argh, alive daemon {parked.ident})>"
    ended = weft.spawn(give, 1)
    ended.join()
    assert ", done " in repr(ended)


def test_generic_alias():
    assert weft.GreenThread[int].__origin__ is weft.GreenThread


def test_current_is_the_handle_that_spawn_gave():
    thread = weft.spawn(weft.current)
    assert thread.result() is thread


def test_current_outside_of_green_threads_stands_for_the_os_thread():
    me = weft.current()
    assert me is weft.current()
    assert (me.name, me.ident, me.is_alive()) == ("MainThread", threading.get_ident(), True)


def test_all_threads_are_those_alive(parked):
    ended = weft.spawn(give, 1)
    assert {parked, ended} <= set(weft.all_threads())
    ended.join()
    assert parked in weft.all_threads()
    assert ended not in weft.all_threads()
    assert weft.current() not in weft.all_threads()


def test_current_thread_of_threading_is_a_stand_in_that_goes_with_it():
    def inside():
        thread = threading.current_thread()
        return thread, thread.ident, thread in threading.enumerate()

    green = weft.spawn(inside)
    thread, ident, listed = green.result()
    assert (ident, listed) == (green.ident, True)
    assert thread not in threading.enumerate()


# --- Context ------------------------------------------------------------------------------

variable = contextvars.ContextVar("variable", default="default")


def test_context_is_the_spawners():
    token = variable.set("argh")
    thread = weft.spawn(variable.get)
    variable.reset(token)
    assert thread.result() == "argh"
    assert variable.get() == "default"


def test_context_is_a_copy():
    thread = weft.spawn(variable.set, "inner")
    thread.join()
    assert variable.get() == "default"


def test_each_has_its_own_context():
    def remember(value):
        variable.set(value)
        weft.yield_now()
        return variable.get()

    assert results(spawn_each(remember, range(5))) == list(range(5))


# --- Sleeping and yielding ----------------------------------------------------------------


@pytest.mark.parametrize("seconds", [-1, -0.001, -math.inf])
def test_negative_sleep(seconds):
    with pytest.raises(ValueError, match="non-negative"):
        weft.sleep(seconds)


def test_sleep_of_nan():
    with pytest.raises(ValueError, match="NaN"):
        weft.sleep(math.nan)


@pytest.mark.parametrize("arguments", [(), ("1",), (None,), (1, 2)])
def test_wrong_sleep(arguments):
    with pytest.raises(TypeError):
        weft.sleep(*arguments)


def test_sleep_is_as_long_as_it_says():
    start = time.monotonic()
    weft.sleep(0.02)
    assert 0.02 <= time.monotonic() - start < 1


def test_yield_now_takes_no_arguments():
    with pytest.raises(TypeError):
        weft.yield_now(1)


# --- Memory -------------------------------------------------------------------------------


def test_a_handle_can_be_referred_to_weakly():
    thread = weft.spawn(give, 1)
    reference = weakref.ref(thread)
    assert reference() is thread
    thread.join()
    del thread
    assert reference() is None


def test_a_green_thread_whose_handle_is_dropped_runs_on():
    record = []
    weft.spawn(lambda: (weft.yield_now(), record.append("ran")))
    gc.collect()
    settle()
    assert record == ["ran"]


def test_arguments_are_released_at_the_end():
    thing = Thing()
    reference = weakref.ref(thing)
    thread = weft.spawn(lambda x, *, y: None, thing, y=thing)
    del thing
    thread.join()
    assert reference() is None


def test_result_is_released_with_the_handle():
    thread = weft.spawn(Thing)
    reference = weakref.ref(thread.result())
    assert reference() is not None
    del thread
    assert reference() is None


def test_handles_in_cycles_are_collected():
    def make():
        box = []
        box.append(weft.spawn(lambda: box))
        box[0].join()
        return weakref.ref(box[0])

    reference = make()
    gc.collect()
    assert reference() is None


def test_a_finished_green_thread_keeps_no_locals():
    reference = []

    def inside():
        thing = Thing()
        reference.append(weakref.ref(thing))

    thread = weft.spawn(inside)
    thread.join()
    assert reference[0]() is None


def test_handles_are_equal_to_themselves_only():
    first, second = weft.spawn(give, 1), weft.spawn(give, 1)
    assert first == first
    assert first != second
    assert len({first, second}) == 2
    together(first.join, second.join)
