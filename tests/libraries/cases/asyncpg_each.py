"""asyncpg, a loop and a connection in every thread."""

import asyncio
import os

import asyncpg

NAME = "asyncpg in each"
PACKAGES = ("asyncpg",)
SERVERS = ("postgresql",)


async def ask(i: int) -> None:
    connection = await asyncpg.connect(
        user="weft",
        database="postgres",
        host=os.environ["POSTGRESQL_FOLDER"],
        port=int(os.environ["POSTGRESQL_PORT"]),
    )
    try:
        query = "SELECT pg_sleep(0.2), $1::int, repeat('x', 1000 + $1::int)"
        row = await connection.fetchrow(query, i)
    finally:
        await connection.close()
    assert tuple(row)[1:] == (i, "x" * (1000 + i))


def job(i: int) -> None:
    asyncio.run(ask(i))
