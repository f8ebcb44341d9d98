"""Pages compressed by threads that share an OS thread, or not: wall seconds, for a fixed number.

Four threads compress pages of 2 MB with zlib, which lets go of the GIL.  Green threads
of one OS thread do it one after the other, unless the policy "offload" has the compressing go on on
other OS threads; plain OS threads use all processors there are.
"""

from __future__ import annotations

import argparse
import random
import threading
import zlib
from time import perf_counter
from typing import TYPE_CHECKING

from harness import Benchmark, run, unpin

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 4


class Options(argparse.Namespace):
    pages: int


def compress(page: bytes, count: int) -> None:
    for _ in range(count):
        zlib.compress(page, 6)


def timed(start: Callable[[bytes, int], Callable[[], object]], options: Options) -> float:
    unpin()
    page = random.Random(1).randbytes(1 << 20) + bytes(1 << 20)
    share = options.pages // THREADS
    began = perf_counter()
    waits = [start(page, share) for _ in range(THREADS)]
    for wait in waits:
        wait()
    return perf_counter() - began


def green(page: bytes, share: int) -> Callable[[], object]:
    from weft import spawn

    return spawn(compress, page, share).result


def weft(options: Options) -> float:
    from weft import set_policy

    set_policy("zlib.*", "offload")
    return timed(green, options)


def weft_parking(options: Options) -> float:
    return timed(green, options)


def os_threads(options: Options) -> float:
    def start(page: bytes, share: int) -> Callable[[], object]:
        thread = threading.Thread(target=compress, args=(page, share))
        thread.start()
        return thread.join

    return timed(start, options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=40, help="compressed in all")
    run(Benchmark("compress", "s", [weft, weft_parking, os_threads]), parser)
