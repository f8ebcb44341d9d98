"""psycopg2 over a unix socket: libpq polls, sends and receives in C."""

import os

import psycopg2

NAME = "psycopg2, unix socket"
PACKAGES = ("psycopg2-binary",)
SERVERS = ("postgresql",)


def job(i: int) -> None:
    address = {"host": os.environ["POSTGRESQL_FOLDER"], "port": os.environ["POSTGRESQL_PORT"]}
    connection = psycopg2.connect(user="weft", dbname="postgres", **address)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.2), %s, repeat('x', %s)", (i, 1000 + i))
        _, number, text = cursor.fetchone()
    connection.close()
    assert number == i
    assert text == "x" * (1000 + i)
