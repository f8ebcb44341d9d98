"""What does weft cost an event loop?  us of CPU per 64-byte TCP echo of a uvloop `Protocol`.

The server and the client of echo.py.  `uvloop` is the loop alone, in a process without weft.
weft runs the same, unmodified, in a green thread; `weft_beside` with 1,000 green threads beside it
that are parked in blocking calls.  `asyncio` and `weft_asyncio` are the same with asyncio's loop.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import echo
from harness import Benchmark, run

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

BESIDE = 1000


def in_green_thread(new_loop: Callable[[], AbstractEventLoop], options: echo.Options) -> float:
    from weft import spawn

    return spawn(lambda: echo.serve_protocol(new_loop(), options)).result()


def weft(options: echo.Options) -> float:
    from uvloop import new_event_loop

    return in_green_thread(new_event_loop, options)


def weft_beside(options: echo.Options) -> float:
    from threading import Event

    from weft import spawn, yield_now

    over = Event()
    threads = [spawn(over.wait) for _ in range(BESIDE)]
    yield_now()
    result = weft(options)
    over.set()
    for thread in threads:
        thread.join()
    return result


def weft_asyncio(options: echo.Options) -> float:
    from asyncio import new_event_loop

    return in_green_thread(new_event_loop, options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    echo.add_options(parser)
    contenders = [weft, weft_beside, echo.uvloop, weft_asyncio, echo.asyncio]
    run(Benchmark("echo_loop", "us", contenders), parser)
