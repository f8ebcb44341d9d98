"""to_thread and os_threads: what runs on OS threads although everything else is green."""

import contextvars
import hashlib
import threading
import time

import pytest
from support import results, run_program, spawn_each, together

import weft

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def test_it_returns_what_the_function_returns():
    assert weft.to_thread(divmod, 7, 3) == (2, 1)
    assert weft.to_thread(int, "11", base=2) == 3


def test_it_raises_what_the_function_raises():
    with pytest.raises(ZeroDivisionError):
        weft.to_thread(divmod, 1, 0)


def test_it_runs_on_another_os_thread():
    assert weft.to_thread(threading.get_native_id) != threading.get_native_id()


def test_it_runs_on_an_os_thread_when_threads_are_green(installed):
    seen = results(spawn_each(lambda _: weft.to_thread(threading.get_native_id), range(4)))
    assert threading.get_native_id() not in seen


def test_the_others_run_meanwhile():
    gate = threading.Event()
    opened, waited = together(gate.set, lambda: weft.to_thread(gate.wait, 10))
    assert (opened, waited) == (None, True)


def test_two_calls_run_at_the_same_time():
    barrier = threading.Barrier(2, timeout=10)
    assert sorted(together(*[lambda: weft.to_thread(barrier.wait)] * 2)) == [0, 1]


def test_it_sees_a_copy_of_the_callers_context():
    def read_and_write():
        before = VARIABLE.get()
        VARIABLE.set("theirs")
        return before

    def call():
        VARIABLE.set("mine")
        return weft.to_thread(read_and_write), VARIABLE.get()

    assert weft.spawn(call).result() == ("mine", "mine")
    assert VARIABLE.get() == "unset"


def test_computing_c_code_lets_a_ticker_run():
    data, ticks, done = bytes(64 << 20), [], []

    def tick():
        while not done:
            ticks.append(None)
            time.sleep(0.001)

    def compute():
        digest = weft.to_thread(lambda: hashlib.sha256(data).hexdigest())
        done.append(digest)
        return digest

    assert together(tick, compute)[1] == hashlib.sha256(data).hexdigest()
    assert len(ticks) > 5


def test_threads_made_inside_os_threads_are_such(installed):
    natives = []

    def note():
        natives.append(threading.get_native_id())

    with weft.os_threads():
        os_thread = threading.Thread(target=note)
        os_thread.start()
    green = threading.Thread(target=note)
    green.start()
    os_thread.join()
    green.join()
    natives.remove(threading.get_native_id())
    assert natives != [threading.get_native_id()]


def test_others_go_on_making_green_threads(installed):
    natives = []

    def make():
        thread = threading.Thread(target=lambda: natives.append(threading.get_native_id()))
        thread.start()
        thread.join()

    with weft.os_threads():
        weft.spawn(make).join()
    assert natives == [threading.get_native_id()]


def test_the_program_ends_with_the_pool_in_use():
    seen = run_program(
        """
weft.install()
print(weft.to_thread(len, "four"))
threading.Thread(target=lambda: print(weft.to_thread(time.sleep, 0.05))).start()
"""
    )
    assert (seen.status, seen.output, seen.errors) == (0, "4\nNone\n", "")


def test_a_forked_child_has_a_pool_of_its_own():
    seen = run_program(
        """
print(weft.to_thread(len, "four"), flush=True)
pid = os.fork()
if pid == 0:
    os._exit(weft.to_thread(len, "three"))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
        flags=["-W", "ignore"],
    )
    assert seen.output.split() == ["4", "5"]
