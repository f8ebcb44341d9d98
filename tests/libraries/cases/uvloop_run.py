"""uvloop in every thread at once: a loop of libuv's in each, with timers and sockets."""

import asyncio

import uvloop
from echo_loop import conversation

NAME = "uvloop in each"
PACKAGES = ("uvloop",)
FOREIGN_THREADS = 4  # libuv's pool, for names


def job(i: int) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(conversation(i))
