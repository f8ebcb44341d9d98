"""asyncpg and psycopg2 in one program: every other thread has a loop, the rest block."""

import asyncio
import os

import asyncpg
import psycopg2

NAME = "asyncpg and psycopg2"
PACKAGES = ("asyncpg", "psycopg2-binary")
SERVERS = ("postgresql",)


async def with_asyncpg(i: int) -> tuple[object, ...]:
    connection = await asyncpg.connect(
        user="weft",
        database="postgres",
        host=os.environ["POSTGRESQL_FOLDER"],
        port=int(os.environ["POSTGRESQL_PORT"]),
    )
    try:
        query = "SELECT pg_sleep(0.2), $1::int, repeat('x', 1000 + $1::int)"
        return tuple(await connection.fetchrow(query, i))
    finally:
        await connection.close()


def with_psycopg2(i: int) -> tuple[object, ...]:
    connection = psycopg2.connect(
        user="weft",
        dbname="postgres",
        host=os.environ["POSTGRESQL_FOLDER"],
        port=os.environ["POSTGRESQL_PORT"],
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.2), %s, repeat('x', %s)", (i, 1000 + i))
        row = cursor.fetchone()
    connection.close()
    return tuple(row)


def job(i: int) -> None:
    row = with_psycopg2(i) if i % 2 else asyncio.run(with_asyncpg(i))
    assert row[1:] == (i, "x" * (1000 + i))
