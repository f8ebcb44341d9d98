"""What the options of the pytest plugin do: tests in green threads.

Each test, its fixtures included, runs in a green thread of its own, and `threading.Thread` makes green
threads.  The main green thread waits for it, so it sees what the test cannot: that it takes too long, or
that nobody can ever run again.  Then there is no going on, since the test holds fixtures of later ones:
all green threads are shown, and the session ends.

`pytest_weft` registers the plugin when an option asks for it.
"""

import io
import signal
import threading
import types
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from typing import NoReturn

import pytest
from _pytest.runner import runtestprotocol

from weft import _core, testing
from weft._deadlock import Deadlock
from weft._dump import dump

LEAK_PATIENCE = 0.5
"""Seconds that green threads which are about to end get for it."""


class _OutOfTime(BaseException):
    """Raised in the main green thread by the alarm."""


class Plugin:
    """What is done in a session that asks for green threads."""

    def __init__(self, config: pytest.Config) -> None:
        self._seed: int | None = config.getoption("weft_seed")
        self._timeout: float | None = config.getoption("weft_timeout")
        self._before: set[_core.GreenThread[object]] = set()
        _core.install()

    def pytest_report_header(self) -> str:
        """The seed, to be seen at the beginning."""
        seed = "" if self._seed is None else f", seed {self._seed}"
        return f"weft: each test in a green thread{seed}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run the test, from its first fixture to its last, in a green thread."""
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        with ExitStack() as stack:
            if self._seed is not None:
                stack.enter_context(testing.seeded(self._seed))
            test = _core.spawn(_run, item, nextitem)
            test.name = item.name
            self._wait_for(test, item.nodeid)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _wait_for(self, test: _core.GreenThread[object], name: str) -> None:
        before = None
        if self._timeout is not None:
            before = signal.signal(signal.SIGALRM, _out_of_time)
            signal.setitimer(signal.ITIMER_REAL, self._timeout)
        try:
            test.result()
        except _OutOfTime:
            _give_up(test, f"{name}: still running after {self._timeout:g} s")
        except Deadlock as deadlock:
            _give_up(test, f"{name}: {deadlock}")
        finally:
            if before is not None:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        """Note who is there when the test itself begins: fixtures may live for longer than it."""
        self._before = set(_core.all_threads())
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Fail a test whose green threads are alive after it."""
        __tracebackhide__ = True
        result = yield
        before, self._before = self._before, set()
        if before and item.get_closest_marker("may_leak_green_threads") is None:
            _check_leaks(before)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self,
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Say with a failure how to see it again."""
        report = yield
        if report.failed and self._seed is not None:
            report.sections.append(("weft", f"--weft-seed {self._seed}"))
        return report


def _check_leaks(before: set[_core.GreenThread[object]]) -> None:
    __tracebackhide__ = True
    try:
        testing.check_leaks(before, LEAK_PATIENCE)
    except testing.LeakError as leak:
        _let_go(leak.threads)
        raise


def _let_go(threads: Iterable[_core.GreenThread[object]]) -> None:
    """The session shall end although they are there."""
    spawned = _core._spawned()
    for thread in threads:
        if thread in spawned:
            thread.daemon = True


def _run(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    # What stands for a thread that threading has not made is a daemon, and so would be those it makes.
    threading.current_thread()._daemonic = False  # type: ignore[attr-defined]
    runtestprotocol(item, nextitem=nextitem)


def _out_of_time(number: int, frame: types.FrameType | None) -> NoReturn:
    raise _OutOfTime


def _give_up(test: _core.GreenThread[object], reason: str) -> NoReturn:
    told = io.StringIO()
    dump(told)
    _let_go([test])
    pytest.exit(f"{reason}\n\n{told.getvalue()}", returncode=pytest.ExitCode.TESTS_FAILED)
