"""To the interpreter a green thread is a thread: what hangs off a thread state is its own.

The common shape: two green threads do the same thing and switch in the middle of it.
"""

import asyncio
import contextlib
import copy
import ctypes
import decimal
import functools
import gc
import random
import sys
import threading
import traceback
import types
import weakref

import pytest
from support import failures, results, run_program, settle, spawn_each, together

import weft


def twice(fn, *args):
    """`fn` in two green threads at once, which take turns at every yield."""
    return together(*[functools.partial(fn, *args)] * 2)


# --- Generators and coroutines ------------------------------------------------------------


def count_slowly(upto):
    for number in range(upto):
        weft.yield_now()
        yield number


def test_a_switch_inside_a_generator():
    assert twice(lambda: list(count_slowly(5))) == [[0, 1, 2, 3, 4]] * 2


def test_a_generator_moves_between_green_threads():
    generator = count_slowly(6)
    assert results(spawn_each(lambda _: next(generator), range(1))) == [0]
    assert weft.spawn(lambda: next(generator)).result() == 1
    assert next(generator) == 2
    assert weft.spawn(list, generator).result() == [3, 4, 5]


def test_a_running_generator_cannot_be_entered_by_another(cooperative):
    generator = count_slowly(2)
    inside = weft.spawn(next, generator)
    weft.yield_now()
    with pytest.raises(ValueError, match="generator already executing"):
        next(generator)
    assert inside.result() == 0


def test_a_generator_suspended_in_except_moves():
    def generate():
        try:
            raise KeyError("argh")
        except KeyError:
            yield sys.exc_info()[0]
            weft.yield_now()
            yield sys.exc_info()[0]
            raise

    generator = generate()
    assert weft.spawn(next, generator).result() is KeyError
    assert sys.exc_info()[0] is None
    assert weft.spawn(next, generator).result() is KeyError
    with pytest.raises(KeyError, match="argh"):
        weft.spawn(next, generator).result()


def test_throw_and_close_from_another_green_thread():
    record = []

    def generate():
        try:
            yield 1
        except KeyError:
            weft.yield_now()
            record.append("caught")
        try:
            yield 2
        finally:
            weft.yield_now()
            record.append("closed")

    generator = generate()
    next(generator)
    assert weft.spawn(generator.throw, KeyError()).result() == 2
    weft.spawn(generator.close).result()
    assert record == ["caught", "closed"]


def test_a_coroutine_moves_between_green_threads():
    @types.coroutine
    def pause(value):
        weft.yield_now()
        return (yield value)

    async def inner():
        return [await pause(1), await pause(2)]

    async def outer():
        return await inner()

    coroutine = outer()
    assert weft.spawn(coroutine.send, None).result() == 1
    assert weft.spawn(coroutine.send, "a").result() == 2
    with pytest.raises(StopIteration) as stop:
        coroutine.send("b")
    assert stop.value.value == ["a", "b"]


def test_asyncio_loops_interleave():
    async def worker(name):
        record = []
        for _ in range(3):
            await asyncio.sleep(0)
            weft.yield_now()
            record.append((name, asyncio.get_running_loop()))
        return record

    async def main(name):
        return await asyncio.gather(worker(name), worker(name))

    answers = results(spawn_each(lambda name: asyncio.run(main(name)), "abc"))
    loops = []
    for name, answer in zip("abc", answers, strict=True):
        entries = [entry for record in answer for entry in record]
        assert {entry[0] for entry in entries} == {name}
        loops.append({entry[1] for entry in entries})
    assert [len(loop) for loop in loops] == [1, 1, 1]
    assert len(set.union(*loops)) == 3


def test_asyncio_loops_that_sleep_and_talk(pair):
    async def receive():
        reader, _ = await asyncio.open_connection(sock=pair[0])
        return await reader.readexactly(4)

    async def send():
        _, writer = await asyncio.open_connection(sock=pair[1])
        for byte in b"argh":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.001)

    assert together(lambda: asyncio.run(receive()), lambda: asyncio.run(send()))[0] == b"argh"


# --- Exceptions ---------------------------------------------------------------------------


def test_the_exception_being_handled_is_ones_own():
    def handle(error):
        try:
            raise error
        except ValueError:
            weft.yield_now()
            return sys.exc_info()[1]

    errors = [ValueError(number) for number in range(3)]
    assert results(spawn_each(handle, errors)) == errors
    assert sys.exc_info() == (None, None, None)


def test_a_new_green_thread_handles_no_exception():
    try:
        raise ValueError("argh")
    except ValueError:
        assert weft.spawn(sys.exc_info).result() == (None, None, None)
        assert sys.exc_info()[0] is ValueError


def test_bare_raise_after_a_switch():
    def reraise(number):
        try:
            raise KeyError(number)
        except KeyError:
            weft.yield_now()
            raise

    assert [error.args for error in failures(reraise, range(3))] == [(0,), (1,), (2,)]


def test_context_of_an_exception_is_ones_own():
    def chain(number):
        try:
            raise KeyError(number)
        except KeyError:
            weft.yield_now()
            raise ValueError(number)

    for number, error in enumerate(failures(chain, range(3))):
        assert (error.args, error.__context__.args) == ((number,), (number,))


def test_a_switch_in_finally_while_an_exception_is_in_flight():
    def unwind(number):
        try:
            raise KeyError(number)
        finally:
            weft.yield_now()

    assert [error.args for error in failures(unwind, range(3))] == [(0,), (1,), (2,)]


def test_a_switch_in_exit_of_with():
    class Manager:
        def __enter__(self):
            weft.yield_now()
            return self

        def __exit__(self, kind, error, tb):
            weft.yield_now()
            return error.args[0] == 1

    def use(number):
        with Manager():
            raise KeyError(number)

    first, swallowed, third = failures(use, range(3))
    assert swallowed is None
    assert (first.args, third.args) == ((0,), (2,))


def test_exception_groups_after_a_switch():
    def split(number):
        try:
            raise ExceptionGroup("argh", [KeyError(number), ValueError(number)])
        except* KeyError as group:
            weft.yield_now()
            assert group.exceptions[0].args == (number,)

    for number, error in enumerate(failures(split, range(3))):
        assert [inner.args for inner in error.exceptions] == [(number,)]


# --- A switch where few expect it ---------------------------------------------------------


def test_in_del():
    record = []

    class Thing:
        def __init__(self, name):
            self.name = name

        def __del__(self):
            weft.yield_now()
            record.append(self.name)

    def drop(name):
        thing = Thing(name)
        del thing
        record.append(name + "!")

    results(spawn_each(drop, "ab"))
    assert record == ["a", "a!", "b", "b!"]


def test_in_del_while_an_exception_unwinds():
    class Thing:
        def __del__(self):
            weft.yield_now()

    def unwind(number):
        thing = Thing()
        raise KeyError(number, id(thing))

    assert [error.args[0] for error in failures(unwind, range(3))] == [0, 1, 2]


def test_in_del_deep_inside_a_chain_that_is_torn_down():
    dropped = []

    class Node:
        def __init__(self, following, number):
            self.following = following
            self.number = number

        def __del__(self):
            if self.number % 500 == 0:
                weft.yield_now()
                dropped.append(self.number)

    def chain():
        node = None
        for number in range(3000):
            node = (Node(node, number),)

    twice(chain)
    assert sorted(dropped) == sorted([0, 500, 1000, 1500, 2000, 2500] * 2)


def test_in_eq_and_hash_of_dictionary_keys():
    class Key:
        def __init__(self, number):
            self.number = number

        def __hash__(self):
            weft.yield_now()
            return 1

        def __eq__(self, other):
            weft.yield_now()
            return self.number == other.number

    shared = {}

    def fill():
        for number in range(5):
            shared.setdefault(Key(number), number)

    twice(fill)
    assert sorted(shared.values()) == [0, 1, 2, 3, 4]


def test_in_a_sort_key_and_in_comparisons():
    def slow_key(value):
        weft.yield_now()
        return value

    def slow_compare(a, b):
        weft.yield_now()
        return a - b

    def sort(seed):
        numbers = list(range(20))
        random.Random(seed).shuffle(numbers)
        return sorted(numbers, key=slow_key), sorted(
            numbers, key=functools.cmp_to_key(slow_compare)
        )

    assert results(spawn_each(sort, range(3))) == [(list(range(20)),) * 2] * 3


def test_in_callbacks_from_c():
    def slow(value):
        weft.yield_now()
        return value

    def call():
        return list(map(slow, filter(slow, range(4)))), functools.reduce(
            lambda a, b: slow(a + b), range(4)
        )

    assert twice(call) == [([1, 2, 3], 6)] * 2


def test_in_a_module_being_imported(tmp_path, monkeypatch):
    (tmp_path / "slow_module.py").write_text(
        "import weft\nstarted = True\nfor _ in range(3):\n    weft.yield_now()\ndone = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def load():
        import slow_module

        return slow_module.done

    try:
        assert together(*[load] * 5) == [True] * 5
    finally:
        sys.modules.pop("slow_module", None)


def test_in_a_gc_callback():
    phases = []

    def callback(phase, info):
        weft.yield_now()
        phases.append(phase)

    gc.callbacks.append(callback)
    try:
        other = weft.spawn(lambda: [weft.yield_now() for _ in range(5)])
        weft.spawn(gc.collect).join()
        other.join()
    finally:
        gc.callbacks.remove(callback)
    assert phases[:2] == ["start", "stop"]


def test_in_a_weakref_callback():
    class Thing:
        pass

    record = []

    def drop(name):
        thing = Thing()
        reference = weakref.ref(thing, lambda _: (weft.yield_now(), record.append(name)))
        del thing
        return reference() is None

    assert results(spawn_each(drop, "ab")) == [True, True]
    assert record == ["a", "b"]


def test_in_repr_of_a_container_that_contains_itself():
    class Slow:
        def __repr__(self):
            weft.yield_now()
            return "slow"

    loop = [Slow()]
    loop.append(loop)
    assert twice(lambda: repr(loop)) == ["[slow, [...]]"] * 2


def test_in_copy_and_pickle_hooks():
    class Slow:
        def __deepcopy__(self, memo):
            weft.yield_now()
            return self

    assert [len(answer) for answer in twice(lambda: copy.deepcopy([Slow()] * 3))] == [3, 3]


# --- What is one's own --------------------------------------------------------------------


def test_thread_locals():
    local = threading.local()

    def remember(value):
        local.value = value
        weft.yield_now()
        return local.value

    local.value = "main"
    assert results(spawn_each(remember, range(5))) == list(range(5))
    assert local.value == "main"


def test_thread_locals_end_with_the_green_thread():
    class Thing:
        pass

    class Local(threading.local):
        def __init__(self):
            self.thing = Thing()

    local = Local()
    references = results([weft.spawn(lambda: weakref.ref(local.thing)) for _ in range(3)])
    assert [reference() for reference in references] == [None, None, None]
    assert weft.spawn(lambda: list(vars(local))).result() == ["thing"]


def test_decimal_contexts():
    def compute(digits):
        decimal.setcontext(decimal.Context(prec=digits))
        weft.yield_now()
        return len(str(decimal.Decimal(1) / 3)) - 2

    usual = decimal.getcontext().prec
    assert results(spawn_each(compute, [5, 10, 20])) == [5, 10, 20]
    assert decimal.getcontext().prec == usual


def test_decimal_local_contexts_nest_across_switches():
    def compute(digits):
        with decimal.localcontext() as context:
            context.prec = digits
            weft.yield_now()
            inner = len(str(decimal.Decimal(1) / 3)) - 2
        weft.yield_now()
        return inner, decimal.getcontext().prec

    usual = decimal.getcontext().prec
    assert results(spawn_each(compute, [3, 6])) == [(3, usual), (6, usual)]


def depth_reached():
    """How deep a plain function can recurse from here."""

    def deeper(depth):
        try:
            return deeper(depth + 1)
        except RecursionError:
            return depth

    return deeper(0)


def test_each_has_the_whole_recursion_budget():
    def descend(levels, then):
        return then() if levels == 0 else descend(levels - 1, then)

    alone = weft.spawn(depth_reached).result()

    def park_deep():
        descend(alone // 2, weft.yield_now)

    parked = [weft.spawn(park_deep) for _ in range(5)]
    weft.yield_now()
    assert weft.spawn(depth_reached).result() == alone
    results(parked)


def test_the_budget_is_whole_again_for_the_next_in_the_same_stack():
    first = weft.spawn(depth_reached).result()
    assert results([weft.spawn(depth_reached) for _ in range(5)]) == [first] * 5


def test_recursion_error_leaves_others_alone():
    def recurse():
        weft.yield_now()
        return recurse()

    def count():
        for _ in range(2000):
            weft.yield_now()
        return "done"

    counter, recursive = weft.spawn(count), weft.spawn(recurse)
    with pytest.raises(RecursionError):
        recursive.result()
    assert counter.result() == "done"


# --- Tracing ------------------------------------------------------------------------------


def traced_lines(fn):
    lines = []

    def trace(frame, event, arg):
        if event == "line":
            lines.append(frame.f_code.co_name)
        return trace

    sys.settrace(trace)
    try:
        fn()
    finally:
        sys.settrace(None)
    return lines


def traced():
    weft.yield_now()
    return 1


def untraced():
    for _ in range(5):
        weft.yield_now()


def test_trace_function_is_ones_own():
    def body():
        return set(traced_lines(traced)), sys.gettrace()

    other = weft.spawn(untraced)
    assert twice(body) == [({"traced"}, None)] * 2
    other.join()


def test_trace_function_may_switch():
    def body():
        lines = []

        def trace(frame, event, arg):
            weft.yield_now()
            lines.append(event)
            return trace

        sys.settrace(trace)
        try:
            traced()
        finally:
            sys.settrace(None)
        return lines

    assert twice(body) == [["call", "line", "line", "return"]] * 2


def test_profile_function_is_ones_own():
    def body():
        names = []
        sys.setprofile(lambda frame, event, arg: names.append(frame.f_code.co_name))
        try:
            traced()
        finally:
            sys.setprofile(None)
        return "untraced" in names, "traced" in names

    other = weft.spawn(untraced)
    assert twice(body) == [(False, True)] * 2
    other.join()


def test_trace_function_ends_with_the_green_thread():
    weft.spawn(sys.settrace, lambda *args: None).join()
    weft.spawn(sys.setprofile, lambda *args: None).join()
    assert weft.spawn(lambda: (sys.gettrace(), sys.getprofile())).result() == (None, None)


# --- Frames and garbage -------------------------------------------------------------------


def parked_in_a_named_function(gate):
    return gate.wait()


@contextlib.contextmanager
def one_parked():
    gate = threading.Event()
    thread = weft.spawn(parked_in_a_named_function, gate)
    settle()
    yield thread
    gate.set()
    thread.join()


def test_current_frames_shows_the_parked():
    with one_parked() as thread:
        stack = traceback.extract_stack(sys._current_frames()[thread.ident])
    assert "parked_in_a_named_function" in [entry.name for entry in stack]
    assert stack[-1].name == "wait"
    assert thread.ident not in sys._current_frames()


def test_current_exceptions_shows_the_parked():
    gate = threading.Event()

    def handle():
        try:
            raise KeyError("argh")
        except KeyError:
            gate.wait()

    thread = weft.spawn(handle)
    settle()
    shown = sys._current_exceptions()[thread.ident]
    gate.set()
    thread.join()
    error = shown[1] if isinstance(shown, tuple) else shown
    assert error.args == ("argh",)


def test_the_finished_is_nobody():
    """Its identity may go to another thread, while its thread state waits for a new life."""
    thread = weft.spawn(int)
    thread.join()
    assert thread.ident not in sys._current_exceptions()
    found = ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), None)
    assert found == 0


def test_faulthandler_shows_the_parked():
    # In a process of its own: faulthandler shows a hundred thread states and no more.
    program = """
import faulthandler
def parked_in_a_named_function():
    time.sleep(1000)
thread = weft.spawn(parked_in_a_named_function)
thread.daemon = True
weft.sleep(0)
print(f"0x{thread.ident:016x}")
faulthandler.dump_traceback(all_threads=True)
"""
    seen = run_program(program)
    assert f"Thread {seen.output.strip()} " in seen.errors
    assert "in parked_in_a_named_function" in seen.errors


def test_garbage_collection_spares_what_the_parked_hold():
    class Thing:
        pass

    gate = threading.Event()

    def hold(number):
        thing = Thing()
        thing.loop = thing
        thing.number = number
        reference = weakref.ref(thing)
        gate.wait()
        return reference() is thing and thing.number == number

    threads = spawn_each(hold, range(50))
    settle()
    for generation in range(3):
        gc.collect(generation)
    gate.set()
    assert all(results(threads))


def test_garbage_is_collected_by_whoever_allocates():
    class Thing:
        pass

    def litter():
        references = []
        for _ in range(50):
            thing = Thing()
            thing.loop = thing
            references.append(weakref.ref(thing))
            del thing
            weft.yield_now()
        gc.collect()
        return [reference() for reference in references]

    assert twice(litter) == [[None] * 50] * 2


def test_deep_python_stacks_in_many():
    def descend(levels):
        if levels == 0:
            weft.yield_now()
            return 0
        return descend(levels - 1) + 1

    # Deep enough to need more than the first chunk of the data stack.
    assert results(spawn_each(descend, [800] * 20)) == [800] * 20
