"""What each job of cases/asyncio_run.py and uvloop_run.py does in an event loop of its own."""

from __future__ import annotations

import asyncio


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        await asyncio.sleep(0.1)
        writer.write(line)
        await writer.drain()
    writer.close()


async def conversation(i: int) -> None:
    """A server, a client, and two lines there and back, 0.1 s each."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for number in range(2):
            line = b"%d of %d\n" % (number, i)
            writer.write(line)
            assert await reader.readline() == line
        writer.close()
        await writer.wait_closed()
