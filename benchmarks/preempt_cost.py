"""What does preemption cost those who do not need it?  Time with the watchdog on / with it off.

A workload that switches all the time of its own accord, in three parts: two green threads that
yield to each other, two that hand an item back and forth through queues, two that echo a byte over
a socket pair.  Rounds with preemption and without take turns in one process; the number is the
median of the ratios of neighbours, of the CPU time of the whole process, watchdog included.
"""

from __future__ import annotations

import argparse
import socket
import statistics
from queue import SimpleQueue
from time import process_time, sleep

from harness import Benchmark, run


class Options(argparse.Namespace):
    count: int
    turns: int


def yield_pair(count: int) -> None:
    from weft import spawn, yield_now

    def spin() -> None:
        for _ in range(count):
            yield_now()

    for thread in [spawn(spin), spawn(spin)]:
        thread.join()


def queue_pair(count: int) -> None:
    from weft import spawn

    there: SimpleQueue[int] = SimpleQueue()
    back: SimpleQueue[int] = SimpleQueue()

    def answer() -> None:
        for _ in range(count):
            back.put(there.get())

    answerer = spawn(answer)
    for number in range(count):
        there.put(number)
        back.get()
    answerer.join()


def echo_pair(count: int) -> None:
    from weft import spawn

    left, right = socket.socketpair()

    def answer() -> None:
        for _ in range(count):
            right.send(right.recv(1))

    with left, right:
        answerer = spawn(answer)
        for _ in range(count):
            left.send(b"x")
            left.recv(1)
        answerer.join()


def round_seconds(count: int) -> float:
    began = process_time()
    yield_pair(20 * count)
    queue_pair(4 * count)
    echo_pair(count)
    return process_time() - began


def weft(options: Options) -> float:
    from weft import set_preemption

    def with_preemption(seconds: float | None) -> float:
        set_preemption(seconds)
        sleep(0.005)  # until the watchdog has started or ended, which is not what we ask
        return round_seconds(options.count)

    ratios = []
    for turn in range(options.turns + 1):
        # Who is first changes, so that neither gains by it.
        if turn % 2:
            on, off = with_preemption(0.005), with_preemption(None)
        else:
            off, on = with_preemption(None), with_preemption(0.005)
        ratios.append(on / off)
    return statistics.median(ratios[1:])  # the first is for warming up


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=4000, help="echoes in a round")
    parser.add_argument("--turns", type=int, default=30, help="rounds with, and as many without")
    run(Benchmark("preempt_cost", "x", [weft]), parser)
