"""What does it cost to hand a value to another green thread?  ns of CPU per value.

Two of them meet in a channel without room: each value is one meeting.  asyncio has no such thing.
"""

from __future__ import annotations

import argparse
from time import process_time_ns

from harness import Benchmark, go_peer, run
from values import through_runloom, through_trio


class Options(argparse.Namespace):
    count: int


def weft(options: Options) -> float:
    from weft import Channel, spawn

    channel = Channel()

    def receive() -> None:
        recv = channel.recv
        for _ in range(options.count):
            recv()

    def send() -> None:
        send = channel.send
        for number in range(options.count):
            send(number)

    began = process_time_ns()
    for thread in spawn(receive), spawn(send):
        thread.join()
    return (process_time_ns() - began) / options.count


def gevent(options: Options) -> float:
    from gevent import joinall, spawn
    from gevent.queue import Channel

    channel = Channel()

    def receive() -> None:
        get = channel.get
        for _ in range(options.count):
            get()

    def send() -> None:
        put = channel.put
        for number in range(options.count):
            put(number)

    began = process_time_ns()
    joinall([spawn(receive), spawn(send)])
    return (process_time_ns() - began) / options.count


def trio(options: Options) -> float:
    return through_trio(0, options.count)


def runloom(options: Options) -> float:
    return through_runloom(0, options.count)


def go(options: Options) -> float:
    return go_peer("channel", 0, 20 * options.count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000, help="values per round")
    contenders = [weft, gevent, trio, runloom, go]
    run(Benchmark("channel", "ns", contenders, rounds=9, warm_up=1), parser)
