"""What does a hop cost in a ring of a thousand?  ns of CPU per hop.

One value travels from green thread to green thread, each of which waits for its neighbour's: so
many stacks do not fit the cache.  asyncio has queues of size 1 in place of channels.
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
    length: int


Pass = tuple["Callable[[], Any]", "Callable[[Any], Any]"]


def around(
    links: list[Pass], spawn: Callable[[Callable[[], None]], Any], options: Options
) -> float:
    """Each passes on what comes from its link to the next one's; the first one has begun it."""
    times = options.count // options.length

    def node(number: int) -> Callable[[], None]:
        receive, send = links[number][0], links[(number + 1) % len(links)][1]

        def pass_on() -> None:
            for _ in range(times):
                send(receive())

        return pass_on

    def begin() -> None:
        receive, send = links[0][0], links[1][1]
        for number in range(times):
            send(number)
            receive()

    for number in range(1, len(links)):
        spawn(node(number))
    began = process_time_ns()
    spawn(begin).join()
    return (process_time_ns() - began) / (times * len(links))


def weft(options: Options) -> float:
    from weft import Channel, spawn

    channels = [Channel() for _ in range(options.length)]
    return around([(channel.recv, channel.send) for channel in channels], spawn, options)


def gevent(options: Options) -> float:
    from gevent import spawn
    from gevent.queue import Channel

    channels = [Channel() for _ in range(options.length)]
    return around([(channel.get, channel.put) for channel in channels], spawn, options)


async def tasks(options: Options) -> float:
    from asyncio import Queue, create_task

    times = options.count // options.length
    queues: list[Queue[int]] = [Queue(1) for _ in range(options.length)]

    async def pass_on(number: int) -> None:
        get, put = queues[number].get, queues[(number + 1) % len(queues)].put
        for _ in range(times):
            await put(await get())

    others = [create_task(pass_on(number)) for number in range(1, len(queues))]
    began = process_time_ns()
    for number in range(times):
        await queues[1].put(number)
        await queues[0].get()
    for other in others:
        await other
    return (process_time_ns() - began) / (times * len(queues))


def asyncio(options: Options) -> float:
    from asyncio import run

    return run(tasks(options))


def uvloop(options: Options) -> float:
    from uvloop import run

    return run(tasks(options))


def trio(options: Options) -> float:
    from trio import open_memory_channel, open_nursery, run

    times = options.count // options.length

    async def main() -> float:
        links = [open_memory_channel[int](0) for _ in range(options.length)]

        async def pass_on(number: int) -> None:
            receive, send = links[number][1].receive, links[(number + 1) % len(links)][0].send
            for _ in range(times):
                await send(await receive())

        began = process_time_ns()
        async with open_nursery() as nursery:
            for number in range(1, len(links)):
                nursery.start_soon(pass_on, number)
            for number in range(times):
                await links[1][0].send(number)
                await links[0][1].receive()
        return (process_time_ns() - began) / (times * len(links))

    return run(main)


def runloom(options: Options) -> float:
    from runloom import Chan, fiber, run

    times = options.count // options.length
    channels = [Chan(0) for _ in range(options.length)]

    def pass_on(number: int) -> None:
        recv, send = channels[number].recv, channels[(number + 1) % len(channels)].send
        for _ in range(times):
            send(recv()[0])

    def main() -> None:
        for number in range(1, len(channels)):
            fiber(pass_on, number)
        for number in range(times):
            channels[1].send(number)
            channels[0].recv()

    began = process_time_ns()
    run(1, main)
    return (process_time_ns() - began) / (times * len(channels))


def go(options: Options) -> float:
    return go_peer("ring", options.length, 10 * options.count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000, help="hops per round")
    parser.add_argument("--length", type=int, default=1_000, help="green threads in the ring")
    contenders = [weft, gevent, asyncio, uvloop, trio, runloom, go]
    run(Benchmark("ring", "ns", contenders, rounds=5, warm_up=1), parser)
