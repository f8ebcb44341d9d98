"""From weft.spawn to the end: what a green thread runs, in which context, whom it calls then."""

import contextvars
import functools
import gc
import sys
import threading
import weakref

import pytest
from support import results, run_program, settle, spawn_each

import weft


def give(value):
    return value


def fail(error):
    raise error


class Thing:
    """Something a weak reference can be made to."""

    def method(self):
        return self


# --- Starting -----------------------------------------------------------------------------


@pytest.mark.parametrize("args", [(), (1,), (None,), ((1, 2),), (1, "two")])
@pytest.mark.parametrize("kwargs", [{}, {"fn": None}, {"fn": 3, "self": 4, "args": 5}])
def test_arguments_and_keywords_are_passed(args, kwargs):
    def collect(*args, **kwargs):
        return args, kwargs

    assert weft.spawn(collect, *args, **kwargs).result() == (args, kwargs)


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


def test_a_green_thread_can_spawn():
    def outer():
        return weft.spawn(give, "inner").result()

    assert weft.spawn(outer).result() == "inner"


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


# --- Memory -------------------------------------------------------------------------------


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


def test_a_finished_green_thread_keeps_no_locals():
    reference = []

    def inside():
        thing = Thing()
        reference.append(weakref.ref(thing))

    thread = weft.spawn(inside)
    thread.join()
    assert reference[0]() is None
