"""What do many timers cost?  us of CPU per sleeper, from spawn to the end of it.

100,000 of them, each asleep for a random 0-500 ms; the same random numbers for everybody.  weft's
call `time.sleep`, as a threaded program would (`weft_sleep` is the same with weft.sleep).
"""

from __future__ import annotations

import argparse
import random
from time import process_time_ns
from typing import TYPE_CHECKING, Any

from harness import Benchmark, run

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 0.5
SEED = 1


class Options(argparse.Namespace):
    count: int


def naps(count: int) -> list[float]:
    chance = random.Random(SEED)
    return [chance.uniform(0, LONGEST) for _ in range(count)]


def measure(spawn: Callable[..., Any], sleep: Callable[[float], Any], count: int) -> float:
    def nap(seconds: float) -> None:
        sleep(seconds)

    seconds = naps(count)
    began = process_time_ns()
    sleepers = [spawn(nap, each) for each in seconds]
    for sleeper in sleepers:
        sleeper.join()
    return (process_time_ns() - began) / count / 1000


def weft(options: Options) -> float:
    from time import sleep

    from weft import spawn

    return measure(spawn, sleep, options.count)


def weft_sleep(options: Options) -> float:
    from weft import sleep, spawn

    return measure(spawn, sleep, options.count)


def gevent(options: Options) -> float:
    from gevent import sleep, spawn

    return measure(spawn, sleep, options.count)


async def tasks(options: Options) -> float:
    from asyncio import create_task, sleep

    async def nap(seconds: float) -> None:
        await sleep(seconds)

    seconds = naps(options.count)
    began = process_time_ns()
    sleepers = [create_task(nap(each)) for each in seconds]
    for sleeper in sleepers:
        await sleeper
    return (process_time_ns() - began) / options.count / 1000


def asyncio(options: Options) -> float:
    from asyncio import run

    return run(tasks(options))


def uvloop(options: Options) -> float:
    from uvloop import run

    return run(tasks(options))


def runloom(options: Options) -> float:
    """At most 30,000: each of its stacks takes two mappings of the 65,530 a process may have."""
    from runloom import fiber, run, sleep

    seconds = naps(min(options.count, 30_000))

    def main() -> None:
        for each in seconds:
            fiber(lambda each=each: sleep(each))

    began = process_time_ns()
    run(1, main)
    return (process_time_ns() - began) / len(seconds) / 1000


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    contenders = [weft, weft_sleep, gevent, asyncio, uvloop, runloom]
    run(Benchmark("sleepers", "us", contenders), parser)
