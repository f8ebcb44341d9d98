#!/usr/bin/env python3
"""Runs CPython's own test modules inside a green thread, and says what differs from a plain thread.

    python tools/cpython_tests.py                       the default list, in green threads
    python tools/cpython_tests.py test_queue test_poll  these modules
    python tools/cpython_tests.py --mode install        threading.Thread made green as well
    python tools/cpython_tests.py --mode none           the plain-thread half alone
    python tools/cpython_tests.py --list preemption --time-slice 0.0001     preempted without end

The interpreter that runs this tool is the one that is tested; weft must be importable in it.
Exit status: 0 when nothing differs (or there is nothing to run), 1 otherwise.

How.  Each module runs twice, each time in a fresh process: inside a plain `threading.Thread` that
is not the main thread, and inside a green thread.  Both get the same, big C stack.  Many tests fail
in any thread but the main one (those that install signal handlers, say) and some fail on a given
machine; the plain thread tells us which, so only the *differences* say something about weft.

Two outcomes are equal when their kind is equal (ok, fail, error, skip, ...) and, for an error, its
exception type too.

A process that dies or makes no progress costs one test, not the module: it leaves a line in its
journal before and after each test, so we know which test was running; that one is recorded as
`crash` or `hang` with every thread's stack, and a new process goes on behind it.

Noise.  A test whose outcome differs is run again alone, twice, in both modes.  Only if both times
the modes agree is it called flaky: it is then listed, but does not count.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpython_tests_child import RESOURCES, STACK_SIZE, Job

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT_MODULES = [
    "test_thread",
    "test_threading_local",
    "test_queue",
    "test_socket",
    "test_select",
    "test_poll",
    "test_epoll",
    "test_selectors",
    "test_httplib",
    "test_socketserver",
    "test_generators",
    "test_coroutines",
    "test_exceptions",
    "test_frame",
    "test_traceback",
    "test_sys_settrace",
    "test_sys_setprofile",
    "test_context",
    "test_gc",
    "test_weakref",
]

# Where CPython is at its most delicate: destructors, weak references, the collector, frames, locks.
PREEMPTION_MODULES = [
    "test_thread",
    "test_queue",
    "test_gc",
    "test_weakref",
    "test_generators",
    "test_exceptions",
]

LISTS = {"default": DEFAULT_MODULES, "preemption": PREEMPTION_MODULES}

# VSOCK needs a hypervisor's other end; without one its tests hang, in plain threads too.
DEFAULT_EXCLUDES = ["*VSOCK*"]

MODES = {
    "thread": "inside a plain threading.Thread",
    "green": "inside a green thread",
    "install": "inside a threading.Thread after weft.install()",
}

CHILD = Path(__file__).with_name("cpython_tests_child.py")

RERUNS = 2
MAX_RESTARTS = 10  # of one module; after that many dead processes the module has made its point
POLL_SECONDS = 0.05
ABORT_SECONDS = 10.0  # for faulthandler to write the stacks after SIGABRT

COUNTED = ["ok", "fail", "error", "skip"]
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

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}" if self.reason else self.kind


MISSING = Outcome("missing", "did not run")


# --- the parent: watches children, restarts behind a dead one, compares ---------------------------


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

    def watch(self, timeout: float) -> bool:
        """Reads the journal until the process ends; False when it made no progress in time."""
        progress = time.monotonic()
        while True:
            ended = self.process.poll() is not None
            if self.read_journal():
                progress = time.monotonic()
            elif ended:
                return True
            elif time.monotonic() - progress > timeout:
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
    processes: int = 0

    def count(self, kind: str) -> int:
        return sum(outcome.kind == kind for outcome in self.outcomes.values())


class Tester:
    """Runs modules in modes; knows the command's options."""

    def __init__(self, exclude: list[str], timeout: float, time_slice: float | None) -> None:
        self.exclude = exclude
        self.timeout = timeout
        self.time_slice = time_slice

    def run(self, mode: str, module: str, only: Iterable[str] = ()) -> ModuleRun:
        result = ModuleRun(mode)
        wanted = sorted(only)
        while result.processes <= MAX_RESTARTS:
            done = sorted(result.outcomes)
            job = Job(mode, module, "", wanted, done, self.exclude, self.time_slice)
            if self.run_process(job, result):
                break
        return result

    def run_process(self, job: Job, result: ModuleRun) -> bool:
        """One process; True when the module is through, False when a new one should go on."""
        began = time.monotonic()
        result.processes += 1
        with tempfile.TemporaryDirectory(prefix="cpython-tests-") as name:
            folder = Path(name)
            job.journal = str(folder / "journal")
            Path(job.journal).touch()
            watched = Watched(job, folder)
            try:
                in_time = watched.watch(self.timeout)
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
        kind, reason = describe_end(in_time, status, watched.broken, self.timeout)
        victim = watched.running or PSEUDO
        result.outcomes[victim] = Outcome(kind, reason, stacks=stderr)
        return victim == PSEUDO


def describe_end(in_time: bool, status: int, broken: str, timeout: float) -> tuple[str, str]:
    if not in_time:
        return "hang", f"no progress for {timeout:g} s"
    if broken:
        return "error", broken
    if status < 0:
        return "crash", signal.Signals(-status).name
    return "crash", f"exit status {status}"


@dataclass
class Difference:
    """A test whose two outcomes differ, and what running it alone showed."""

    name: str
    plain: Outcome
    other: Outcome
    alone: list[tuple[Outcome, Outcome]] = field(default_factory=list)

    @property
    def flaky(self) -> bool:
        return len(self.alone) == RERUNS and all(same(*pair) for pair in self.alone)


def same(one: Outcome, other: Outcome) -> bool:
    return one.verdict() == other.verdict()


def compare(tester: Tester, module: str, plain: ModuleRun, other: ModuleRun) -> list[Difference]:
    found = []
    for name in plain.outcomes | other.outcomes:
        pair = plain.outcomes.get(name, MISSING), other.outcomes.get(name, MISSING)
        if not same(*pair):
            found.append(Difference(name, *pair))
    for difference in found:
        rerun(tester, module, other.mode, difference)
    return found


def rerun(tester: Tester, module: str, mode: str, difference: Difference) -> None:
    """Runs one test alone in both modes.  Set-ups and whole processes cannot be run alone."""
    if not difference.name.startswith("test."):
        return
    for _ in range(RERUNS):
        plain, other = (
            tester.run(each, module, [difference.name]).outcomes.get(difference.name, MISSING)
            for each in ("thread", mode)
        )
        difference.alone.append((plain, other))
        if not same(plain, other):
            return


# --- what we print --------------------------------------------------------------------------------


def print_head(modes: list[str]) -> None:
    print(f"CPython {platform.python_version()}; C stacks of {STACK_SIZE >> 20} MiB", end="")
    print(f"; resources: {', '.join(RESOURCES)}")
    for mode in modes:
        print(f"  {mode:8}{MODES[mode]}")
    columns = "".join(f"{title:>6}" for title in ["run", *COUNTED, "other", "s"])
    print("\n" + " " * 24 + "".join(f" | {mode:^42}" for mode in modes))
    print(" " * 24 + f" | {columns}" * len(modes) + " | differ", flush=True)


def row(run: ModuleRun) -> str:
    counts = [run.count(kind) for kind in COUNTED]
    total = len(run.outcomes)
    cells = [total, *counts, total - sum(counts), round(run.seconds)]
    return "".join(f"{cell:6}" for cell in cells)


def print_differences(mode: str, differences: list[Difference], verbose: bool) -> None:
    for difference in differences:
        print(f"  {difference.name}")
        print(f"      thread:  {difference.plain}")
        print(f"      {mode + ':':8} {difference.other}")
        for plain, other in difference.alone:
            print(f"      alone:   thread {plain}; {mode} {other}")
        if difference.flaky:
            print(f"      flaky: differed once, agreed {RERUNS} times alone; not counted")
        for outcome in (difference.plain, difference.other):
            print_stacks(outcome, verbose)


def print_stacks(outcome: Outcome, verbose: bool) -> None:
    lines = outcome.stacks.splitlines()
    shown = lines if verbose else lines[-60:]
    if len(shown) < len(lines):
        print(f"          ({len(lines) - len(shown)} lines left out; -v shows them)")
    for line in shown:
        print(f"          {line}")


def print_unhappy(run: ModuleRun) -> None:
    for name, outcome in run.outcomes.items():
        if outcome.kind not in ("ok", "skip"):
            print(f"  {run.mode:8} {name}: {outcome}")


def as_json(runs: list[ModuleRun], differences: list[Difference]) -> dict[str, Any]:
    return {
        "runs": [asdict(run) for run in runs],
        "differences": [asdict(each) | {"flaky": each.flaky} for each in differences],
    }


# --- the command ----------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run CPython's tests inside a green thread; compare with a plain thread.",
        epilog="A test that differs is run again alone, twice, in both modes; if both times the "
        "modes agree it is called flaky and does not count.",
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="test modules, as test_queue")
    parser.add_argument(
        "--list",
        nargs="+",
        default=[],
        metavar="NAME",
        help="'default', 'preemption', or module names (in addition to MODULE)",
    )
    parser.add_argument("--mode", choices=["green", "install", "none"], default="green")
    parser.add_argument(
        "--exclude",
        nargs="+",
        default=DEFAULT_EXCLUDES,
        metavar="PATTERN",
        help="test ids to leave out, * as in a shell (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="a process without progress for so long is taken to hang (default: %(default)g)",
    )
    parser.add_argument(
        "--time-slice",
        type=float,
        metavar="SECONDS",
        help="preempt green threads after so long, beside one that never stops computing",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every outcome here")
    parser.add_argument("-v", "--verbose", action="store_true", help="name each test not passed")
    return parser.parse_args()


def chosen_modules(options: argparse.Namespace) -> list[str]:
    names = [*options.modules, *options.list] or ["default"]
    modules: list[str] = []
    for name in names:
        modules += LISTS.get(name) or [name.removeprefix("test.")]
    return list(dict.fromkeys(modules))


def installed(module: str) -> bool:
    """Distributions leave out the `test` package, or all of it but `test.support`."""
    try:
        return importlib.util.find_spec(f"test.{module}") is not None
    except ModuleNotFoundError:
        return False


def main() -> int:
    options = arguments()
    modules = [module for module in chosen_modules(options) if installed(module)]
    for module in chosen_modules(options):
        if module not in modules:
            print(f"skipped {module}: CPython {platform.python_version()} here does not have it")
    if not modules:
        print("skipped: this interpreter comes without its tests (the `test` package)")
        return 0

    modes = ["thread"] if options.mode == "none" else ["thread", options.mode]
    tester = Tester(options.exclude, options.timeout, options.time_slice)
    results: dict[str, Any] = {}
    counted = flaky = 0
    print_head(modes)
    for module in modules:
        print(f"{module:24}", end="", flush=True)
        runs = []
        for mode in modes:
            runs.append(tester.run(mode, module))
            print(f" | {row(runs[-1])}", end="", flush=True)
        differences = compare(tester, module, *runs) if len(runs) == 2 else []
        real = sum(not each.flaky for each in differences)
        counted += real
        flaky += len(differences) - real
        print(f" | {real:6}", flush=True)
        if options.verbose:
            for run in runs:
                print_unhappy(run)
        print_differences(modes[-1], differences, options.verbose)
        results[module] = as_json(runs, differences)

    if options.json:
        options.json.write_text(json.dumps({"python": sys.version, "modules": results}, indent=1))
    print(f"\n{counted} differences in {len(modules)} modules", end="")
    print(f"; {flaky} more differed once and agreed {RERUNS} times when run alone (not counted)")
    return 1 if counted else 0


if __name__ == "__main__":
    sys.exit(main())
