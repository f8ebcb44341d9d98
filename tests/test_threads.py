"""How green threads made by `weft.spawn` fail and how they end: as `threading`'s do."""

import subprocess
import sys
import threading

import pytest

import weft

TIMEOUT_SECONDS = 60


def run(program):
    """What a process says that runs this program: status, output, errors."""
    result = subprocess.run(
        [sys.executable, "-c", "import weft, sys, time, threading, atexit\n" + program],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    return result.returncode, result.stdout, result.stderr


@pytest.fixture
def reported(monkeypatch):
    """What reaches threading.excepthook, as (thread, exception)."""
    seen = []
    monkeypatch.setattr(
        threading, "excepthook", lambda args: seen.append((args.thread, args.exc_value))
    )
    return seen


# --- How they fail -----------------------------------------------------------------------


def fail(error):
    raise error


def test_exception_nobody_waits_for_is_reported_at_once(reported):
    error = ValueError("argh")
    thread = weft.spawn(fail, error)
    while thread.is_alive():
        weft.yield_now()
    assert reported == [(thread, error)]


def test_reported_exception_can_still_be_collected(reported):
    error = ValueError("argh")
    thread = weft.spawn(fail, error)
    thread.join()
    assert reported == [(thread, error)]
    assert thread.exception() is error
    with pytest.raises(ValueError, match="argh"):
        thread.result()


def test_collected_exception_is_not_reported(cooperative, reported):
    thread = weft.spawn(fail, ValueError("argh"))
    with pytest.raises(ValueError, match="argh"):
        thread.result()
    assert reported == []


def test_system_exit_ends_a_green_thread_silently(reported):
    weft.spawn(sys.exit, 3).join()
    assert reported == []


def test_report_looks_like_that_of_a_thread():
    program = """
def fails():
    1 / 0
thread = weft.spawn(fails)
thread.name = "the one"
thread.join()
print("goes on")
"""
    status, output, errors = run(program)
    assert (status, output) == (0, "goes on\n")
    assert errors.startswith("Exception in thread the one:\nTraceback (most recent call last):\n")
    assert errors.endswith("ZeroDivisionError: division by zero\n")


def test_failing_hook_is_reported_by_sys_excepthook():
    program = """
def hook(args):
    raise RuntimeError("from the hook")
threading.excepthook = hook
sys.excepthook = lambda kind, error, traceback: print(kind.__name__, error)
weft.spawn(lambda: 1 / 0).join()
print("goes on")
"""
    status, output, errors = run(program)
    assert (status, output) == (0, "RuntimeError from the hook\ngoes on\n")
    assert errors == "Exception in threading.excepthook:\n"


# --- How they end ------------------------------------------------------------------------


def test_non_daemon_is_waited_for():
    program = """
atexit.register(print, "atexit")
def late():
    time.sleep(0.05)
    print("late")
weft.spawn(late)
print("main")
"""
    assert run(program) == (0, "main\nlate\natexit\n", "")


def test_one_that_never_had_its_turn_is_waited_for():
    assert run("weft.spawn(print, 'first')") == (0, "first\n", "")


def test_daemon_is_not_waited_for():
    program = """
thread = weft.spawn(time.sleep, 60)
thread.daemon = True
weft.yield_now()
print("main")
"""
    assert run(program) == (0, "main\n", "")


def test_daemon_is_inherited():
    program = """
def outer():
    print(weft.spawn(time.sleep, 60).daemon)
thread = weft.spawn(outer)
thread.daemon = True
thread.join()
"""
    assert run(program) == (0, "True\n", "")


def test_one_started_while_others_are_waited_for():
    program = """
def outer():
    time.sleep(0.02)
    weft.spawn(inner)
def inner():
    time.sleep(0.02)
    print("inner")
weft.spawn(outer)
"""
    assert run(program) == (0, "inner\n", "")


def test_one_started_by_a_thread_that_is_waited_for():
    program = """
weft.install()
def in_thread():
    time.sleep(0.05)
    weft.spawn(in_green_thread)
def in_green_thread():
    time.sleep(0.05)
    print("green")
threading.Thread(target=in_thread).start()
"""
    assert run(program) == (0, "green\n", "")


def test_raw_threads_are_not_waited_for():
    program = """
import _thread
weft.install()
_thread.start_new_thread(time.sleep, (60,))
time.sleep(0.01)
print("main")
"""
    assert run(program) == (0, "main\n", "")


def test_uncaught_exception_in_main_waits_too():
    program = """
def late():
    time.sleep(0.05)
    print("late")
weft.spawn(late)
sys.exit(3)
"""
    assert run(program) == (3, "late\n", "")
