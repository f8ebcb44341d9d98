"""What does a parked green thread occupy?  KB (1000 bytes) of resident memory each.

Each is parked three Python calls deep, asleep for an hour.  The number is the growth of the
process's resident set divided by their count, so it includes the object that `spawn` returned, the
timer, and the slot in the list that keeps it; it does not include page tables, which belong to the
kernel (about 0.1 KB each more for weft).

Contenders that cannot keep as many get fewer: OS threads run into the limits of the system, runloom
into vm.max_map_count.
"""

from __future__ import annotations

import argparse
import gc
import os
from typing import TYPE_CHECKING, Any

from harness import Benchmark, run

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600.0
MOST_THREADS = 5_000
MOST_FIBERS = 30_000

parked = 0


class Options(argparse.Namespace):
    count: int


def first(park: Callable[[float], Any]) -> None:
    second(park)


def second(park: Callable[[float], Any]) -> None:
    third(park)


def third(park: Callable[[float], Any]) -> None:
    global parked
    parked += 1
    park(HOUR)


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(
    spawn: Callable[..., Any],
    sleep: Callable[[float], Any],
    park: Callable[[float], Any],
    count: int,
) -> float:
    """Spawns `count` of them and sleeps until the last has parked."""
    handles: list[object] = [None] * count
    gc.collect()
    gc.freeze()
    before = resident()
    for index in range(count):
        handles[index] = spawn(first, park)
    while parked < count:
        sleep(0.001)
    sleep(0.001)
    return (resident() - before) / count / 1000


def weft(options: Options) -> float:
    from weft import sleep, spawn

    return measure(spawn, sleep, sleep, options.count)


def greenlet(options: Options) -> float:
    """greenlet cannot sleep: these switch back to the one that started them."""
    from greenlet import getcurrent
    from greenlet import greenlet as new_greenlet

    def spawn(*args: object) -> object:
        made = new_greenlet(first)
        made.switch(*args[1:])
        return made

    def back(_: float) -> None:
        main.switch()

    main = getcurrent()
    return measure(spawn, lambda _: None, back, options.count)


def gevent(options: Options) -> float:
    from gevent import sleep, spawn

    return measure(spawn, sleep, sleep, options.count)


def threads(options: Options) -> float:
    from threading import Thread
    from time import sleep

    def spawn(function: Callable[..., None], *args: object) -> Thread:
        thread = Thread(target=function, args=args, daemon=True)
        thread.start()
        return thread

    return measure(spawn, sleep, sleep, min(options.count, MOST_THREADS))


async def tasks(options: Options) -> float:
    """Three nested coroutines instead of three calls."""
    from asyncio import create_task, sleep

    async def outer() -> None:
        await middle()

    async def middle() -> None:
        await inner()

    async def inner() -> None:
        await sleep(HOUR)

    handles: list[object] = [None] * options.count
    gc.collect()
    gc.freeze()
    before = resident()
    for index in range(options.count):
        handles[index] = create_task(outer())
    await sleep(0.001)
    await sleep(0.001)
    return (resident() - before) / options.count / 1000


def asyncio(options: Options) -> float:
    from asyncio import new_event_loop

    return new_event_loop().run_until_complete(tasks(options))


def uvloop(options: Options) -> float:
    from uvloop import new_event_loop

    return new_event_loop().run_until_complete(tasks(options))


def runloom(options: Options) -> float:
    """Parked on a WaitGroup, since `run` returns only when every fiber has finished."""
    from runloom import WaitGroup, fiber, run, sleep

    def spawn(function: Callable[..., None], *args: object) -> object:
        return fiber(lambda: function(*args))

    def park(_: float) -> None:
        gate.wait()

    def main() -> None:
        gate.add(1)
        result.append(measure(spawn, sleep, park, min(options.count, MOST_FIBERS)))
        gate.done()

    gate = WaitGroup()
    result: list[float] = []
    run(1, main)
    return result[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    contenders = [weft, greenlet, gevent, threads, asyncio, uvloop, runloom]
    run(Benchmark("parked_memory", "KB", contenders, leave=True), parser)
