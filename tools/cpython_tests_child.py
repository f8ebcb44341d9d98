"""The half of cpython_tests.py that runs inside the process under test.

    python cpython_tests_child.py JOB_FILE

Job: run one of CPython's test modules in one mode and keep a journal, one JSON object
per line, each written in one system call, so that a crash loses nothing:

    {"start": ID}                                   this test begins
    {"id": ID, "kind": ..., "reason": ..., "seconds": ...}    ... and has ended
    {"broken": REASON}                              the module could not be run at all
    {"done": true}                                  every test has run; only the exit remains
"""

from __future__ import annotations

import contextlib
import faulthandler
import fnmatch
import importlib
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
import unittest
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# The deepest recursion in C is 3.13's test_frame and test_traceback: they overflow 1 MiB, and are
# content with the 8 MiB that a thread gets by default.  Twice that, for both kinds of thread.
STACK_SIZE = 16 << 20

# Of regrtest's resources those that cost only time: no network, nothing that burns CPU for minutes.
RESOURCES = ["subprocess", "walltime"]
# These ask for the network, and for the most part stay on localhost.
MORE_RESOURCES = {"test_socketserver": ["network"], "test_timeout": ["network"]}


@dataclass
class Job:
    """What a child process is to do; travels as JSON in a file."""

    mode: str
    module: str
    journal: str
    only: list[str] = field(default_factory=list)  # empty: all
    skip: list[str] = field(default_factory=list)  # have run already, or killed the last process
    exclude: list[str] = field(default_factory=list)  # patterns
    time_slice: float | None = None  # in seconds: preempt, and give it somebody to preempt for


class Journal:
    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **entry: object) -> None:
        os.write(self.fd, json.dumps(entry).encode() + b"\n")


def named(tests: Iterable[unittest.TestCase]) -> Iterator[tuple[str, unittest.TestCase]]:
    """Names the tests; a second test of the same name gets a number, since ids are our keys."""
    seen: Counter[str] = Counter()
    for test in tests:
        seen[test.id()] += 1
        number = seen[test.id()]
        yield (test.id() if number == 1 else f"{test.id()}#{number}"), test


def flatten(suite: Any) -> Iterator[unittest.TestCase]:
    for item in suite:
        if hasattr(item, "__iter__"):
            yield from flatten(item)
        else:
            yield item


def selected(job: Job, name: str) -> bool:
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in job.exclude):
        return False
    return name not in job.skip and (not job.only or name in job.only)


class Recorder(unittest.TestResult):
    """Puts the worst thing that happened to a test into the journal when it ends.

    Keeps no exception and no traceback: they would keep objects alive behind the back of
    tests that count references.
    """

    order = ("ok", "skip", "xfail", "xpass", "fail", "error")

    def __init__(self, journal: Journal, names: dict[int, str]) -> None:
        super().__init__()
        self.journal = journal
        self.names = names  # by id() of the test
        self.worst: tuple[str, str] | None = None
        self.began = 0.0

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.worst = None
        self.began = time.monotonic()
        self.journal.write(start=self.names[id(test)])

    def stopTest(self, test: unittest.TestCase) -> None:
        kind, reason = self.worst or ("missing", "the test reported nothing")
        seconds = round(time.monotonic() - self.began, 3)
        self.journal.write(id=self.names[id(test)], kind=kind, reason=reason, seconds=seconds)
        super().stopTest(test)

    def record(self, test: Any, kind: str, reason: str = "") -> None:
        is_subtest = hasattr(test, "test_case")
        if id(test) not in self.names and not is_subtest:
            # A class's or module's set-up or tear-down, which unittest reports like a test.
            self.journal.write(id=test.id(), kind=kind, reason=reason, seconds=0.0)
            return
        rank = self.order.index
        if self.worst is None or rank(kind) > rank(self.worst[0]):
            self.worst = (kind, reason)

    def addSuccess(self, test: Any) -> None:
        self.record(test, "ok")

    def addSkip(self, test: Any, reason: str) -> None:
        self.record(test, "skip", reason)

    def addFailure(self, test: Any, err: Any) -> None:
        self.record(test, "fail", short_reason(err))

    def addError(self, test: Any, err: Any) -> None:
        self.record(test, "error", short_reason(err))

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self.record(test, "xfail", short_reason(err))

    def addUnexpectedSuccess(self, test: Any) -> None:
        self.record(test, "xpass")

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            self.record(test, "fail" if failed else "error", short_reason(err))


def run_module(job: Job, journal: Journal) -> None:
    """Loads and runs the module's tests in the calling thread."""
    support: Any = importlib.import_module("test.support")  # untyped, and often not installed
    support.verbose = 0
    support.use_resources = RESOURCES + MORE_RESOURCES.get(job.module, [])

    loaded = unittest.defaultTestLoader.loadTestsFromName(f"test.{job.module}")
    chosen = [(name, test) for name, test in named(flatten(loaded)) if selected(job, name)]
    # `chosen` outlives the run: a suite drops each test when it is done, and an id() could return.
    names = {id(test): name for name, test in chosen}
    unittest.TestSuite(test for _, test in chosen).run(Recorder(journal, names))


def short_reason(err: Any) -> str:
    text = str(err[1]).strip().splitlines() or [""]
    return f"{err[0].__name__}: {text[0][:160]}"


def in_thread(body: Callable[[], None]) -> None:
    threading.Thread(target=body).start()


def in_green_thread(body: Callable[[], None]) -> None:
    importlib.import_module("weft").spawn(body)


def in_installed(body: Callable[[], None]) -> None:
    importlib.import_module("weft").install()
    in_thread(body)


def in_main(body: Callable[[], None]) -> None:
    body()


def preempt_after(seconds: float, finished: threading.Event) -> None:
    """Short slices, and a green thread of the same OS thread that is always runnable."""
    weft: Any = importlib.import_module("weft")
    weft.set_preemption(seconds)

    def compute() -> None:
        while not finished.is_set():
            pass

    weft.spawn(compute)


def in_run(body: Callable[[], None]) -> None:
    weft: Any = importlib.import_module("weft")
    weft.install()
    # Without any green thread hooks pass straight through, and the main thread never parks.
    weft.spawn(threading.Event().wait).daemon = True
    body()


IN_MODE = {
    "thread": in_thread,
    "green": in_green_thread,
    "install": in_installed,
    "main": in_main,
    "run": in_run,
}


def check_mode(mode: str, main_thread: int, main_ident: int) -> None:
    """A green thread shares the OS thread that started it; otherwise we would compare nothing."""
    shared = threading.get_native_id() == main_thread
    is_main = threading.get_ident() == main_ident
    if (shared, is_main) != (mode != "thread", mode in ("main", "run")):
        raise RuntimeError(f"mode {mode}, but OS thread shared: {shared}, main thread: {is_main}")


def main(job: Job) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable(file=os.dup(2))  # our own copy: tests replace and close the standard ones
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & leaves it ignored
    journal = Journal(job.journal)

    main_thread, main_ident = threading.get_native_id(), threading.get_ident()
    finished = threading.Event()

    def body() -> None:
        threading.stack_size(0)  # the threads that tests start are to be ordinary ones
        try:
            check_mode(job.mode, main_thread, main_ident)
            run_module(job, journal)
        except BaseException:
            traceback.print_exc()
            journal.write(broken=short_reason(sys.exc_info()))
        else:
            journal.write(done=True)
        finally:
            finished.set()

    threading.stack_size(STACK_SIZE)
    IN_MODE[job.mode](body)
    if job.time_slice is not None and job.mode != "thread":
        preempt_after(job.time_slice, finished)
    # The signals that tests raise end up here, in the main thread.  Not Thread.join: CPython 3.12's
    # takes a thread for finished when a signal handler raises in it.
    while not finished.is_set():
        with contextlib.suppress(KeyboardInterrupt):
            finished.wait()


if __name__ == "__main__":
    main(Job(**json.loads(Path(sys.argv[1]).read_text())))
