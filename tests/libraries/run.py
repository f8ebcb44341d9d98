"""The proof that libraries just work: unmodified, against real servers, in 50 green threads.

    python3 tests/libraries/run.py [--only NAME ...] [--quick] [--version 3.11]

Each case (case.py) runs in three ways: as green threads on one OS thread, as OS threads, and one
job after the other; each in a process of its own, in turn, so that a busy minute hits all three.
One table says what each took, and whether weft passes:

    no job failed        each job checks the data it gets
    no OS threads        but the first, weft's helpers, and those the library makes for itself
    concurrent           the jobs one after the other take several times as long (SPEEDUP)

Times are only ever compared with times of the same run.  A case that cannot run is skipped, and the
table says why.  Exit status 1 if any case fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import environment
from case import MODES, Case, all_cases
from debian import UnavailableError
from environment import say
from servers import SERVERS as PROGRAMS
from web_servers import WEB_SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SERVERS = PROGRAMS | WEB_SERVERS
CHILD = Path(__file__).with_name("child.py")
RUN_SECONDS = 120  # no case takes a quarter of this; one that does is stuck


@dataclass
class Result:
    """What became of a case: why it was skipped, or a measurement for each mode."""

    case: Case
    jobs: int
    skipped: str = ""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def troubles(self) -> list[str]:
        """What is wrong, in a word or two each; empty if all is well."""
        found = [f"{mode}: {run['trouble']}" for mode, run in self.runs.items() if run["trouble"]]
        if found or self.skipped:
            return found
        green = self.runs["green"]
        allowed = 1 + green["helpers"] + self.case.foreign_threads
        if green["os_threads"] > allowed:
            found.append(f"{green['os_threads']} OS threads, {allowed} allowed")
        if "serial" in self.runs and green["wall"] * self.case.speedup > self.runs["serial"]["wall"]:
            found.append(f"not {self.case.speedup:g} times as fast as serial")
        return found


# --- running --------------------------------------------------------------------------------------


def run_child(case: Case, mode: str, jobs: int, addresses: Mapping[str, str]) -> dict[str, Any]:
    """What child.py measured; `trouble` and `details` say what went wrong."""
    command = [sys.executable, str(CHILD), case.key, mode, str(jobs)]
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            env=os.environ | addresses | {"PYTHONFAULTHANDLER": "1"},
        )
    except subprocess.TimeoutExpired as error:
        return trouble(f"no end in {RUN_SECONDS} s", str(error.stderr or ""))
    if done.returncode != 0:
        return trouble(f"exit status {done.returncode}", done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    failures = result.get("failures", [])
    if failures:
        return result | trouble(f"{len(failures)} jobs failed", failures[0])
    return result | trouble("", "")


def trouble(text: str, details: str) -> dict[str, Any]:
    return {"trouble": text, "details": details}


@contextlib.contextmanager
def serving(names: tuple[str, ...], already: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Addresses of these servers, started for now unless they are there already."""
    with contextlib.ExitStack() as stack:
        addresses = dict(already)
        for name in names:
            addresses |= stack.enter_context(SERVERS[name]())
        yield addresses


def run_case(case: Case, jobs: int, addresses: Mapping[str, str]) -> Result:
    result = Result(case, jobs)
    fresh = case.servers if case.fresh_servers else ()
    for mode in case.modes:
        say(f"{case.name}: {mode} ...")
        with serving(fresh, addresses) as these:
            run = run_child(case, mode, jobs, these)
        result.skipped = run.get("skipped", "")
        if result.skipped:
            break
        result.runs[mode] = run
    return result


def run_cases(cases: list[Case], missing: dict[str, str], *, quick: bool) -> Iterator[Result]:
    """Servers are started when the first case asks, and shared."""
    with contextlib.ExitStack() as stack:
        addresses: dict[str, str] = {}
        started: dict[str, str] = {}  # why it does not run, by server; empty if it does

        def start(name: str) -> str:
            if name not in started:
                say(f"starting {name} ...")
                try:
                    addresses.update(stack.enter_context(SERVERS[name]()))
                    started[name] = ""
                except UnavailableError as error:
                    started[name] = f"no {name}: {error}"
            return started[name]

        for case in cases:
            jobs = case.quick if quick else case.jobs
            reason = missing.get(case.key) or next(filter(None, map(start, case.servers)), "")
            yield Result(case, jobs, reason) if reason else run_case(case, jobs, addresses)


# --- what we print --------------------------------------------------------------------------------


def print_table(results: list[Result]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Unmodified libraries against real servers", title_justify="left")
    table.add_column("case")
    for heading in ("jobs x s", "green", "cpu", "OS threads", "threads", "cpu", "serial"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for result in results:
        table.add_row(*cells(result))
    # Wide enough for every column also where the output is a file.
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def cells(result: Result) -> list[str]:
    case = result.case
    row = [case.name, f"{result.jobs} x {case.seconds:g}"]
    if result.skipped:
        return [*row, *[""] * 6, f"skipped: {result.skipped}"]
    for mode in MODES:
        run = result.runs.get(mode, {})
        row.append(f"{run['wall']:.2f}" if "wall" in run else "")
        if mode != "serial":
            row.append(f"{run['cpu']:.3f}" if "cpu" in run else "")
        if mode == "green":
            row.append(str(run.get("os_threads", "")))
    return [*row, "; ".join(result.troubles()) or "pass"]


def print_details(results: list[Result]) -> None:
    for result in results:
        for mode, run in result.runs.items():
            if run["trouble"]:
                print(f"\n--- {result.case.name}, {mode}: {run['trouble']}\n{run['details'].rstrip()}")


# --- the command ----------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run unmodified libraries in green threads.")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these cases (--list names them)")
    parser.add_argument("--list", action="store_true", help="say which cases there are")
    parser.add_argument("--quick", action="store_true", help="fewer jobs")
    parser.add_argument("--version", default="3.11", help="of CPython (default: 3.11)")
    parser.add_argument(
        "--no-build", action="store_true", help="measure the weft built last time, or PYTHONPATH's"
    )
    return parser.parse_args()


def chosen(only: list[str] | None) -> list[Case]:
    cases = all_cases()
    unknown = set(only or []) - {case.key for case in cases}
    if unknown:
        sys.exit(f"no such case: {' '.join(sorted(unknown))}")
    return [case for case in cases if not only or case.key in only]


def main() -> int:
    options = arguments()
    cases = chosen(options.only)
    if options.list:
        for case in cases:
            print(f"{case.key:24}{case.name}")
        return 0
    environment.enter(options.version, build=not options.no_build)
    missing = environment.provide(cases)
    results = list(run_cases(cases, missing, quick=options.quick))
    print_table(results)
    print_details(results)
    return 1 if any(result.troubles() for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
