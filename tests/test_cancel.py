"""Cancelling green threads: each thing they can wait for, what they see of it, what is left."""

import asyncio
import concurrent.futures
import contextlib
import errno
import fcntl
import multiprocessing
import os
import queue
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
from support import NO_FORK_WARNING, PROMPT_SECONDS, in_os_thread, run_program, settle, wait_until

import weft

FOR_EVER = 1000  # seconds


def wait_for_ever():
    weft.sleep(FOR_EVER)


def cancelled(fn, *args):
    """The green thread in which fn(*args) was cancelled while it waited."""
    thread = weft.spawn(fn, *args)
    settle()
    assert thread.is_alive(), thread.result()
    assert thread.cancel()
    thread.join(PROMPT_SECONDS)
    assert thread.done(), "the cancellation did not end the wait"
    return thread


# --- What is cancelled ---------------------------------------------------------------------


def child(**options):
    """A process; starting it waits too, and one that is cancelled then is lost."""
    with weft.CancelScope(shield=True):
        return subprocess.Popen(["sleep", str(FOR_EVER)], **options)


class Waits:
    """One method for each thing to wait for; `enter` is for what must be closed."""

    def __init__(self, enter):
        self.enter = enter
        self.near, self.far = map(enter, socket.socketpair())

    def weft_sleep(self):
        weft.sleep(FOR_EVER)

    def time_sleep(self):
        time.sleep(FOR_EVER)

    def recv(self):
        self.near.recv(1)

    def recv_into(self):
        self.near.recv_into(bytearray(1))

    def recv_with_a_timeout(self):
        self.near.settimeout(FOR_EVER)
        self.near.recv(1)

    def send(self):
        while True:
            self.near.send(b"x" * 100_000)

    def sendall(self):
        self.near.sendall(b"x" * 10_000_000)

    def accept(self):
        self.enter(socket.create_server(("127.0.0.1", 0))).accept()

    def connect(self):
        server = self.enter(socket.create_server(("127.0.0.1", 0), backlog=0))
        while True:  # until its backlog is full
            self.enter(socket.create_connection(server.getsockname()))

    def ssl_read(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.wrap_socket(self.near)  # shakes hands with somebody who says nothing

    def select(self):
        select.select([self.near], [], [])

    def poll(self):
        poll = select.poll()
        poll.register(self.near, select.POLLIN)
        poll.poll()

    def epoll(self):
        with select.epoll() as epoll:
            epoll.register(self.near, select.EPOLLIN)
            epoll.poll()

    def os_read(self):
        os.read(self.near.fileno(), 1)

    def buffered_read(self):
        with self.near.makefile("rb") as file:
            file.read(1)

    def text_read(self):
        with self.near.makefile() as file:
            file.readline()

    def lock(self):
        lock = threading.Lock()
        lock.acquire()
        with lock:
            pass

    def lock_with_a_timeout(self):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire(timeout=FOR_EVER)

    def condition(self):
        condition = threading.Condition()
        with condition:
            condition.wait()

    def condition_with_a_timeout(self):
        condition = threading.Condition()
        with condition:
            condition.wait(FOR_EVER)

    def event(self):
        threading.Event().wait()

    def semaphore(self):
        threading.Semaphore(0).acquire()

    def barrier(self):
        threading.Barrier(2).wait()

    def queue_get(self):
        queue.Queue().get()

    def queue_put(self):
        full = queue.Queue(1)
        full.put(1)
        full.put(2, timeout=FOR_EVER)

    def simple_queue(self):
        queue.SimpleQueue().get()

    def simple_queue_with_a_timeout(self):
        queue.SimpleQueue().get(timeout=FOR_EVER)

    def weft_lock(self):
        lock = weft.Lock()
        lock.acquire()
        with lock:
            pass

    def weft_condition(self):
        condition = weft.Condition()
        with condition:
            condition.wait()

    def weft_event(self):
        weft.Event().wait()

    def weft_queue(self):
        weft.Queue().get()

    def weft_channel(self):
        weft.Channel().recv()

    def weft_select(self):
        weft.select(weft.Channel().recv, weft.Channel().recv)

    def join(self):
        sleeper = weft.spawn(wait_for_ever)
        try:
            sleeper.join()
        finally:
            sleeper.cancel()

    def result(self):
        sleeper = weft.spawn(wait_for_ever)
        try:
            sleeper.result(FOR_EVER)
        finally:
            sleeper.cancel()

    def future(self):
        concurrent.futures.Future().result()

    def thread_join(self):
        gate = threading.Event()
        thread = threading.Thread(target=gate.wait)
        try:
            thread.start()  # which waits, too
            thread.join()
        finally:
            gate.set()
            with contextlib.suppress(RuntimeError):  # it was cancelled before the thread had begun
                thread.join()

    def subprocess(self):
        process = child()
        try:
            process.wait()
        finally:
            process.kill()
            process.wait()

    def waitpid(self):
        process = child()
        try:
            os.waitpid(process.pid, 0)
        finally:
            process.kill()
            process.wait()

    def communicate(self):
        process = child(stdout=subprocess.PIPE)
        try:
            process.communicate(timeout=FOR_EVER)
        finally:
            process.kill()
            process.communicate()

    def process_lock(self):
        lock = multiprocessing.get_context("fork").Lock()
        lock.acquire()
        lock.acquire()

    def process_lock_with_a_timeout(self):
        lock = multiprocessing.get_context("fork").Lock()
        lock.acquire()
        lock.acquire(timeout=FOR_EVER)

    def signal_wait(self):
        signal.sigtimedwait([signal.SIGUSR1], FOR_EVER)

    def file_lock(self):
        with Path(__file__).open() as mine, Path(__file__).open() as other:
            fcntl.flock(mine, fcntl.LOCK_EX)
            fcntl.flock(other, fcntl.LOCK_EX)

    def asyncio_run(self):
        asyncio.run(asyncio.sleep(FOR_EVER))

    def to_thread(self):
        gate = threading.Event()
        try:
            weft.to_thread(gate.wait)
        finally:
            gate.set()


WAITS = [name for name in vars(Waits) if not name.startswith("_")]


@pytest.fixture
def waits():
    with contextlib.ExitStack() as stack:
        yield Waits(stack.enter_context)


@pytest.mark.parametrize("name", WAITS)
def test_it_ends_the_wait(waits, name):
    seen = []

    def wait():
        try:
            getattr(waits, name)()
        except BaseException as error:
            seen.append(type(error))
            raise

    thread = cancelled(wait)
    assert seen == [weft.Cancelled]
    assert thread.cancelled()


@pytest.mark.parametrize("name", WAITS)
def test_afterwards_the_thread_can_wait_again(waits, name):
    """It was delivered once, and the green thread is its old self."""
    rlock = threading.RLock()

    def wait():
        try:
            getattr(waits, name)()
        finally:
            time.sleep(0.001)
            with rlock:  # which asks who we are
                weft.sleep(0.001)
            assert threading.get_ident() == weft.current().ident
            seen.append("waited")

    seen = []
    assert cancelled(wait).cancelled()
    assert seen == ["waited"]


@pytest.mark.parametrize("name", WAITS)
def test_a_timeout_ends_the_wait(waits, name):
    def wait():
        with pytest.raises(TimeoutError) as info, weft.timeout(0.005):
            getattr(waits, name)()
        return info.value

    error = weft.spawn(wait).result(PROMPT_SECONDS)
    assert isinstance(error.__cause__, weft.Cancelled)


@pytest.mark.parametrize(
    "name", ["time_sleep", "recv", "lock", "queue_get", "waitpid", "weft_sleep"]
)
def test_a_timeout_ends_the_main_threads_wait(waits, name):
    with pytest.raises(TimeoutError), weft.timeout(0.005):
        getattr(waits, name)()


def test_c_functions_without_any_python_code():
    lock = threading.Lock()
    lock.acquire()
    for fn, *args in [(time.sleep, FOR_EVER), (lock.acquire,), (queue.SimpleQueue().get,)]:
        assert cancelled(fn, *args).cancelled()


def test_yielding_and_sleeping_for_no_time_are_waits():
    def turn(fn, *args):
        while True:
            fn(*args)

    for fn, *args in [(weft.yield_now,), (weft.sleep, 0), (time.sleep, 0)]:
        thread = weft.spawn(turn, fn, *args)
        weft.yield_now()
        thread.cancel()
        thread.join(PROMPT_SECONDS)
        assert thread.cancelled()


def test_what_does_not_wait_is_not_cancelled():
    def finish():
        weft.current().cancel()
        with threading.Lock():
            pass
        queue.Queue(1).put("there is room")
        return "finished"

    assert weft.spawn(finish).result() == "finished"


def test_who_gets_what_it_waits_for_keeps_it():
    """A cancellation that comes after the item was handed over waits for the next wait."""
    items = queue.SimpleQueue()
    got = []

    def take():
        got.append(items.get())
        wait_for_ever()

    thread = weft.spawn(take)
    settle()
    items.put("item")
    thread.cancel()
    thread.join(PROMPT_SECONDS)
    assert (got, thread.cancelled()) == (["item"], True)


# --- What becomes of the green thread -------------------------------------------------------


def test_one_that_has_not_begun_never_runs():
    ran = []
    thread = weft.spawn(ran.append, "ran")
    assert thread.cancel()
    thread.join()
    assert (ran, thread.cancelled(), thread.done()) == ([], True, True)


def test_its_result_is_that_it_was_cancelled():
    thread = cancelled(wait_for_ever)
    for get in (thread.result, thread.exception):
        with pytest.raises(concurrent.futures.CancelledError) as info:
            get()
        assert isinstance(info.value.__cause__, weft.Cancelled)
    assert "cancelled" in repr(thread)


def test_the_traceback_says_where_it_waited():
    with pytest.raises(concurrent.futures.CancelledError) as info:
        cancelled(wait_for_ever).result()
    assert "wait_for_ever" in "".join(traceback.format_exception(info.value))


def test_nothing_is_reported(reported):
    cancelled(wait_for_ever)
    assert reported == []


def test_what_it_raises_instead_is_reported(reported):
    def fail():
        try:
            wait_for_ever()
        except weft.Cancelled:
            raise ValueError("instead") from None

    thread = cancelled(fail)
    assert [str(error) for error in reported] == ["instead"]
    assert not thread.cancelled()


def test_it_can_refuse():
    def stay():
        with contextlib.suppress(weft.Cancelled):
            wait_for_ever()
        return "here"

    thread = cancelled(stay)
    assert (thread.cancelled(), thread.result()) == (False, "here")


def test_each_call_is_delivered_once():
    seen = []

    def stay():
        for _ in range(2):
            try:
                wait_for_ever()
            except weft.Cancelled:
                weft.sleep(0.001)
                seen.append("cancelled")

    thread = weft.spawn(stay)
    settle()
    thread.cancel()
    thread.cancel()  # before it has noticed: the same
    wait_until(lambda: seen)
    settle()
    assert thread.is_alive()
    thread.cancel()
    thread.join(PROMPT_SECONDS)
    assert seen == ["cancelled", "cancelled"]


def test_one_that_is_over_cannot_be_cancelled():
    thread = weft.spawn(int)
    thread.join()
    assert not thread.cancel()
    assert (thread.cancelled(), thread.result()) == (False, 0)


def test_callbacks_are_called_in_peace():
    """They run in the green thread, which is over: nobody cancels what they wait for."""
    seen = []

    def call_back(thread):
        seen.append(thread.cancel())
        weft.sleep(0.001)
        seen.append(thread.cancelled())

    thread = weft.spawn(wait_for_ever)
    thread.add_done_callback(call_back)
    thread.cancel()
    wait_until(lambda: len(seen) == 2)
    assert seen == [False, True]


def test_it_can_cancel_itself():
    def end():
        weft.current().cancel()
        weft.yield_now()

    thread = weft.spawn(end)
    thread.join()
    assert thread.cancelled()


def test_cancelled_is_no_exception_to_those_who_catch_exceptions():
    assert issubclass(weft.Cancelled, BaseException)
    assert not issubclass(weft.Cancelled, Exception)


# --- Threads that weft.spawn did not make ------------------------------------------------------


def test_a_thread_of_threading(installed):
    seen = []

    def wait():
        try:
            time.sleep(FOR_EVER)
        except weft.Cancelled:
            seen.append("cancelled")

    thread = threading.Thread(target=wait)
    thread.start()
    settle()
    (handle,) = [h for h in weft.all_threads() if h.ident == thread.ident]
    assert handle.cancel()
    thread.join(PROMPT_SECONDS)
    assert seen == ["cancelled"]
    wait_until(handle.done)
    assert not handle.cancel()


def test_the_main_green_thread():
    main = weft.current()
    canceller = weft.spawn(main.cancel)
    with pytest.raises(weft.Cancelled):
        time.sleep(FOR_EVER)
    assert canceller.result() is True
    weft.sleep(0.001)


def test_the_main_green_thread_while_it_computes():
    # It has been preempted, and nobody else is left when it waits.
    program = """
canceller = weft.spawn(weft.current().cancel)
while not canceller.done():
    pass
try:
    time.sleep(60)
except weft.Cancelled:
    print("cancelled")
"""
    assert run_program(program) == (0, "cancelled\n", "")


def test_from_another_os_thread():
    thread = weft.spawn(wait_for_ever)
    settle()
    assert in_os_thread(thread.cancel)()
    thread.join(PROMPT_SECONDS)
    assert thread.cancelled()


@pytest.mark.parametrize("fn", [time.sleep, weft.sleep])
def test_in_another_os_thread(fn):
    there = []

    def run():
        there.append(weft.spawn(fn, FOR_EVER))
        there[0].join()
        return there[0].cancelled()

    ended = in_os_thread(run)
    wait_until(lambda: there)
    there[0].cancel()
    assert ended()


def test_the_root_of_another_os_thread():
    """It has no green threads, but a scope makes its waits parks."""
    scopes = []

    def run():
        with weft.CancelScope() as scope:
            scopes.append(scope)
            time.sleep(FOR_EVER)
        return scope.cancelled_caught

    ended = in_os_thread(run)
    wait_until(lambda: scopes)
    time.sleep(0.001)
    scopes[0].cancel()
    assert ended() is True


# --- Code that computes ------------------------------------------------------------------------


def compute():
    while True:
        pass


def test_a_hog_is_ended_by_a_timeout():
    with pytest.raises(TimeoutError), weft.timeout(0.02):
        compute()


def test_a_hog_in_a_green_thread_is_cancelled():
    thread = weft.spawn(compute)
    weft.sleep(0.001)  # it is preempted for us
    assert thread.is_alive()
    thread.cancel()
    thread.join(PROMPT_SECONDS)
    assert thread.cancelled()


def test_a_hog_is_cancelled_from_another_os_thread():
    thread = weft.spawn(compute)
    done = in_os_thread(lambda: (time.sleep(0.01), thread.cancel()))
    thread.join(PROMPT_SECONDS)
    done()
    assert thread.cancelled()


def test_a_hog_in_another_os_thread_is_cancelled():
    there = []

    def run():
        there.append(weft.spawn(compute))
        there[0].join()
        return there[0].cancelled()

    ended = in_os_thread(run)
    wait_until(lambda: there and there[0].is_alive())
    time.sleep(0.005)
    there[0].cancel()
    assert ended()


def test_a_hog_sees_it_once():
    seen = []

    def run():
        try:
            seen.append("began")
            compute()
        except weft.Cancelled:
            seen.append("cancelled")
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            pass
        return "computed"

    thread = weft.spawn(run)
    wait_until(lambda: seen)
    thread.cancel()
    assert thread.result(PROMPT_SECONDS) == "computed"
    assert seen == ["began", "cancelled"]


def test_nothing_is_raised_where_preemption_is_not_wanted():
    def run():
        with weft.no_preempt():
            until = time.monotonic() + 0.05
            while time.monotonic() < until:
                pass
            seen.append("computed")
        compute()

    seen = []
    with pytest.raises(TimeoutError), weft.timeout(0.01):
        run()
    assert seen == ["computed"]


# --- C libraries ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def stubborn(tmp_path_factory):
    """tests/native/stubborn.c: a library that tries again when it is interrupted."""
    import ctypes

    path = tmp_path_factory.mktemp("native") / "stubborn.so"
    source = Path(__file__).parent / "native" / "stubborn.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", path, source, "-lpthread"], check=True)
    library = ctypes.CDLL(str(path))
    library.stubborn_sem.restype = ctypes.c_void_p
    library.stubborn_sem_wait.argtypes = library.stubborn_sem_post.argtypes = [ctypes.c_void_p]
    library.interruptions = ctypes.c_int.in_dll(library, "interruptions")
    library.gave_up = ctypes.c_int.in_dll(library, "gave_up")
    return library


def call_stubborn(library, name, argument):
    library.gave_up.value = library.interruptions.value = 0
    getattr(library, "stubborn_" + name)(argument)
    pytest.fail("Cancelled is raised as soon as Python is reached")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("read", errno.ECONNRESET),
        ("conversation", errno.ECONNRESET),
        ("conversation_by_flags", errno.ECANCELED),
        ("select", errno.ECONNRESET),
        ("poll", 0),
    ],
)
def test_a_library_that_tries_again_is_told_that_its_connection_is_lost(
    stubborn, pair, name, error
):
    pair[0].setblocking(name != "conversation")
    thread = cancelled(call_stubborn, stubborn, name, pair[0].fileno())
    assert thread.cancelled()
    assert (stubborn.gave_up.value, stubborn.interruptions.value) == (error, 1)


@pytest.mark.parametrize("name", ["read", "poll", "select"])
def test_what_is_no_connection_gets_another_error(stubborn, pipe, name):
    assert cancelled(call_stubborn, stubborn, name, pipe[0]).cancelled()
    assert (stubborn.gave_up.value, stubborn.interruptions.value)[1] == 1
    assert stubborn.gave_up.value in (errno.ECANCELED, errno.ENOTSOCK)


def test_so_does_one_that_sleeps(stubborn):
    assert cancelled(call_stubborn, stubborn, "sleep", FOR_EVER).cancelled()
    assert (stubborn.gave_up.value, stubborn.interruptions.value) == (errno.ECANCELED, 1)


def test_a_library_that_cannot_fail_goes_on(stubborn):
    """It gets its semaphore, and the exception is raised when Python is reached again."""
    semaphore = stubborn.stubborn_sem()
    thread = weft.spawn(stubborn.stubborn_sem_wait, semaphore)
    settle()
    thread.cancel()
    settle()
    assert thread.is_alive()
    stubborn.stubborn_sem_post(semaphore)
    thread.join(PROMPT_SECONDS)
    assert thread.done()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_signal_sent_to_a_green_thread_interrupts_its_wait(stubborn, pair, elsewhere):
    stubborn.interruptions.value = 0
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    thread = weft.spawn(stubborn.stubborn_read, pair[0].fileno())
    settle()
    try:
        if elsewhere:
            in_os_thread(lambda: signal.pthread_kill(thread.ident, signal.SIGUSR1))()
        else:
            signal.pthread_kill(thread.ident, signal.SIGUSR1)
        wait_until(lambda: stubborn.interruptions.value == 1)
        assert thread.is_alive()
        pair[1].send(b"x")
        thread.join(PROMPT_SECONDS)
        assert thread.done()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_what_an_extension_raises_is_replaced_before_finally_runs(stubborn, pair):
    """Otherwise Cancelled would be raised in the first function that `finally` calls."""
    import ctypes

    extension = ctypes.PyDLL(stubborn._name)
    stubborn.gave_up.value = 0
    contexts, steps = [], []

    def use():
        try:
            extension.stubborn_extension(pair[0].fileno())
        except weft.Cancelled as error:
            contexts.append(type(error.__context__))
            raise
        finally:
            clean_up()

    def clean_up():
        steps.append("begun")
        list(map(str, range(3)))
        steps.append("ended")

    for _ in range(2):
        assert cancelled(use).cancelled()
    assert contexts == [ConnectionResetError] * 2
    assert steps == ["begun", "ended"] * 2


# --- Signals --------------------------------------------------------------------------------


def test_control_c_still_ends_the_main_threads_wait():
    seen = run_program("""
def cancel_one():
    thread = weft.spawn(time.sleep, 1000)
    weft.yield_now()
    thread.cancel()
    thread.join()
    return thread.cancelled()
assert cancel_one()
weft.spawn(lambda: (time.sleep(0.01), os.kill(os.getpid(), signal.SIGINT)))
try:
    time.sleep(1000)
except KeyboardInterrupt:
    print("interrupted", cancel_one())
""")
    assert (seen.output, seen.status) == ("interrupted True\n", 0)


def test_signal_handlers_run_in_the_main_thread_while_others_are_cancelled():
    """Handlers for every moment of many cancellations, and never in the wrong thread."""
    seen = run_program("""
where = []
signal.signal(signal.SIGALRM, lambda *_: where.append(threading.get_ident()))
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
lock = threading.Lock()
lock.acquire()
for waits in [lambda: time.sleep(1000), lock.acquire] * 300:
    threads = [weft.spawn(waits) for _ in range(4)]
    time.sleep(0.0002)
    for thread in threads:
        thread.cancel()
    for thread in threads:
        thread.join(10)
        assert thread.cancelled(), thread
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(where) > 20, set(where) == {threading.main_thread().ident})
""")
    assert seen == (0, "True True\n", "")


def test_the_signal_we_use_is_not_anybodys():
    thread = cancelled(wait_for_ever)
    assert thread.cancelled()
    with pytest.raises(OSError, match="Invalid argument"):
        signal.signal(signal.SIGKILL, lambda *_: None)


def test_the_wakeup_descriptor_hears_of_real_signals_only():
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno())
        try:
            cancelled(time.sleep, FOR_EVER)
            if sys.version_info >= (3, 12):
                with pytest.raises(BlockingIOError):
                    reader.recv(1)
        finally:
            signal.set_wakeup_fd(before)


# --- Fork and exit ------------------------------------------------------------------------------


def test_a_forked_child_can_cancel():
    seen = run_program(
        """
with weft.CancelScope() as scope:
    pid = os.fork()
    if pid == 0:
        scope.cancel()
        time.sleep(1000)
if pid == 0:
    thread = weft.spawn(time.sleep, 1000)
    weft.yield_now()
    thread.cancel()
    thread.join()
    os._exit(10 + thread.cancelled() + 2 * scope.cancelled_caught)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), scope.cancelled_caught)
""",
        flags=NO_FORK_WARNING,
    )
    assert seen == (0, "13 False\n", "")


def test_the_program_ends_when_its_threads_are_cancelled():
    seen = run_program("""
threads = [weft.spawn(time.sleep, 1000) for _ in range(10)]
weft.yield_now()
for thread in threads:
    thread.cancel()
print("end")
""")
    assert seen == (0, "end\n", "")


def test_the_main_thread_can_end_by_it():
    seen = run_program("""
weft.current().cancel()
weft.spawn(int)
time.sleep(1000)
""")
    assert seen.status == 1
    assert seen.errors.endswith("weft.Cancelled\n")
