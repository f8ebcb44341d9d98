"""One case, in one mode, in this process; prints what it cost and what went wrong, as JSON.

    python child.py CASE green|threads|serial JOBS

green     every job in a green thread of this one OS thread
threads   every job in an OS thread
serial    one job after the other

Everything that could differ but the threads is the same: the job does not know how it is run.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

from case import CASES, Case, load, read_case

if TYPE_CHECKING:
    from collections.abc import Callable

Job = "Callable[[int], None]"

failures: list[str] = []
os_threads: list[int] = [0]  # the most seen


def count_os_threads() -> None:
    os_threads[0] = max(os_threads[0], len(os.listdir("/proc/self/task")))


def guarded(job: Callable[[int], None], number: int) -> None:
    """Run one job; keep what it raises, and how many OS threads there are when it ends."""
    try:
        job(number)
    except BaseException:
        failures.append(f"job {number}: {traceback.format_exc()}")
    count_os_threads()


# --- the three modes ------------------------------------------------------------------------------


def run_serial(job: Callable[[int], None], count: int) -> None:
    for number in range(count):
        guarded(job, number)


def run_threads(job: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=guarded, args=(job, number)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run_spawned(job: Callable[[int], None], count: int) -> None:
    import weft

    jobs = [weft.spawn(guarded, job, number) for number in range(count)]
    for each in jobs:
        each.join()


def runner(case: Case, mode: str) -> Callable[[Callable[[int], None], int], None]:
    if mode == "serial":
        return run_serial
    if mode == "threads":
        return run_threads
    if not case.threads_green:
        return run_spawned
    import weft

    weft.install()
    return run_threads


def helpers(mode: str) -> int:
    """The most OS threads that weft has had: for calls that can only block, and the watchdog."""
    if mode != "green":
        return 0
    import weft
    from weft import _core

    return _core._thread_counts()[2] + (weft.get_preemption() is not None)


# --- one run --------------------------------------------------------------------------------------


def measure(case: Case, mode: str, count: int) -> dict[str, object]:
    module = load(case)
    reason = getattr(module, "unavailable", str)()
    if reason:
        return {"skipped": reason}
    run = runner(case, mode)
    getattr(module, "setup", int)()
    wall, cpu = time.perf_counter(), time.process_time()
    run(module.job, count)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "wall": wall,
        "cpu": cpu,
        "os_threads": os_threads[0],
        "helpers": helpers(mode),
        "failures": failures,
    }


def main() -> None:
    key, mode, count = sys.argv[1:]
    result = measure(read_case(CASES / f"{key}.py"), mode, int(count))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
