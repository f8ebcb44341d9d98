"""All cases together in one process, again and again, and what they leave behind.

    python soak.py SECONDS CASE ...

Every case goes round: its jobs in green threads, all at once; when the last is done, the next
round.  The jobs check their data end to end, as they always do.  After that time we want

    no failed job,
    no descriptor more than at the start,
    no green thread left,
    and no more memory in the last quarter of the time than in the second (GROWTH).

"The start" is after one round of each, with everything closed: libraries open what they keep, and
Python imports what it imports, the first time.  Prints JSON: what was done, and the complaints.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from case import CASES, Case, load, read_case

import weft

if TYPE_CHECKING:
    from types import ModuleType

JOBS = 10  # of each case at a time; even, since some work in pairs
GROWTH = 0.05  # of resident memory: what an allocator's mood may add
SAMPLE_SECONDS = 0.1
QUARTERS = 4
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Soaked:
    """A case and what it has done so far."""

    case: Case
    module: ModuleType
    rounds: int = 0
    jobs: int = 0

    def setup(self) -> None:
        getattr(self.module, "setup", int)()

    def teardown(self) -> None:
        getattr(self.module, "teardown", int)()


failures: list[str] = []


def guarded(soaked: Soaked, number: int) -> None:
    try:
        soaked.module.job(number)
    except BaseException:
        failures.append(f"{soaked.case.name}, job {number}: {traceback.format_exc()}")


def start(soaked: Soaked, number: int) -> weft.GreenThread[None] | threading.Thread:
    """One job, in the kind of green thread that the case wants."""
    if not soaked.case.threads_green:
        return weft.spawn(guarded, soaked, number)
    thread = threading.Thread(target=guarded, args=(soaked, number))
    thread.start()
    return thread


def one_round(soaked: Soaked) -> None:
    numbers = range(min(JOBS, soaked.case.quick))
    for each in [start(soaked, number) for number in numbers]:
        each.join()
    soaked.rounds += 1
    soaked.jobs += len(numbers)


def go_round(soaked: Soaked, until: float) -> None:
    """At least once, so that no time at all is a first round of each."""
    one_round(soaked)
    while time.monotonic() < until:
        one_round(soaked)


# --- what is left behind --------------------------------------------------------------------------


def descriptors() -> list[str]:
    """What every open descriptor leads to."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            continue  # the listing's own
    return found


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def watch_memory(samples: list[int], until: float) -> None:
    while time.monotonic() < until or len(samples) < QUARTERS:
        samples.append(resident_bytes())
        time.sleep(SAMPLE_SECONDS)


def quarter(samples: list[int], number: int) -> int:
    """The most memory in that quarter of the time."""
    size = len(samples) // QUARTERS
    return max(samples[(number - 1) * size : number * size])


def complaints(before: list[str], samples: list[int]) -> list[str]:
    found = []
    after = descriptors()
    if len(after) > len(before):
        found.append(f"{len(after)} descriptors, {len(before)} at the start: {after}")
    if quarter(samples, 4) > quarter(samples, 2) * (1 + GROWTH):
        found.append(f"memory grew from {quarter(samples, 2):,} to {quarter(samples, 4):,} bytes")
    if weft.all_threads():
        found.append(f"green threads left: {weft.all_threads()}")
    return found


# --- the soak -------------------------------------------------------------------------------------


def all_of(seconds: float, all_soaked: list[Soaked]) -> list[int]:
    """Every case at once, round and round; samples of the memory in use."""
    samples: list[int] = []
    for each in all_soaked:
        each.setup()
    until = time.monotonic() + seconds
    drivers = [weft.spawn(go_round, each, until) for each in all_soaked]
    drivers.append(weft.spawn(watch_memory, samples, until))
    for driver in drivers:
        driver.result()
    for each in all_soaked:
        each.teardown()
    gc.collect()
    return samples


def lines(all_soaked: list[Soaked], samples: list[int], before: list[str]) -> list[str]:
    """What was done, and what it left."""
    counts = weft.statistics()
    early, late = quarter(samples, 2) / 2**20, quarter(samples, 4) / 2**20
    done = [f"{each.case.name:44}{each.rounds:6} rounds{each.jobs:8} jobs" for each in all_soaked]
    return [
        *done,
        f"jobs that failed: {len(failures)}; processor time: {time.process_time():.1f} s",
        f"green threads: {counts.started:,} started, {counts.alive} left; {counts.parks:,} parks",
        f"descriptors: {len(before)} at the start, {len(descriptors())} at the end",
        f"memory: {early:.1f} MiB in the second quarter, {late:.1f} MiB in the last",
    ]


def main() -> None:
    seconds, *keys = sys.argv[1:]
    cases = [read_case(CASES / f"{key}.py") for key in keys]
    all_soaked = [Soaked(case, load(case)) for case in cases]
    able = [each for each in all_soaked if not getattr(each.module, "unavailable", str)()]
    weft.install()
    all_of(0, able)
    for each in able:
        each.rounds = each.jobs = 0
    before = descriptors()
    samples = all_of(float(seconds), able)
    said = lines(able, samples, before)
    print(json.dumps({"lines": said, "failures": failures + complaints(before, samples)}))


if __name__ == "__main__":
    main()
