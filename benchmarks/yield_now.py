"""What does it cost to let another green thread run?  ns of CPU per yield.

Two of them take turns; each yield goes through the scheduler's run queue.  greenlet has no
scheduler: its number is the bare switch between two greenlets, the least that anything built on it
pays.  All loops are alike: a `for` over a range and one call.
"""

from __future__ import annotations

import argparse
from time import process_time_ns

from harness import Benchmark, run


class Options(argparse.Namespace):
    count: int


def weft(options: Options) -> float:
    from weft import spawn, yield_now

    def spin(count: int) -> None:
        for _ in range(count):
            yield_now()

    began = process_time_ns()
    pair = [spawn(spin, options.count) for _ in range(2)]
    for thread in pair:
        thread.join()
    return (process_time_ns() - began) / (2 * options.count)


def greenlet(options: Options) -> float:
    from greenlet import getcurrent
    from greenlet import greenlet as new_greenlet

    def answer() -> None:
        switch = here.switch
        while True:
            switch()

    here = getcurrent()
    switch = new_greenlet(answer).switch
    switch()
    began = process_time_ns()
    for _ in range(options.count):
        switch()
    return (process_time_ns() - began) / (2 * options.count)


def gevent(options: Options) -> float:
    from gevent import joinall, sleep, spawn

    def spin(count: int) -> None:
        for _ in range(count):
            sleep(0)

    began = process_time_ns()
    joinall([spawn(spin, options.count) for _ in range(2)])
    return (process_time_ns() - began) / (2 * options.count)


async def tasks(options: Options) -> float:
    from asyncio import gather, sleep

    async def spin(count: int) -> None:
        for _ in range(count):
            await sleep(0)

    began = process_time_ns()
    await gather(spin(options.count), spin(options.count))
    return (process_time_ns() - began) / (2 * options.count)


def asyncio(options: Options) -> float:
    from asyncio import run

    return run(tasks(options))


def uvloop(options: Options) -> float:
    from uvloop import run

    return run(tasks(options))


def runloom(options: Options) -> float:
    from runloom import fiber, run, yield_now

    def spin() -> None:
        for _ in range(options.count):
            yield_now()

    def main() -> None:
        fiber(spin)
        fiber(spin)

    began = process_time_ns()
    run(1, main)
    return (process_time_ns() - began) / (2 * options.count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000, help="yields of each of the two")
    contenders = [weft, greenlet, gevent, asyncio, uvloop, runloom]
    run(Benchmark("yield_now", "ns", contenders, rounds=15, warm_up=1), parser)
