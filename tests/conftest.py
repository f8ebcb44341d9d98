"""What every test gets: a time limit, a look at what it leaves behind, common fixtures."""

import contextlib
import ctypes
import faulthandler
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import weft

sys.path.insert(0, str(Path(__file__).parent))  # for support.py

TEST_SECONDS = 30  # then the test fails
STUCK_SECONDS = 45  # then not even that was possible: the stacks of all threads, and the end


def pytest_addoption(parser):
    parser.addoption(
        "--time-slice",
        type=float,
        help="preempt after this many seconds, to find what cannot bear it",
    )


# The standard error that people see; that of a test is captured, and lost with the process.
SEEN_STDERR = pytest.StashKey[int]()


def pytest_configure(config):
    config.stash[SEEN_STDERR] = os.dup(2)  # nothing is captured yet
    if seconds := config.getoption("--time-slice"):
        weft.set_preemption(seconds)


def _too_long(signum, frame):
    raise TimeoutError(f"the test took more than {TEST_SECONDS} seconds")


@pytest.fixture(autouse=True)
def _time_limit(request):
    seconds = 10 if request.node.get_closest_marker("slow") else 1
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(TEST_SECONDS * seconds)
    stderr = request.config.stash[SEEN_STDERR]
    faulthandler.dump_traceback_later(STUCK_SECONDS * seconds, exit=True, file=stderr)
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _nobody_left_behind(_time_limit):
    before = set(weft.all_threads())
    yield
    left = [thread for thread in weft.all_threads() if thread not in before]
    for thread in left:
        thread.join(0.5)
    assert not [thread for thread in left if thread.is_alive()]


@pytest.fixture
def installed():
    """`threading.Thread` makes green threads."""
    weft.install()
    yield
    weft.uninstall()


@pytest.fixture(scope="session")
def locks_path(tmp_path_factory):
    """tests/native/locks.c as a shared library."""
    path = tmp_path_factory.mktemp("native") / "locks.so"
    source = Path(__file__).parent / "native" / "locks.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", path, source, "-lpthread"], check=True)
    return path


@pytest.fixture(scope="session")
def locks(locks_path):
    """The same, loaded as programs load their libraries: before their first green thread."""
    weft.uninstall()
    return ctypes.CDLL(str(locks_path))


@pytest.fixture
def cooperative():
    """Green threads switch only where they wait: for tests of the order in which they do."""
    before = weft.get_preemption()
    weft.set_preemption(None)
    yield
    weft.set_preemption(before)


@pytest.fixture
def parked():
    """Keeps a green thread alive, so that the hooks have something to do in the main one."""
    gate = threading.Event()
    thread = weft.spawn(gate.wait)
    yield thread
    gate.set()
    thread.join()


@pytest.fixture
def reported(monkeypatch):
    """The exceptions that reach threading.excepthook."""
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.append(args.exc_value))
    return seen


@pytest.fixture
def closing():
    """Closes at the end of the test whatever is entered here."""
    with contextlib.ExitStack() as stack:
        yield lambda resource: stack.enter_context(contextlib.closing(resource))


@pytest.fixture
def pair(closing):
    """Two connected AF_UNIX stream sockets."""
    left, right = socket.socketpair()
    return closing(left), closing(right)


@pytest.fixture
def tcp_pair(closing):
    """Two connected TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = closing(socket.create_connection(server.getsockname()))
        right = closing(server.accept()[0])
    return left, right


@pytest.fixture
def pipe():
    """The descriptors of a pipe, read end first; the test may close them."""
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(fd)


@pytest.fixture
def interrupt(cooperative):
    """Makes of `fn` what runs it in a signal handler of the main green thread, when called."""

    def in_handler(fn):
        signal.signal(signal.SIGUSR1, lambda *_: fn())
        return lambda: signal.raise_signal(signal.SIGUSR1)

    before = signal.getsignal(signal.SIGUSR1)
    yield in_handler
    signal.signal(signal.SIGUSR1, before)
