"""uvloop in every thread at once: a loop of libuv's in each, with timers and sockets."""

import asyncio

import uvloop

NAME = "uvloop in each"
PACKAGES = ("uvloop",)
FOREIGN_THREADS = 4  # libuv's pool, for names


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        await asyncio.sleep(0.1)
        writer.write(line)
        await writer.drain()
    writer.close()


async def conversation(i: int) -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for number in range(2):
            line = b"%d of %d\n" % (number, i)
            writer.write(line)
            assert await reader.readline() == line
        writer.close()
        await writer.wait_closed()


def job(i: int) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(conversation(i))
