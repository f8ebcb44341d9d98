"""The handle of a green thread, as an object: what can be asked of it."""

import functools
import gc
import threading
import weakref

import pytest
from support import results, spawn_each, together

import weft


def give(value):
    return value


class Thing:
    """Something a weak reference can be made to."""

    def method(self):
        return self


def test_green_threads_are_made_by_spawn_alone():
    with pytest.raises(TypeError):
        weft.GreenThread()


def test_done_and_is_alive_are_opposites(parked):
    ended = weft.spawn(give, 1)
    assert (ended.done(), ended.is_alive()) == (False, True)
    ended.join()
    assert (ended.done(), ended.is_alive()) == (True, False)
    assert (parked.done(), parked.is_alive()) == (False, True)


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


# --- Memory -------------------------------------------------------------------------------


def test_a_handle_can_be_referred_to_weakly():
    thread = weft.spawn(give, 1)
    reference = weakref.ref(thread)
    assert reference() is thread
    thread.join()
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


def test_handles_are_equal_to_themselves_only():
    first, second = weft.spawn(give, 1), weft.spawn(give, 1)
    assert first == first
    assert first != second
    assert len({first, second}) == 2
    together(first.join, second.join)
