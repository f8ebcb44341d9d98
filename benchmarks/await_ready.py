"""What does it cost blocking code to call a coroutine?  ns of CPU per call of one that never waits.

weft calls it from a green thread through `weft.aio.await_`, and gets its value.  asyncio's number
is one switch between two tasks, the least that it would cost to have the loop's own thread run
the coroutine; uvloop's the same on its loop.  `threadsafe` is what there is without weft: a loop in
an OS thread, and `run_coroutine_threadsafe`.
"""

from __future__ import annotations

import argparse
from time import process_time_ns

from harness import Benchmark, run
from yield_now import asyncio, uvloop


class Options(argparse.Namespace):
    count: int


async def ready(value: int) -> int:
    return value


def weft(options: Options) -> float:
    from weft import aio, spawn

    def call(count: int) -> float:
        await_ = aio.await_
        await_(ready(0))
        began = process_time_ns()
        for number in range(count):
            await_(ready(number))
        return (process_time_ns() - began) / count

    result = spawn(call, options.count).result()
    aio.close()
    return result


def threadsafe(options: Options) -> float:
    from asyncio import new_event_loop, run_coroutine_threadsafe
    from threading import Thread

    loop = new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    count = options.count // 20  # it takes that much longer
    began = process_time_ns()
    for number in range(count):
        run_coroutine_threadsafe(ready(number), loop).result()
    took = (process_time_ns() - began) / count
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    return took


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000, help="calls")
    contenders = [weft, asyncio, uvloop, threadsafe]
    run(Benchmark("await_ready", "ns", contenders, rounds=7, warm_up=1), parser)
