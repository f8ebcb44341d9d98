"""What the tests share: known states without sleeping, and programs judged from outside."""

import concurrent.futures
import ctypes
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest

import weft

PROMPT_SECONDS = 10  # far beyond what anything here takes; a wait that long has failed
INSTANT_SECONDS = 0.002  # for a wait that is meant to time out

# System calls by their numbers, as no hook sees them.
SYS_READ, SYS_CLOSE, SYS_NANOSLEEP, SYS_GETTID = {
    "x86_64": (0, 3, 35, 186),
    "aarch64": (63, 57, 101, 178),
}[platform.machine()]

# libc as a C library would call it.  Its functions are looked up when first used: by then the hooks
# must be on, which the first spawn sees to.
weft.spawn(int).join()
libc = ctypes.CDLL(None, use_errno=True)


def settle() -> None:
    """Let the others run until all of them are parked."""
    weft.yield_now()
    while weft.statistics().runnable > 0:
        weft.yield_now()


def wait_until(condition: Callable[[], object]) -> None:
    """Let the others run until `condition()` holds; for what another OS thread or process does."""
    while not condition():
        weft.sleep(0.0005)


def spawn_each(fn: Callable[..., Any], items: Iterable[Any]) -> list[weft.GreenThread[Any]]:
    return [weft.spawn(fn, item) for item in items]


def results(threads: Iterable[weft.GreenThread[Any]]) -> list[Any]:
    return [thread.result(PROMPT_SECONDS) for thread in threads]


def failures(fn: Callable[..., Any], items: Iterable[Any]) -> list[BaseException | None]:
    """What `fn` raised for each item, each in a green thread of its own."""

    def caught(item: Any) -> BaseException | None:
        try:
            fn(item)
        except BaseException as error:
            return error
        return None

    return results(spawn_each(caught, items))


def together(*functions: Callable[[], Any]) -> list[Any]:
    """Run each function in a green thread of its own, and return what they returned."""
    return results([weft.spawn(fn) for fn in functions])


def in_os_thread(fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Start `fn` in an OS thread; returns a function that waits for its result."""
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(fn(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return lambda: future.result(PROMPT_SECONDS)


def green(fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Start `fn` in a green thread; returns a function that waits for its result."""
    thread = weft.spawn(fn, *args)
    settle()
    return lambda: thread.result(PROMPT_SECONDS)


# What OS threads do says what is right.
starts = pytest.mark.parametrize("start", [green, in_os_thread])


class Interrupted(Exception):
    """What a signal handler raises."""


def fail() -> None:
    raise Interrupted


class Seen(NamedTuple):
    """What can be seen of a program from outside."""

    status: int
    output: str
    errors: str


# For programs: refuse(number, error) makes the kernel refuse a system call from now on.
# (Where there is no poll, libc calls ppoll.)
REFUSED = {"x86_64": (7, 233, 56), "aarch64": (73, 21, 220)}[platform.machine()]
REFUSE = f"SYS_POLL, SYS_EPOLL_CTL, SYS_CLONE = {REFUSED}"
REFUSE += """
import ctypes, errno, struct
def refuse(number, error):
    libc = ctypes.CDLL(None)
    is_it, refused = (0x15, 0, 1, number), (6, 0, 0, 0x50000 | error)
    steps = [(0x20, 0, 0, 0), is_it, refused, (6, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, program) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
"""

IMPORTS = "import os, signal, socket, sys, threading, time\n"
IMPORTS += f"import weft; SYS_NANOSLEEP = {SYS_NANOSLEEP}\n"


# For run_program: 3.12 and later warn who forks with several threads.
NO_FORK_WARNING = ("-W", "ignore::DeprecationWarning")


def run_program(
    program: str, *, timeout: float = 20, faulthandler: bool = True, flags: Iterable[str] = ()
) -> Seen:
    """Run a program in a process of its own; if it hangs, fail with the stacks of its threads."""
    command = [sys.executable, *flags, "-c", IMPORTS + program]
    environment = os.environ | {"PYTHONFAULTHANDLER": "1" if faulthandler else ""}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # faulthandler shows where it hangs
        _, errors = process.communicate(timeout=5)
        raise AssertionError(f"the program hung\n{errors}") from None
    finally:
        process.kill()
        process.wait()
    return Seen(process.returncode, output, errors)
