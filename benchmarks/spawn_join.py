"""What does a short-lived green thread cost?  us of CPU to spawn and join one that does nothing.

Steady state: the first rounds, in which stacks and thread states are made, do not count.  Threads
are spawned in batches and then joined one by one, as a server or a crawler would.
"""

from __future__ import annotations

import argparse
from time import process_time_ns
from typing import TYPE_CHECKING, Any

from harness import Benchmark, go_peer, run

if TYPE_CHECKING:
    from collections.abc import Callable


class Options(argparse.Namespace):
    count: int
    batch: int


def nothing() -> None:
    pass


async def nothing_async() -> None:
    pass


def spawn_and_join(spawn: Callable[[Callable[[], None]], Any], options: Options) -> float:
    began = process_time_ns()
    for _ in range(options.count // options.batch):
        for thread in [spawn(nothing) for _ in range(options.batch)]:
            thread.join()
    return (process_time_ns() - began) / options.count / 1000


def weft(options: Options) -> float:
    from weft import spawn

    return spawn_and_join(spawn, options)


def gevent(options: Options) -> float:
    from gevent import spawn

    return spawn_and_join(spawn, options)


def threads(options: Options) -> float:
    from threading import Thread

    def spawn(function: Callable[[], None]) -> Thread:
        thread = Thread(target=function)
        thread.start()
        return thread

    return spawn_and_join(spawn, options)


async def tasks(options: Options) -> float:
    from asyncio import create_task

    began = process_time_ns()
    for _ in range(options.count // options.batch):
        for task in [create_task(nothing_async()) for _ in range(options.batch)]:
            await task
    return (process_time_ns() - began) / options.count / 1000


def asyncio(options: Options) -> float:
    from asyncio import run

    return run(tasks(options))


def uvloop(options: Options) -> float:
    from uvloop import run

    return run(tasks(options))


def runloom(options: Options) -> float:
    """A fiber has no join; a WaitGroup is runloom's own way to wait for a batch."""
    from runloom import WaitGroup, fiber, run

    def main() -> None:
        for _ in range(options.count // options.batch):
            group = WaitGroup()
            group.add(options.batch)
            for _ in range(options.batch):
                fiber(group.done)
            group.wait()

    began = process_time_ns()
    run(1, main)
    return (process_time_ns() - began) / options.count / 1000


async def in_nurseries(options: Options) -> float:
    from trio import open_nursery

    began = process_time_ns()
    for _ in range(options.count // options.batch):
        async with open_nursery() as nursery:
            for _ in range(options.batch):
                nursery.start_soon(nothing_async)
    return (process_time_ns() - began) / options.count / 1000


def trio(options: Options) -> float:
    from trio import run

    return run(in_nurseries, options)


def go(options: Options) -> float:
    return go_peer("spawn", options.batch, 10 * options.count) / 1000


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="threads per round")
    parser.add_argument("--batch", type=int, default=100, help="of them alive at once")
    contenders = [weft, gevent, threads, asyncio, uvloop, trio, runloom, go]
    run(Benchmark("spawn_join", "us", contenders, rounds=9, warm_up=2), parser)
