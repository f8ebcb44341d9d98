"""psycopg 3 with its C implementation: it waits in Python's select, not in libpq."""

import os

import psycopg

NAME = "psycopg 3"
PACKAGES = ("psycopg[binary]",)
SERVERS = ("postgresql",)


def job(i: int) -> None:
    with psycopg.connect(
        user="weft",
        dbname="postgres",
        host=os.environ["POSTGRESQL_FOLDER"],
        port=os.environ["POSTGRESQL_PORT"],
    ) as connection:
        query = "SELECT pg_sleep(0.2), %s::int, repeat('x', %s)"
        row = connection.execute(query, (i, 1000 + i)).fetchone()
    assert row is not None
    assert row[1:] == (i, "x" * (1000 + i))
