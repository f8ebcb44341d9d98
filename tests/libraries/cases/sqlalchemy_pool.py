"""SQLAlchemy's synchronous engine with a pool of ten connections that fifty jobs share.

The pool's lock and condition are `threading`'s; whoever finds no connection waits in Python, the
others in libpq.  With ten connections the jobs take five turns of 0.2 s.
"""

import os

import sqlalchemy

NAME = "SQLAlchemy, psycopg2 pool of 10"
PACKAGES = ("sqlalchemy", "psycopg2-binary")
SERVERS = ("postgresql",)

engine: sqlalchemy.Engine


def setup() -> None:
    global engine
    folder, port = os.environ["POSTGRESQL_FOLDER"], os.environ["POSTGRESQL_PORT"]
    engine = sqlalchemy.create_engine(
        f"postgresql+psycopg2://weft@/postgres?host={folder}&port={port}",
        pool_size=10,
        max_overflow=0,
    )


def teardown() -> None:
    engine.dispose()


def job(i: int) -> None:
    query = sqlalchemy.text("SELECT pg_sleep(0.2), CAST(:i AS int), repeat('x', 1000 + :i)")
    with engine.connect() as connection:
        row = connection.execute(query, {"i": i}).one()
    assert row[1:] == (i, "x" * (1000 + i))
