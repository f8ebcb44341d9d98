"""`install`: threads that `threading` makes are green, and are threads in every other respect."""

import _thread
import concurrent.futures
import contextlib
import contextvars
import errno
import os
import queue
import subprocess
import sys
import threading
import time
import warnings
import weakref
from multiprocessing.pool import ThreadPool

import pytest
from support import PROMPT_SECONDS, libc, results, run_program, settle

import weft


def os_thread_count():
    return len(os.listdir("/proc/self/task"))


def native_of(fn=threading.get_native_id):
    """On which OS thread a threading.Thread runs."""
    box = queue.SimpleQueue()
    thread = threading.Thread(target=lambda: box.put(fn()))
    thread.start()
    thread.join()
    return box.get()


def started(fn, *args, **options):
    thread = threading.Thread(target=fn, args=args, **options)
    thread.start()
    return thread


def ended(thread):
    thread.join(PROMPT_SECONDS)
    return not thread.is_alive()


# --- On and off ---------------------------------------------------------------------------


def test_without_install_threads_are_os_threads():
    weft.spawn(int).join()
    assert weft.installed() is False
    assert native_of() != threading.get_native_id()


def test_install_makes_threads_green(installed):
    assert weft.installed() is True
    assert native_of() == threading.get_native_id()


def test_install_leaves_no_thread_state_behind():
    # It would be found under the main thread's identity, before the main thread's own.
    program = """
import ctypes
api = ctypes.pythonapi
interpreter = ctypes.c_void_p(ctypes.CFUNCTYPE(ctypes.c_void_p)(("PyInterpreterState_Main", api))())
first = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(("PyInterpreterState_ThreadHead", api))
after = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(("PyThreadState_Next", api))
def thread_states():
    tstate = first(interpreter)
    while tstate:
        yield tstate
        tstate = after(tstate)
weft.set_preemption(None)  # the watchdog has a thread state, and comes when it comes
before = list(thread_states())
weft.install()
print(list(thread_states()) == before)
"""
    assert run_program(program).output == "True\n"


def test_uninstall_makes_os_threads_again():
    for _ in range(3):
        weft.install()
        weft.install()
        assert native_of() == threading.get_native_id()
        weft.uninstall()
        weft.uninstall()
        assert weft.installed() is False
        assert native_of() != threading.get_native_id()


def test_uninstall_takes_the_hooks_off_and_spawn_puts_them_on():
    weft.install()
    weft.uninstall()
    assert (weft.statistics().hooked_symbols, weft.statistics().hooked_slots) == (0, 0)
    assert weft.spawn(threading.get_ident).result() != threading.get_ident()
    assert weft.statistics().hooked_symbols > 0


def test_uninstall_refuses_while_green_threads_are_alive(installed):
    gate = threading.Event()
    thread = started(gate.wait)
    with pytest.raises(RuntimeError, match="1 green thread is alive"):
        weft.uninstall()
    other = weft.spawn(gate.wait)
    with pytest.raises(RuntimeError, match="2 green threads are alive"):
        weft.uninstall()
    assert weft.installed()
    gate.set()
    assert ended(thread)
    other.join()


def test_threads_made_before_install_stay_os_threads():
    inside, gate = threading.Event(), threading.Event()
    natives = []

    def early():
        natives.append(threading.get_native_id())
        inside.set()
        gate.wait(PROMPT_SECONDS)
        natives.append(threading.get_native_id())

    thread = started(early)
    inside.wait(PROMPT_SECONDS)
    weft.install()
    assert native_of() == threading.get_native_id()
    gate.set()
    assert ended(thread)
    weft.uninstall()
    assert natives[0] == natives[1] != threading.get_native_id()


def test_an_os_thread_starts_green_threads_of_its_own(installed):
    # Made before install, it starts threads afterwards: on itself.
    weft.uninstall()
    inside, gate, box = threading.Event(), threading.Event(), []

    def early():
        inside.set()
        gate.wait(PROMPT_SECONDS)
        box.append((native_of(), threading.get_native_id()))

    thread = started(early)
    inside.wait(PROMPT_SECONDS)
    weft.install()
    gate.set()
    assert ended(thread)
    assert box[0][0] == box[0][1] != threading.get_native_id()


# --- threading.Thread ---------------------------------------------------------------------


def test_many_threads_on_one_os_thread(installed):
    before = os_thread_count()
    gate = threading.Event()
    threads = [started(gate.wait) for _ in range(300)]
    settle()
    assert os_thread_count() == before
    assert weft.statistics().alive >= 300
    gate.set()
    assert all(map(ended, threads))


def test_start_waits_for_the_thread_to_begin(installed):
    record = []
    thread = threading.Thread(target=record.append, args=("ran",))
    thread.start()
    assert thread.ident is not None
    assert ended(thread)
    assert record == ["ran"]


def test_identity(installed):
    gate = threading.Event()
    box = []

    def inside():
        box.append((threading.get_ident(), threading.current_thread(), weft.current().ident))
        gate.wait()

    threads = [started(inside) for _ in range(20)]
    settle()
    assert [(thread.ident, thread, thread.ident) for thread in threads] == box
    assert len({thread.ident for thread in threads} | {threading.get_ident()}) == 21
    assert set(threads) <= set(threading.enumerate())
    assert threading.active_count() >= 21
    gate.set()
    assert all(map(ended, threads))
    assert not set(threads) & set(threading.enumerate())


def test_they_are_among_all_threads_under_their_names(installed):
    gate = threading.Event()
    thread = started(gate.wait, name="argh")
    settle()
    handle = next(handle for handle in weft.all_threads() if handle.ident == thread.ident)
    assert (handle.name, handle.is_alive()) == ("argh", True)
    joiner = weft.spawn(handle.result)
    settle()
    assert joiner.is_alive()
    gate.set()
    assert joiner.result(PROMPT_SECONDS) is None
    assert ended(thread)
    assert handle.done()


def test_join_with_timeouts(installed):
    gate = threading.Event()
    thread = started(gate.wait)
    start = time.monotonic()
    thread.join(0.005)
    assert 0.005 <= time.monotonic() - start < 1
    thread.join(0)
    assert thread.is_alive()
    gate.set()
    thread.join()
    assert not thread.is_alive()
    thread.join()


def test_joined_by_several(installed):
    gate = threading.Event()
    thread = started(gate.wait)
    joiners = [started(thread.join) for _ in range(3)]
    settle()
    gate.set()
    assert all(map(ended, [*joiners, thread]))


def test_joined_from_an_os_thread():
    gate, box, threads = threading.Event(), queue.SimpleQueue(), queue.SimpleQueue()
    os_thread = started(lambda: box.put(threads.get(timeout=PROMPT_SECONDS).join()))
    weft.install()
    thread = started(gate.wait)
    threads.put(thread)
    settle()
    gate.set()
    assert box.get(timeout=PROMPT_SECONDS) is None
    assert ended(os_thread)
    assert ended(thread)
    weft.uninstall()


def test_a_thread_cannot_join_itself_nor_start_twice(installed):
    errors = []

    def inside():
        for wrong in (threading.current_thread().join, threading.current_thread().start):
            try:
                wrong()
            except RuntimeError as error:
                errors.append(str(error))

    assert ended(started(inside))
    assert errors == ["cannot join current thread", "threads can only be started once"]


def test_exceptions_reach_the_excepthook(installed, monkeypatch):
    seen = []
    monkeypatch.setattr(
        threading, "excepthook", lambda args: seen.append((args.thread, args.exc_value))
    )
    error = ValueError("argh")

    def fail():
        raise error

    thread = started(fail)
    assert ended(thread)
    assert seen == [(thread, error)]


def test_daemon_is_kept_and_inherited(installed):
    box = []

    def inside():
        box.append(threading.current_thread().daemon)
        box.append(threading.Thread().daemon)

    assert ended(started(inside, daemon=True))
    assert ended(started(inside))
    assert box == [True, True, False, False]


def test_the_recursion_limit_and_locals_are_ones_own(installed):
    local = threading.local()
    local.value = "main"
    box = []

    def inside(value):
        local.value = value
        time.sleep(0)
        box.append(local.value)

    assert all(map(ended, [started(inside, value) for value in range(5)]))
    assert sorted(box) == [0, 1, 2, 3, 4]
    assert local.value == "main"


def test_trace_and_profile_functions_for_threads(installed):
    calls = []
    threading.setprofile(lambda frame, event, arg: calls.append(frame.f_code.co_name))
    try:
        thread = started(traced)
        assert ended(thread)
    finally:
        threading.setprofile(None)
    assert "traced" in calls


def traced():
    time.sleep(0)


def test_a_finished_thread_keeps_nothing(installed):
    class Thing:
        pass

    thing = Thing()
    reference = weakref.ref(thing)
    thread = started(lambda kept: time.sleep(0), thing)
    del thing
    assert ended(thread)
    assert reference() is None


def test_bare_threads(installed):
    box = queue.SimpleQueue()
    ident = _thread.start_new_thread(lambda *args: box.put((args, threading.get_ident())), (1, 2))
    assert box.get(timeout=PROMPT_SECONDS) == ((1, 2), ident)
    settle()


def test_bare_threads_that_exit(installed):
    done = threading.Event()

    def leave():
        done.set()
        _thread.exit()

    _thread.start_new_thread(leave, ())
    assert done.wait(PROMPT_SECONDS)
    settle()


def test_a_green_thread_starts_threads(installed):
    box = []

    def outer():
        thread = started(box.append, "inner")
        thread.join()
        box.append("outer")

    weft.spawn(outer).result(PROMPT_SECONDS)
    assert box == ["inner", "outer"]


# --- What is built on it ------------------------------------------------------------------


def test_thread_pool_executor(cooperative, installed):
    before = os_thread_count()
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        start = time.monotonic()
        natives = list(
            pool.map(lambda _: (time.sleep(0.02), threading.get_native_id())[1], range(10))
        )
        seconds = time.monotonic() - start
        assert os_thread_count() == before
    assert natives == [threading.get_native_id()] * 10
    assert 0.02 <= seconds < 0.15


def test_an_executor_passes_exceptions_and_cancels(installed):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        gate = threading.Event()
        first = pool.submit(gate.wait)
        second = pool.submit(int)
        assert second.cancel()
        gate.set()
        assert first.result(PROMPT_SECONDS) is True
        with pytest.raises(ZeroDivisionError):
            pool.submit(lambda: 1 / 0).result(PROMPT_SECONDS)
        with pytest.raises(TimeoutError):
            pool.submit(time.sleep, 0.02).result(0.001)


def test_wait_and_as_completed(installed):
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        futures = [pool.submit(lambda n=n: (time.sleep(n / 200), n)[1]) for n in (3, 1, 2, 0)]
        order = [future.result() for future in concurrent.futures.as_completed(futures)]
    assert order == [0, 1, 2, 3]


def test_thread_pool_of_multiprocessing(installed):
    with ThreadPool(4) as pool:
        assert pool.map(lambda n: n * n, range(20)) == [n * n for n in range(20)]
        pool.close()
        pool.join()


def test_timers(installed):
    record = []
    timers = [threading.Timer(ms / 1000, record.append, (ms,)) for ms in (9, 3, 6)]
    cancelled = threading.Timer(0.001, record.append, ("cancelled",))
    for timer in [*timers, cancelled]:
        timer.start()
    cancelled.cancel()
    assert all(map(ended, [*timers, cancelled]))
    assert record == [3, 6, 9]


def test_contexts_in_to_thread(installed):
    import asyncio

    variable = contextvars.ContextVar("variable")

    async def main():
        variable.set("argh")
        return await asyncio.gather(*[asyncio.to_thread(variable.get) for _ in range(5)])

    assert asyncio.run(main()) == ["argh"] * 5


def test_subprocess_communicate(installed):
    child = "import sys; data = sys.stdin.read(); print(data.upper()); print('e', file=sys.stderr)"

    def ask(word):
        result = subprocess.run(
            [sys.executable, "-c", child], input=word, capture_output=True, text=True
        )
        return result.stdout, result.stderr

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, "abcd")) == [(f"{letter}\n", "e\n") for letter in "ABCD"]


# --- Stack sizes --------------------------------------------------------------------------

SMALLEST_STACK = max(64 << 10, os.sysconf("SC_THREAD_STACK_MIN"))  # glibc allows no less


@contextlib.contextmanager
def stack_size(size):
    before = threading.stack_size(size)
    try:
        yield
    finally:
        threading.stack_size(before)


@pytest.mark.parametrize("size", [SMALLEST_STACK, 256 << 10, 1 << 20, 32 << 20])
def test_stack_size_is_honoured(installed, size):

    with stack_size(size):
        threads = [started(time.sleep, 0) for _ in range(3)]
        assert all(map(ended, threads))
        assert results([weft.spawn(int) for _ in range(3)]) == [0, 0, 0]


def test_a_bigger_stack_lets_c_code_recurse_deeper():
    program = """
def nest(depth):
    return depth if depth == 0 else next(map(nest, [depth - 1])) + 1
threading.stack_size(32 << 20)
weft.install()
box = []
thread = threading.Thread(target=lambda: box.append(weft.spawn(nest, 450).result()))
thread.start()
thread.join()
print(box)
"""
    assert run_program(program) == (0, "[450]\n", "")


def test_a_stack_that_cannot_be_had_is_a_failure_to_start():
    program = """
import resource
weft.install()
threading.stack_size(1 << 40)
resource.setrlimit(resource.RLIMIT_AS, (1 << 36, 1 << 36))
thread = threading.Thread(target=print)
try:
    thread.start()
except RuntimeError as error:
    print(error)
print(thread.is_alive(), thread in threading.enumerate(), weft.statistics().alive)
threading.stack_size(0)
thread = threading.Thread(target=print, args=("argh",))
thread.start()
thread.join()
"""
    assert run_program(program) == (0, "can't start new thread\nFalse False 0\nargh\n", "")


# --- Those that must stay OS threads ------------------------------------------------------


def test_the_watchdog_of_faulthandler_stays_an_os_thread():
    program = """
import faulthandler, ctypes
weft.install()
thread = threading.Thread(target=lambda: ctypes.PyDLL(None).syscall(SYS_NANOSLEEP, ctypes.byref(
    (ctypes.c_long * 2)(20, 0)), None))  # a raw system call with the GIL held: all is stuck
faulthandler.dump_traceback_later(0.05, exit=True)
thread.start()
"""
    seen = run_program(program)
    assert (seen.status, seen.output) == (1, "")
    assert seen.errors.startswith("Timeout (0:00:00.05")


def test_signals_for_threads_reach_the_os_thread(installed):
    import signal

    received = []
    before = signal.signal(signal.SIGUSR1, lambda *args: received.append(threading.get_ident()))
    try:
        gate = threading.Event()
        thread = started(gate.wait)
        settle()
        signal.pthread_kill(thread.ident, signal.SIGUSR1)
        weft.sleep(0)
        assert received == [threading.get_ident()]
        gate.set()
        assert ended(thread)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_cpu_clock_of_a_thread(installed):
    gate = threading.Event()
    thread = started(gate.wait)
    settle()
    assert time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) > 0
    gate.set()
    assert ended(thread)


def test_names_that_libraries_give(installed):
    """By ctypes, with threading's identities; the OS thread keeps its own."""
    from ctypes import c_char_p, c_size_t, c_void_p, create_string_buffer

    set_name, get_name = libc.pthread_setname_np, libc.pthread_getname_np
    set_name.argtypes, get_name.argtypes = [c_void_p, c_char_p], [c_void_p, c_char_p, c_size_t]

    def name_of(ident):
        buffer = create_string_buffer(16)
        assert get_name(ident, buffer, 15) == errno.ERANGE
        assert get_name(ident, buffer, 16) == 0
        return buffer.value

    gate = threading.Event()
    named = started(gate.wait)
    nameless = weft.spawn(gate.wait)  # from 3.14 on threading names its own
    settle()
    here = name_of(threading.get_ident())
    assert set_name(named.ident, b"a name too long..") == errno.ERANGE
    assert set_name(named.ident, b"argh") == 0
    assert name_of(named.ident) == b"argh"
    assert set_name(named.ident, b"") == 0
    assert name_of(named.ident) == b""
    assert name_of(nameless.ident) == name_of(threading.get_ident()) == here
    gate.set()
    nameless.join()
    assert ended(named)


def test_no_warning_about_fork_for_green_threads(installed):
    gate = threading.Event()
    thread = started(gate.wait)
    with warnings.catch_warnings(record=True):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0) == (pid, 0)
    gate.set()
    assert ended(thread)
