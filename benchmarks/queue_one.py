"""What does it cost to pass an item through a queue with room for one?  ns of CPU per item.

`standard` is the standard library's `queue.Queue`, unmodified, between two green threads of weft.
"""

from __future__ import annotations

import argparse
from time import process_time_ns
from typing import TYPE_CHECKING, Any

from harness import Benchmark, go_peer, run
from values import through_runloom, through_trio

if TYPE_CHECKING:
    from collections.abc import Callable


class Options(argparse.Namespace):
    count: int


def get_and_put(queue: Any, count: int) -> list[Callable[[], None]]:
    def get_all() -> None:
        get = queue.get
        for _ in range(count):
            get()

    def put_all() -> None:
        put = queue.put
        for number in range(count):
            put(number)

    return [get_all, put_all]


def in_green_threads(queue: Any, count: int) -> float:
    from weft import spawn

    began = process_time_ns()
    for thread in [spawn(fn) for fn in get_and_put(queue, count)]:
        thread.join()
    return (process_time_ns() - began) / count


def weft(options: Options) -> float:
    from weft import Queue

    return in_green_threads(Queue(1), options.count)


def standard(options: Options) -> float:
    from queue import Queue

    return in_green_threads(Queue(1), options.count)


def gevent(options: Options) -> float:
    from gevent import joinall, spawn
    from gevent.queue import Queue

    began = process_time_ns()
    joinall([spawn(fn) for fn in get_and_put(Queue(1), options.count)])
    return (process_time_ns() - began) / options.count


async def tasks(options: Options) -> float:
    from asyncio import Queue, create_task

    queue: Queue[int] = Queue(1)

    async def put_all() -> None:
        for number in range(options.count):
            await queue.put(number)

    began = process_time_ns()
    putter = create_task(put_all())
    for _ in range(options.count):
        await queue.get()
    await putter
    return (process_time_ns() - began) / options.count


def asyncio(options: Options) -> float:
    from asyncio import run

    return run(tasks(options))


def uvloop(options: Options) -> float:
    from uvloop import run

    return run(tasks(options))


def trio(options: Options) -> float:
    return through_trio(1, options.count)


def runloom(options: Options) -> float:
    return through_runloom(1, options.count)


def go(options: Options) -> float:
    return go_peer("channel", 1, 20 * options.count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="items per round")
    contenders = [weft, standard, gevent, asyncio, uvloop, trio, runloom, go]
    run(Benchmark("queue_one", "ns", contenders, rounds=9, warm_up=1), parser)
