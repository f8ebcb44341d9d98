"""asyncio.run in every thread at once: an event loop each, with timers and sockets."""

import asyncio

from echo_loop import conversation

NAME = "asyncio.run in each"


def job(i: int) -> None:
    asyncio.run(conversation(i))
