#!/usr/bin/env python3
"""Runs the benchmarks against weft's peers and says which goals are met.

    python benchmarks/run.py                        everything, five times, on this Python
    python benchmarks/run.py --python python3.12    on another one
    python benchmarks/run.py --quick                small sizes, twice: does it work at all?
    python benchmarks/run.py --only echo --repeats 9
    python benchmarks/run.py --million              also park a million green threads

How.  The driver makes an environment of its own (.venv/bench-<version>), with the peers from the
package index and weft built from this repository.  Each contender runs alone in a fresh process,
and the contenders take turns: a noisy minute hits them all.  (weft's yield and greenlet's switch
are short enough to share a process, in turns of some milliseconds.)  Of the repeats we print the
median and the best, and the ratio of weft's median to each peer's.

A peer that does not install, or does not run, costs its own lines only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPO = HERE.parent

PEERS = ["greenlet", "gevent", "uvloop", "trio"]
# Sources only, and they do not compile for every CPython that we measure.
RELUCTANT_PEERS = ["runloom"]

RUN_SECONDS = 900  # no benchmark takes a tenth of this; a contender that does is stuck
MILLION = 1_000_000


@dataclass(frozen=True)
class Goal:
    """weft's number, or its ratio to a peer's, is to be at most this."""

    limit: float
    peer: str | None = None
    limit_311: float | None = None  # where CPython 3.11 has its own
    contender: str = "weft"

    def on(self, version: tuple[int, int]) -> float:
        if version == (3, 11) and self.limit_311 is not None:
            return self.limit_311
        return self.limit


@dataclass(frozen=True)
class Plan:
    """A benchmark file, who takes part, and what is to be reached."""

    name: str
    question: str
    contenders: list[list[str]]  # each inner list shares a process
    goals: list[Goal]
    quick: list[str]  # options for small sizes
    file: str | None = None  # if it is not named after the plan
    full: tuple[str, ...] = ()  # options for the real sizes

    @property
    def script(self) -> Path:
        return HERE / f"{self.file or self.name}.py"


PLANS = [
    Plan(
        "yield_now",
        "ns of CPU per yield, two green threads in turn",
        [["weft", "greenlet"], ["gevent"], ["asyncio"], ["uvloop"], ["runloom"]],
        [Goal(0.45, "greenlet", limit_311=0.20)],
        ["--count", "5000", "--rounds", "5"],
    ),
    Plan(
        "spawn_join",
        "us of CPU per spawn and join of a no-op, steady state",
        [["weft"], ["gevent"], ["threads"], ["asyncio"], ["uvloop"], ["trio"], ["runloom"], ["go"]],
        [Goal(0.05, "gevent")],
        ["--count", "2000", "--rounds", "3"],
    ),
    Plan(
        "spawn_join_many",
        "us of CPU per spawn and join of a no-op, 100,000 at once",
        [["weft"], ["gevent"], ["asyncio"], ["uvloop"], ["trio"], ["runloom"], ["go"]],
        [Goal(0.1, "gevent")],
        ["--count", "5000", "--batch", "5000", "--rounds", "3"],
        file="spawn_join",
        full=("--count", "100000", "--batch", "100000", "--rounds", "3"),
    ),
    Plan(
        "channel",
        "ns of CPU per value handed to another green thread",
        [["weft"], ["gevent"], ["trio"], ["runloom"], ["go"]],
        [Goal(0.10, "gevent"), Goal(1.0, "runloom")],
        ["--count", "5000", "--rounds", "3"],
    ),
    Plan(
        "queue_one",
        "ns of CPU per item through a queue of size 1",
        [
            ["weft"],
            ["standard"],
            ["gevent"],
            ["asyncio"],
            ["uvloop"],
            ["trio"],
            ["runloom"],
            ["go"],
        ],
        [
            Goal(0.10, "gevent"),
            Goal(1.0, "runloom"),
            Goal(1.0, "gevent", contender="standard"),
        ],
        ["--count", "5000", "--rounds", "3"],
    ),
    Plan(
        "ring",
        "ns of CPU per hop in a ring of a thousand",
        [["weft"], ["gevent"], ["asyncio"], ["uvloop"], ["trio"], ["runloom"], ["go"]],
        [Goal(0.10, "gevent"), Goal(1.0, "runloom")],
        ["--count", "10000", "--length", "100", "--rounds", "3"],
    ),
    Plan(
        "lock_turns",
        "ns of CPU per turn at a lock that a thousand want",
        [
            ["weft"],
            ["standard"],
            ["gevent"],
            ["asyncio"],
            ["uvloop"],
            ["trio"],
            ["runloom"],
            ["go"],
        ],
        [
            Goal(0.10, "gevent"),
            Goal(1.0, "runloom"),
            Goal(1.0, "gevent", contender="standard"),
        ],
        ["--count", "5000", "--threads", "100", "--rounds", "3"],
    ),
    Plan(
        "parked_memory",
        "KB of resident memory per green thread parked three calls deep",
        [["weft"], ["greenlet"], ["gevent"], ["threads"], ["asyncio"], ["uvloop"], ["runloom"]],
        [Goal(4.8)],
        ["--count", "5000"],
    ),
    Plan(
        "sleepers",
        "us of CPU per sleeper of random 0-500 ms",
        [["weft"], ["weft_sleep"], ["gevent"], ["asyncio"], ["uvloop"], ["runloom"]],
        [Goal(0.35, "uvloop")],
        ["--count", "5000"],
    ),
    Plan(
        "echo",
        "us of server CPU per 64-byte TCP echo, 100 connections",
        [["weft"], ["uvloop"], ["gevent"], ["threads"], ["asyncio"], ["runloom"], ["c_epoll"]],
        [Goal(1.0, "uvloop"), Goal(0.57, "gevent")],
        ["--messages", "20000"],
    ),
    Plan(
        "echo_loop",
        "us of CPU per 64-byte TCP echo of an event loop's Protocol, in a green thread and alone",
        [["weft"], ["uvloop"], ["weft_beside"], ["weft_asyncio"], ["asyncio"]],
        [Goal(1.05, "uvloop")],
        ["--messages", "20000"],
    ),
    Plan(
        "await_ready",
        "ns of CPU per call of a coroutine that never waits; per switch between tasks",
        [["weft", "asyncio"], ["uvloop"], ["threadsafe"]],
        [Goal(0.5, "asyncio")],
        ["--count", "2000", "--rounds", "3"],
    ),
    Plan(
        "hook_idle",
        "ns that a hook adds to a recv in a process without green threads",
        [["weft"]],
        [Goal(5)],
        ["--batches", "20"],
    ),
    Plan(
        "hook_ready",
        "ns that a hook adds to a recv that need not wait, in a green thread",
        [["weft"]],
        [Goal(40)],
        ["--batches", "20"],
    ),
    Plan(
        "fairness",
        "worst gap of a ticker beside two hogs, in time slices",
        [["weft"], ["cooperative"]],
        [Goal(4)],
        ["--seconds", "0.5"],
    ),
    Plan(
        "preempt_cost",
        "CPU time of a workload that needs no preemption, with it / without",
        [["weft"]],
        [Goal(1.02)],
        ["--count", "500", "--turns", "8"],
    ),
    Plan(
        "heartbeat",
        "ms, worst gap of a client's heartbeat beside a hog of one second",
        [["weft"], ["gevent"]],
        [Goal(0.1, "gevent"), Goal(250)],
        ["--seconds", "0.5"],
    ),
    Plan(
        "compress",
        "s, pages compressed by four threads, on all processors if it can be",
        [["weft"], ["weft_parking"], ["os_threads"]],
        [Goal(1.1, "os_threads")],
        ["--pages", "8"],
    ),
]
MILLION_GOAL_MB = 6000


# --- the environment ------------------------------------------------------------------------------


def output_of(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def make_environment(python: str, install: bool) -> Path:
    """The environment's python, with the peers and today's weft in it."""
    version = output_of(python, "-c", "import platform; print(platform.python_version())")
    folder = REPO / ".venv" / f"bench-{version}"
    own_python = folder / "bin" / "python"
    if not own_python.exists():
        say(f"making {folder.relative_to(REPO)} ...")
        subprocess.run([python, "-m", "venv", folder], check=True)
        pip(own_python, *PEERS)
        for peer in RELUCTANT_PEERS:
            if not pip(own_python, peer, must=False):
                say(f"{peer} does not install on CPython {version}: left out")
    if install:
        say("building weft ...")
        pip(own_python, "--force-reinstall", "--no-deps", str(REPO))
    return own_python


def pip(python: Path, *arguments: str, must: bool = True) -> bool:
    command = [str(python), "-m", "pip", "install", "--quiet", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0 and must:
        sys.exit(done.stderr)
    return done.returncode == 0


def installed_versions(python: Path) -> dict[str, str]:
    listed = json.loads(output_of(python, "-m", "pip", "list", "--format", "json"))
    wanted = {"weft", *PEERS, *RELUCTANT_PEERS}
    return {each["name"]: each["version"] for each in listed if each["name"] in wanted}


# --- running --------------------------------------------------------------------------------------


@dataclass
class Series:
    """One contender's results over the repeats, or why there are none."""

    values: list[float] = field(default_factory=list)
    peak_mb: int = 0
    trouble: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def run_group(python: Path, plan: Plan, group: list[str], options: list[str]) -> dict[str, Any]:
    """Results by contender, from one process; a string in place of one says what went wrong."""
    command = [str(python), str(plan.script), *group, *options]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=RUN_SECONDS
        )
    except subprocess.TimeoutExpired:
        return dict.fromkeys(group, f"no result in {RUN_SECONDS} s")
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return dict.fromkeys(group, f"exit status {done.returncode}: {last}")
    return {each["contender"]: each for each in map(json.loads, done.stdout.splitlines())}


def run_plan(
    python: Path, plan: Plan, repeats: int, options: list[str], absent: set[str]
) -> dict[str, Series]:
    series = {name: Series() for group in plan.contenders for name in group}
    for name in absent & series.keys():
        series[name].trouble = "does not install on this Python"
    for repeat in range(repeats):
        # Backwards every other time, so that nobody always runs after the same neighbour.
        for group in plan.contenders if repeat % 2 == 0 else reversed(plan.contenders):
            healthy = [name for name in group if not series[name].trouble]
            if not healthy:
                continue
            progress(f"{plan.name} {repeat + 1}/{repeats}: {' '.join(healthy)}")
            results = run_group(python, plan, healthy, options)
            if len(healthy) > 1 and any(isinstance(each, str) for each in results.values()):
                # One of them may be fine without the other.
                for name in healthy:
                    results |= run_group(python, plan, [name], options)
            note(series, results)
    progress("")
    return series


def note(series: dict[str, Series], results: dict[str, Any]) -> None:
    for name, result in results.items():
        if isinstance(result, str):
            series[name].trouble = result
        else:
            series[name].values.append(result["value"])
            series[name].peak_mb = max(series[name].peak_mb, result["peak_mb"])


# --- what we print --------------------------------------------------------------------------------


def say(text: str) -> None:
    """What we are about goes to standard error, results to standard output."""
    print(text, file=sys.stderr, flush=True)


def progress(text: str) -> None:
    """One line that each call overwrites, for somebody who watches."""
    if sys.stderr.isatty():
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)


def commit() -> str:
    command = ["git", "-C", str(REPO), "describe", "--always", "--dirty"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "no commit"


def machine(python: Path, versions: dict[str, str]) -> list[str]:
    cpu = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    build = output_of(
        python,
        "-c",
        "import platform as p, sysconfig as s; c = s.get_config_var; a = c('CONFIG_ARGS') or '';"
        "print('CPython', p.python_version(), 'shared' if c('Py_ENABLE_SHARED') else 'static',"
        "'PGO' if '--enable-optimizations' in a else 'no PGO')",
    )
    packages = ", ".join(f"{name} {number}" for name, number in versions.items())
    load = os.getloadavg()[0]
    return [
        f"{cpu}, {os.cpu_count()} CPUs, Linux {platform.release()}, load {load:.1f} at the start",
        f"{build}; weft at {commit()}; {packages}",
    ]


def print_plan(plan: Plan, series: dict[str, Series]) -> None:
    weft = series["weft"]
    print(f"\n{plan.name}: {plan.question}")
    print(f"  {'':12}{'median':>11}{'best':>11}{'peak MB':>10}{'weft / it':>12}")
    for name, each in series.items():
        if each.trouble:
            print(f"  {name:12}n/a: {each.trouble[:84]}")
            continue
        ratio = "" if name == "weft" or not weft.values else f"{weft.median / each.median:.3f}"
        numbers = f"{each.median:11.3f}{min(each.values):11.3f}{each.peak_mb:10}"
        print(f"  {name:12}{numbers}{ratio:>12}")


def judge(plan: Plan, series: dict[str, Series], version: tuple[int, int]) -> bool:
    """Prints a line per goal; True when none is missed."""
    met = True
    for goal in plan.goals:
        limit = goal.on(version)
        ours = plan.name if goal.contender == "weft" else f"{plan.name}, {goal.contender}"
        what = f"{ours} / {goal.peer}" if goal.peer else ours
        needed = [goal.contender] if goal.peer is None else [goal.contender, goal.peer]
        if not all(series[name].values for name in needed):
            print(f"  goal: {what} at most {limit:g}: not measured")
            continue
        reached = series[goal.contender].median / (series[goal.peer].median if goal.peer else 1)
        verdict = "pass" if reached <= limit else "MISS"
        met = met and reached <= limit
        print(f"  goal: {what} at most {limit:g}: {reached:.3f}  {verdict}")
    return met


def run_million(python: Path) -> bool:
    say(f"parking {MILLION:,} green threads ...")
    plan = next(plan for plan in PLANS if plan.name == "parked_memory")
    result = run_group(python, plan, ["weft"], ["--count", str(MILLION)])["weft"]
    print(f"\n{MILLION:,} parked green threads")
    if isinstance(result, str):
        print(f"  n/a: {result}")
        return False
    peak = int(result["peak_mb"])
    verdict = "pass" if peak <= MILLION_GOAL_MB else "MISS"
    print(f"  {result['value']:.3f} KB each; peak of the process {peak} MB")
    print(f"  goal: at most {MILLION_GOAL_MB} MB: {peak}  {verdict}")
    return peak <= MILLION_GOAL_MB


# --- the command ----------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure weft and its peers, interleaved.")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure on")
    parser.add_argument("--only", nargs="+", choices=[plan.name for plan in PLANS], metavar="NAME")
    parser.add_argument("--repeats", type=int, help="runs of each contender (default: 5)")
    parser.add_argument("--quick", action="store_true", help="small sizes, two repeats")
    parser.add_argument("--million", action="store_true", help="park a million as well")
    parser.add_argument(
        "--no-install", action="store_true", help="measure the weft built last time"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value here")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a goal is missed")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    repeats = options.repeats or (2 if options.quick else 5)
    plans = [plan for plan in PLANS if not options.only or plan.name in options.only]
    python = make_environment(options.python, install=not options.no_install)
    major, minor = map(int, output_of(python, "-c", VERSION).split())
    versions = installed_versions(python)
    facts = machine(python, versions)
    print("\n".join(facts))
    print(f"{repeats} repeats, interleaved{'; quick: sizes too small to judge' * options.quick}")
    met, everything = True, {}
    for plan in plans:
        sizes = plan.quick if options.quick else list(plan.full)
        series = run_plan(python, plan, repeats, sizes, set(RELUCTANT_PEERS) - versions.keys())
        print_plan(plan, series)
        met &= judge(plan, series, (major, minor))
        everything[plan.name] = {name: vars(each) for name, each in series.items()}
    if options.million:
        met &= run_million(python)
    if options.json:
        options.json.write_text(json.dumps({"facts": facts, "results": everything}, indent=1))
    return 0 if met or not options.check else 1


VERSION = "import sys; print(*sys.version_info[:2])"

if __name__ == "__main__":
    sys.exit(main())
