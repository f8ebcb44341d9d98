#!/usr/bin/env python3
"""Runs CPython's own test modules inside a green thread, and says what differs from a plain thread.

    python tools/cpython_tests.py                       the default list, in green threads
    python tools/cpython_tests.py long --jobs 2         the long list, two modules side by side
    python tools/cpython_tests.py test_queue test_poll  these modules
    python tools/cpython_tests.py --mode install run    in other modes (below)
    python tools/cpython_tests.py --mode thread         a baseline alone
    python tools/cpython_tests.py preemption --time-slice 0.0001     preempted without end

The interpreter that runs this tool is the one that is tested; weft must be importable in it.
Exit status: 0 when nothing differs (or there is nothing to run), 1 otherwise.

How.  Each module runs once per mode and once per baseline, each time in a fresh process:

    mode       the tests run in             threads they start   baseline
    green      a green thread               OS threads           thread
    install    a green threading.Thread     green threads        thread
    run        the main thread              green threads        main     (as weft run -m test)

where `thread` is a plain `threading.Thread` that is not the main thread, and `main` the main
thread.  All but the main thread get the same, big C stack.  Many tests fail in any thread but the
main one (those that install signal handlers, say) and some fail on a given machine; the baseline
tells us which, so only the *differences* say something about weft.

Two outcomes are equal when their kind is equal (ok, fail, error, skip, ...) and, for an error, its
exception type too.  A package of tests counts as its modules.

What differs and cannot be cured stands in cpython_differences.toml; it is printed and does not
count, but an entry that no longer comes true does (cpython_tests_known.py).

Noise.  A test whose outcome differs is run again at the end, alone, twice, in both modes.  Only if
both times the modes agree is it called flaky: it is then listed, but does not count.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pkgutil
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpython_tests_child import RESOURCES, STACK_SIZE
from cpython_tests_known import KnownTable
from cpython_tests_watch import MISSING, ModuleRun, Outcome, Tester

if TYPE_CHECKING:
    from collections.abc import Iterator

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

# Of what the long list adds, the part that says most in a minute or two.
SHORT_MODULES = [
    "test_threading",
    "test_threadsignals",
    "_test_eintr",
    "test_subprocess",
    "test_fork1",
    "test_wait4",
    "test_socketserver",
    "test_httpservers",
    "test_urllib2_localnet",
    "test_ftplib",
    "test_smtplib",
    "test_time",
    "test_asyncio.test_streams",
    "test_asyncio.test_subprocess",
    "test_asyncio.test_threads",
    "test_asyncio.test_unix_events",
]

LONG_MODULES = [
    *DEFAULT_MODULES,
    "test_ssl",
    "test_subprocess",
    "test_threading",
    "test_timeout",
    "test_ftplib",
    "test_smtplib",
    "test_poplib",
    "test_imaplib",
    "test_urllib2_localnet",
    "test_httpservers",
    "test_asyncio",
    "test_concurrent_futures",
    "test_signal",
    "test_threadsignals",
    "test_logging",
    "test_time",
    "test_os",
    "test_posix",
    "test_eintr",
    "_test_eintr",  # what test_eintr runs in a process of its own
    "test_io",
    "test_fork1",
    "test_wait4",
    "test_sqlite3",
    "test_faulthandler",
    "test_xmlrpc",
    "test_wsgiref",
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

LISTS = {
    "default": DEFAULT_MODULES,
    "short": SHORT_MODULES,
    "long": LONG_MODULES,
    "preemption": PREEMPTION_MODULES,
}

# VSOCK needs a hypervisor's other end; without one its tests hang, in plain threads too.
DEFAULT_EXCLUDES = ["*VSOCK*"]

BASELINES = {"green": "thread", "install": "thread", "run": "main"}
MODES = {
    "thread": "in a plain threading.Thread",
    "green": "in a green thread",
    "install": "in a threading.Thread after weft.install()",
    "main": "in the main thread",
    "run": "in the main thread after weft.install()",
}

RERUNS = 2
COUNTED = ["ok", "fail", "error", "skip"]


# --- comparing ------------------------------------------------------------------------------------


@dataclass
class Difference:
    """A test whose outcome differs from the baseline's, and what running it alone showed."""

    module: str
    name: str
    mode: str
    plain: Outcome
    other: Outcome
    known: bool = False
    alone: list[tuple[Outcome, Outcome]] = field(default_factory=list)

    @property
    def flaky(self) -> bool:
        return len(self.alone) == RERUNS and all(plain.same(other) for plain, other in self.alone)

    @property
    def counts(self) -> bool:
        return not self.known and not self.flaky


def compare(module: str, runs: dict[str, ModuleRun], known: KnownTable) -> Iterator[Difference]:
    """The differences of all modes from their baselines; tells the table what agreed."""
    for mode in runs.keys() & BASELINES:
        plain, other = runs[BASELINES[mode]].outcomes, runs[mode].outcomes
        for name in plain | other:
            one, two = plain.get(name, MISSING), other.get(name, MISSING)
            if not one.same(two):
                yield Difference(module, name, mode, one, two, known.knows(mode, name))
            elif one.kind != "skip":
                known.note_agreed(mode, name)


def rerun(tester: Tester, difference: Difference) -> None:
    """Runs one test alone in both modes.  Set-ups and whole processes cannot be run alone."""
    if not difference.name.startswith("test."):
        return
    for _ in range(RERUNS):
        plain, other = (
            tester.run(mode, difference.module, [difference.name]).outcomes.get(
                difference.name, MISSING
            )
            for mode in (BASELINES[difference.mode], difference.mode)
        )
        difference.alone.append((plain, other))
        if not plain.same(other):
            return


# --- what we print --------------------------------------------------------------------------------


def print_head(modes: list[str]) -> None:
    print(f"CPython {platform.python_version()}; C stacks of {STACK_SIZE >> 20} MiB", end="")
    print(f"; resources: {', '.join(RESOURCES)}")
    for mode in modes:
        print(f"  {mode:8}{MODES[mode]}")
    columns = "".join(f"{title:>6}" for title in ["run", *COUNTED, "other", "s"])
    print(f"\n{'module':44}{'mode':8}{columns}   differ", flush=True)


def print_rows(module: str, runs: dict[str, ModuleRun], differences: list[Difference]) -> None:
    for mode, run in runs.items():
        counts = [run.count(kind) for kind in COUNTED]
        total = len(run.outcomes)
        cells = [total, *counts, total - sum(counts), round(run.seconds)]
        print(f"{module:44}{mode:8}{''.join(f'{cell:6}' for cell in cells)}", end="")
        here = [each for each in differences if each.mode == mode]
        known = sum(each.known for each in here)
        print(f"{len(here) - known:9}" if mode in BASELINES else "", end="")
        print(f" (+{known} known)" if known else "", flush=True)
        module = ""


def print_unhappy(runs: dict[str, ModuleRun]) -> None:
    for mode, run in runs.items():
        for name, outcome in run.outcomes.items():
            if outcome.kind not in ("ok", "skip"):
                print(f"  {mode:8} {name}: {outcome}")


def print_difference(difference: Difference, *, verbose: bool) -> None:
    mode, baseline = difference.mode, BASELINES[difference.mode]
    print(f"  {difference.name}")
    print(f"      {baseline + ':':8} {difference.plain}")
    print(f"      {mode + ':':8} {difference.other}")
    for plain, other in difference.alone:
        print(f"      alone:   {baseline} {plain}; {mode} {other}")
    if difference.flaky:
        print(f"      flaky: differed once, agreed {RERUNS} times alone; not counted")
    for outcome in (difference.plain, difference.other):
        print_stacks(outcome, verbose=verbose)


def print_stacks(outcome: Outcome, *, verbose: bool) -> None:
    lines = outcome.stacks.splitlines()
    shown = lines if verbose else lines[-60:]
    if len(shown) < len(lines):
        print(f"          ({len(lines) - len(shown)} lines left out; -v shows them)")
    for line in shown:
        print(f"          {line}")


def print_known(known: KnownTable) -> None:
    for entry in known.entries:
        for mode, name in sorted(entry.differed):
            print(f"  {mode:8}{name}")
        if entry.differed:
            print(f"          {entry.reason}")
    for entry in known.entries:
        if entry.stale:
            print(f"  no longer differs: {', '.join(entry.tests)} ({', '.join(entry.modes)})")


# --- the command ----------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run CPython's tests inside a green thread; compare with a plain thread.",
        epilog="A test that differs is run again alone, twice, in both modes; if both times the "
        "modes agree it is called flaky and does not count.",
    )
    parser.add_argument(
        "modules",
        nargs="*",
        default=["default"],
        metavar="MODULE",
        help="a test module or package, or a list: default, short, long or preemption",
    )
    parser.add_argument("--mode", nargs="+", choices=MODES, default=["green"])
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
    parser.add_argument("--jobs", type=int, default=1, help="modules to run side by side")
    parser.add_argument(
        "--time-slice",
        type=float,
        metavar="SECONDS",
        help="preempt green threads after so long, beside one that never stops computing",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every outcome here")
    parser.add_argument("-v", "--verbose", action="store_true", help="name each test not passed")
    return parser.parse_args()


def expand(name: str) -> list[str]:
    """The modules that a list, a package or a module stands for; none if not installed.

    Distributions leave out the `test` package, or all of it but `test.support`.
    """
    if name in LISTS:
        return [module for each in LISTS[name] for module in expand(each)]
    try:
        spec = importlib.util.find_spec(f"test.{name}")
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        print(f"skipped {name}: CPython {platform.python_version()} here does not have it")
        return []
    if not spec.submodule_search_locations:
        return [name]
    inside = pkgutil.iter_modules(spec.submodule_search_locations)
    return [f"{name}.{module.name}" for module in inside if module.name.startswith("test_")]


def with_baselines(modes: list[str]) -> list[str]:
    """Each baseline once, before the first mode that is compared with it."""
    wanted = [each for mode in modes for each in (BASELINES.get(mode, mode), mode)]
    return list(dict.fromkeys(wanted))


def run_all(
    tester: Tester, modules: list[str], modes: list[str], jobs: int
) -> Iterator[tuple[str, dict[str, ModuleRun]]]:
    def run_one(module: str) -> tuple[str, dict[str, ModuleRun]]:
        return module, {mode: tester.run(mode, module) for mode in modes}

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(run_one, modules)


def main() -> int:
    options = arguments()
    modules = list(dict.fromkeys(module for name in options.modules for module in expand(name)))
    if not modules:
        print("skipped: none of these modules is here")
        return 0

    modes = with_baselines(options.mode)
    known = KnownTable()
    tester = Tester(options.exclude, options.timeout, known, options.time_slice)
    all_runs: dict[str, Any] = {}
    all_differences: list[Difference] = []
    print_head(modes)
    for module, runs in run_all(tester, modules, modes, options.jobs):
        differences = list(compare(module, runs, known))
        print_rows(module, runs, differences)
        if options.verbose:
            print_unhappy(runs)
        all_runs[module] = {mode: asdict(run) for mode, run in runs.items()}
        all_differences += differences

    print()
    for difference in all_differences:
        if not difference.known:
            rerun(tester, difference)
            print_difference(difference, verbose=options.verbose)
    print_known(known)

    if options.json:
        found = [asdict(each) | {"counts": each.counts} for each in all_differences]
        everything = {"python": sys.version, "modules": all_runs, "differences": found}
        options.json.write_text(json.dumps(everything, indent=1))
    return summary(len(modules), all_differences, known)


def summary(modules: int, differences: list[Difference], known: KnownTable) -> int:
    counted = sum(each.counts for each in differences)
    flaky = sum(each.flaky for each in differences)
    stale = sum(entry.stale for entry in known.entries)
    print(f"\n{counted} differences in {modules} modules, besides", end="")
    print(f" {sum(each.known for each in differences)} known ones", end="")
    print(f" and {flaky} that agreed {RERUNS} times when run alone")
    if stale:
        print(f"{stale} entries of the table of known differences no longer come true")
    return 1 if counted or stale else 0


if __name__ == "__main__":
    sys.exit(main())
