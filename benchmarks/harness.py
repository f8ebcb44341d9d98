"""What the benchmark files share: contenders, CPU pinning, and one line of JSON per result.

A benchmark file answers one question with one number.  It holds a function per *contender* (weft
and its peers) and ends in `run(...)`.  Run it with the contenders to measure:

    python benchmarks/yield_now.py weft                 alone, in this process
    python benchmarks/yield_now.py weft greenlet        in one process, round by round in turn

and it prints a line of JSON for each.  run.py beside this file repeats, interleaves and compares.

A contender is called once per round and returns the round's number.  It imports what it needs
itself, so a peer that is not installed costs only its own line, and no contender runs with another
one's modules loaded unless asked to.

Lower is better in all of them.  What costs CPU is measured in CPU time of the whole process:
unlike wall time it hardly cares what else the machine is doing.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "benchmarks"

Contender = Callable[[Any], float]  # of the parsed command line


@dataclass(frozen=True)
class Benchmark:
    name: str
    unit: str
    contenders: Sequence[Contender]  # named after their functions
    rounds: int = 1  # repetitions inside one process; their median is the result
    warm_up: int = 0  # rounds before those, not counted
    leave: bool = False  # leave without tidying up: somebody is still asleep


def pin(cpu: int) -> bool:
    """Keeps this process on one CPU; False where there is no such CPU."""
    if cpu not in os.sched_getaffinity(0):
        return False
    os.sched_setaffinity(0, {cpu})
    return True


def unpin() -> None:
    """Gives it all of them back, where what is measured is time that passes and not CPU time."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))


def compiled(name: str, *flags: str) -> Path:
    """What `cc` makes of `name`.c, made again when the source is newer."""
    source, made = HERE / f"{name}.c", BUILD / name
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", *flags, "-o", made, source], check=True)
    return made


def go_peer(*arguments: str | int) -> float:
    """What peers.go says to these arguments.  ImportError where there is no Go."""
    source, made = HERE / "peers.go", BUILD / "peers"
    if shutil.which("go") is None:
        raise ImportError("there is no Go compiler")
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        # Go keeps its own cache, and insists on knowing where.
        environment = {"GOCACHE": str(BUILD / "go-cache"), **os.environ}
        subprocess.run(["go", "build", "-o", made, source], check=True, env=environment)
    command = [str(made), *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run(benchmark: Benchmark, parser: argparse.ArgumentParser) -> None:
    """Parses the command line, measures, prints."""
    contenders = {contender.__name__: contender for contender in benchmark.contenders}
    parser.add_argument("names", nargs="+", choices=list(contenders), metavar="CONTENDER")
    parser.add_argument("--rounds", type=int, default=benchmark.rounds)
    parser.epilog = "contenders: " + ", ".join(contenders)
    options = parser.parse_args()
    pin(0)
    measured: dict[str, list[float]] = {name: [] for name in options.names}
    for number in range(-benchmark.warm_up, options.rounds):
        for name, values in measured.items():
            try:
                value = contenders[name](options)
            except ImportError as missing:
                sys.exit(f"{benchmark.name}: {name}: {missing}")
            if number >= 0:
                values.append(value)
    for name, values in measured.items():
        print_result(benchmark, name, values)
    if benchmark.leave:
        os._exit(0)


def print_result(benchmark: Benchmark, contender: str, values: list[float]) -> None:
    result = {
        "benchmark": benchmark.name,
        "contender": contender,
        "value": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "unit": benchmark.unit,
        "rounds": len(values),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000,
    }
    print(json.dumps(result), flush=True)
