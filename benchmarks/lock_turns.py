"""What does a turn at a lock cost that a thousand want?  ns of CPU per turn.

Each acquires the lock, yields while it holds it, and releases it: all others are waiting.
`standard` is the standard library's `threading.Lock`, unmodified, in green threads of weft.
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
    threads: int


def take_turns(
    spawn: Callable[[Callable[[], None]], Any],
    lock: Any,
    let_others_run: Callable[[], None],
    options: Options,
) -> float:
    turns = options.count // options.threads

    def work() -> None:
        for _ in range(turns):
            with lock:
                let_others_run()

    began = process_time_ns()
    for thread in [spawn(work) for _ in range(options.threads)]:
        thread.join()
    return (process_time_ns() - began) / options.count


def weft(options: Options) -> float:
    from weft import Lock, spawn, yield_now

    return take_turns(spawn, Lock(), yield_now, options)


def standard(options: Options) -> float:
    from threading import Lock

    from weft import spawn, yield_now

    return take_turns(spawn, Lock(), yield_now, options)


def gevent(options: Options) -> float:
    from gevent import sleep, spawn
    from gevent.lock import BoundedSemaphore

    return take_turns(spawn, BoundedSemaphore(1), lambda: sleep(0), options)


async def tasks(options: Options) -> float:
    from asyncio import Lock, gather, sleep

    lock = Lock()

    async def work() -> None:
        for _ in range(options.count // options.threads):
            async with lock:
                await sleep(0)

    began = process_time_ns()
    await gather(*[work() for _ in range(options.threads)])
    return (process_time_ns() - began) / options.count


def asyncio(options: Options) -> float:
    from asyncio import run

    return run(tasks(options))


def uvloop(options: Options) -> float:
    from uvloop import run

    return run(tasks(options))


def trio(options: Options) -> float:
    from trio import Lock, lowlevel, open_nursery, run

    async def main() -> float:
        lock = Lock()

        async def work() -> None:
            for _ in range(options.count // options.threads):
                async with lock:
                    await lowlevel.checkpoint()

        began = process_time_ns()
        async with open_nursery() as nursery:
            for _ in range(options.threads):
                nursery.start_soon(work)
        return (process_time_ns() - began) / options.count

    return run(main)


def runloom(options: Options) -> float:
    from runloom import WaitGroup, fiber, run, yield_now
    from runloom.sync import Lock

    def main() -> None:
        lock, group = Lock(), WaitGroup()

        def work() -> None:
            for _ in range(options.count // options.threads):
                with lock:
                    yield_now()
            group.done()

        group.add(options.threads)
        for _ in range(options.threads):
            fiber(work)
        group.wait()

    began = process_time_ns()
    run(1, main)
    return (process_time_ns() - began) / options.count


def go(options: Options) -> float:
    return go_peer("lock", options.threads, 10 * options.count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000, help="turns per round")
    parser.add_argument("--threads", type=int, default=1_000)
    contenders = [weft, standard, gevent, asyncio, uvloop, trio, runloom, go]
    run(Benchmark("lock_turns", "ns", contenders, rounds=5, warm_up=1), parser)
