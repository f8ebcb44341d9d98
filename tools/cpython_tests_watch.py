"""The half of cpython_tests.py that starts the processes under test and watches them.

A process that dies or makes no progress costs one test, not the module: it leaves a line in its
journal before and after each test, so we know which test was running; that one is recorded as
`crash` or `hang` with every thread's stack, and a new process goes on behind it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpython_tests_child import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cpython_tests_known import KnownTable

CHILD = Path(__file__).with_name("cpython_tests_child.py")

MAX_RESTARTS = 10  # of one module; after as many dead processes it has made its point
POLL_SECONDS = 0.05
ABORT_SECONDS = 10.0  # for faulthandler to write the stacks after SIGABRT

KNOWN_HANG_SECONDS = 5.0  # enough for a test that hangs to show that it no longer does
PSEUDO = "(process)"  # stands for the test when a process dies outside of any


@dataclass
class Outcome:
    """What became of one test; `stacks` is set for crash and hang only."""

    kind: str
    reason: str = ""
    seconds: float = 0.0
    stacks: str = ""

    def verdict(self) -> str:
        """What must be equal in both modes."""
        return f"{self.kind} {self.reason.split(':')[0]}" if self.kind == "error" else self.kind

    def same(self, other: Outcome) -> bool:
        return self.verdict() == other.verdict()

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}" if self.reason else self.kind


MISSING = Outcome("missing", "did not run")


class Watched:
    """One child process, its journal as far as we have read it, and the test it is running."""

    def __init__(self, job: Job, folder: Path) -> None:
        job_file = folder / "job.json"
        job_file.write_text(json.dumps(asdict(job)))
        self.journal_path = Path(job.journal)
        self.read_so_far = 0
        self.stderr_path = folder / "stderr"
        cwd = folder / "cwd"
        cwd.mkdir()
        with self.stderr_path.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-u", str(CHILD), str(job_file)],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                cwd=cwd,
                start_new_session=True,
            )
        self.outcomes: dict[str, Outcome] = {}
        self.running: str | None = None
        self.finished = False
        self.broken = ""
        self.half_line = b""

    def watch(self, timeout_of: Callable[[str | None], float]) -> bool:
        """Reads the journal until the process ends; False when it made no progress in time.

        `timeout_of` is asked about the running test, None between two.
        """
        progress = time.monotonic()
        while True:
            ended = self.process.poll() is not None
            if self.read_journal():
                progress = time.monotonic()
            elif ended:
                return True
            elif time.monotonic() - progress > timeout_of(self.running):
                return False
            time.sleep(POLL_SECONDS)

    def read_journal(self) -> bool:
        data = self.journal_path.read_bytes()[self.read_so_far :]
        self.read_so_far += len(data)
        *lines, self.half_line = (self.half_line + data).split(b"\n")
        for line in lines:
            self.note(json.loads(line))
        return bool(data)

    def note(self, entry: dict[str, Any]) -> None:
        if "start" in entry:
            self.running = entry["start"]
        elif "id" in entry:
            name = entry.pop("id")
            self.outcomes[name] = Outcome(**entry)
            if name == self.running:
                self.running = None
        elif "broken" in entry:
            self.broken = entry["broken"]
        else:
            self.finished = True

    def abort(self) -> None:
        """Lets faulthandler write the stacks, then makes sure."""
        self.process.send_signal(signal.SIGABRT)
        try:
            self.process.wait(ABORT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def end(self) -> None:
        """Ends the child and whatever its tests left running."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stderr(self) -> str:
        return self.stderr_path.read_text(errors="replace")


@dataclass
class ModuleRun:
    """All outcomes of one module in one mode, over as many processes as it took."""

    mode: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    seconds: float = 0.0
    deaths: int = 0  # of processes, besides those that were known to hang

    def count(self, kind: str) -> int:
        return sum(outcome.kind == kind for outcome in self.outcomes.values())


class Tester:
    """Runs modules in modes; knows the command's options."""

    def __init__(
        self, exclude: list[str], timeout: float, known: KnownTable, time_slice: float | None
    ) -> None:
        self.exclude = exclude
        self.timeout = timeout
        self.known = known
        self.time_slice = time_slice

    def timeout_of(self, mode: str, test: str | None) -> float:
        known_hang = test is not None and self.known.hangs(mode, test)
        return min(self.timeout, KNOWN_HANG_SECONDS) if known_hang else self.timeout

    def run(self, mode: str, module: str, only: Iterable[str] = ()) -> ModuleRun:
        result = ModuleRun(mode)
        wanted = sorted(only)
        while result.deaths <= MAX_RESTARTS:
            job = Job(mode, module, "", wanted, sorted(result.outcomes), self.exclude)
            job.time_slice = self.time_slice
            if self.run_process(job, result):
                break
        return result

    def run_process(self, job: Job, result: ModuleRun) -> bool:
        """One process; True when the module is through, False when a new one should go on."""
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="cpython-tests-") as name:
            folder = Path(name)
            job.journal = str(folder / "journal")
            Path(job.journal).touch()
            watched = Watched(job, folder)
            try:
                in_time = watched.watch(partial(self.timeout_of, job.mode))
                if not in_time:
                    watched.abort()
            finally:
                watched.end()
            stderr = watched.stderr()
        result.seconds += time.monotonic() - began
        result.outcomes.update(watched.outcomes)
        status = watched.process.returncode
        if in_time and watched.finished and status == 0:
            return True
        kind, reason = describe_end(in_time, status, watched.broken)
        victim = watched.running or PSEUDO
        result.outcomes[victim] = Outcome(kind, reason, stacks=stderr)
        result.deaths += not self.known.hangs(job.mode, victim)
        return victim == PSEUDO


def describe_end(in_time: bool, status: int, broken: str) -> tuple[str, str]:
    if not in_time:
        return "hang", "no progress"
    if broken:
        return "error", broken
    if status < 0:
        return "crash", signal.Signals(-status).name
    return "crash", f"exit status {status}"
