"""Runs cases: every mode in a process of its own, in turn, with the servers the case names.

A server is started when the first case asks for it and shared by all, but by cases that break it:
those get their own for every run.  Nothing here raises for what a case does; a `Result` tells.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from debian import UnavailableError
from environment import say
from servers import SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from case import Case

HERE = Path(__file__).parent
RUN_SECONDS = 120  # no case takes a quarter of this; one that does is stuck
ABORT_SECONDS = 10  # for faulthandler to write the stacks after SIGABRT


@dataclass
class Result:
    """What became of a case: why it was skipped, or what each mode measured."""

    case: Case
    jobs: int
    skipped: str = ""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def troubles(self) -> list[str]:
        """What is wrong, in a few words each; empty if all is well."""
        failed = [f"{mode}: {run['trouble']}" for mode, run in self.runs.items() if run["trouble"]]
        if failed or self.skipped:
            return failed
        return [*self.too_many_os_threads(), *self.not_concurrent()]

    def too_many_os_threads(self) -> Iterator[str]:
        green = self.runs["green"]
        allowed = 1 + green["helpers"] + self.case.foreign_threads
        if green["os_threads"] > allowed:
            yield f"{green['os_threads']} OS threads, {allowed} allowed"

    def not_concurrent(self) -> Iterator[str]:
        if "serial" not in self.runs:
            return
        speedup = self.runs["serial"]["wall"] / self.runs["green"]["wall"]
        if speedup < self.case.speedup:
            yield f"only {speedup:.1f} times as fast as serial, {self.case.speedup:g} wanted"


# --- one process ----------------------------------------------------------------------------------


def run_script(script: str, *arguments: str, addresses: Mapping[str, str], limit: float) -> Any:
    """What the script printed last, from JSON; `trouble` and `details` say what went wrong."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | addresses | {"PYTHONFAULTHANDLER": "1"},
    )
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return trouble(f"no end in {limit:g} s", stacks_of(process))
    finally:
        process.kill()
    if process.returncode != 0:
        return trouble(f"exit status {process.returncode}", errors)
    result = json.loads(output.splitlines()[-1])
    failures = result.get("failures", [])
    if failures:
        return result | trouble(f"{len(failures)} jobs failed", failures[0])
    return result | trouble("", "")


def trouble(text: str, details: str) -> dict[str, Any]:
    return {"trouble": text, "details": details}


def stacks_of(process: subprocess.Popen[str]) -> str:
    """End a process that is stuck, and say where."""
    process.send_signal(signal.SIGABRT)
    try:
        return process.communicate(timeout=ABORT_SECONDS)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[1]


# --- servers --------------------------------------------------------------------------------------


class Servers:
    """Those that run, for all cases; to be used as a context manager, which ends them."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self.reasons: dict[str, str] = {}  # why it does not run, by server; empty if it does
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.stack.close()

    def reason_without(self, names: tuple[str, ...]) -> str:
        """Start those that do not run yet; why one of them cannot, or an empty string."""
        return next(filter(None, map(self.start, names)), "")

    def start(self, name: str) -> str:
        if name not in self.reasons:
            say(f"starting {name} ...")
            try:
                self.addresses |= self.stack.enter_context(SERVERS[name]())
                self.reasons[name] = ""
            except UnavailableError as error:
                self.reasons[name] = f"no {name}: {error}"
        return self.reasons[name]

    @contextlib.contextmanager
    def fresh(self, names: tuple[str, ...]) -> Iterator[dict[str, str]]:
        """All addresses; servers with these names are new, and end with the block."""
        with contextlib.ExitStack() as stack:
            addresses = dict(self.addresses)
            for name in names:
                addresses |= stack.enter_context(SERVERS[name]())
            yield addresses


# --- cases ----------------------------------------------------------------------------------------


def run_case(case: Case, jobs: int, servers: Servers) -> Result:
    result = Result(case, jobs, servers.reason_without(case.servers))
    for mode in () if result.skipped else case.modes:
        say(f"{case.name}: {mode} ...")
        with servers.fresh(case.servers if case.fresh_servers else ()) as addresses:
            run = run_script(
                "child.py", case.key, mode, str(jobs), addresses=addresses, limit=RUN_SECONDS
            )
        result.skipped = run.get("skipped", "")
        if result.skipped:
            break
        result.runs[mode] = run
    return result


def run_cases(
    cases: list[Case], missing: Mapping[str, str], servers: Servers, *, quick: bool
) -> Iterator[Result]:
    for case in cases:
        jobs = case.quick if quick else case.jobs
        if case.key in missing:
            yield Result(case, jobs, missing[case.key])
        else:
            yield run_case(case, jobs, servers)
