"""psycopg2 over TCP, by name: the resolver is offloaded, connect and the query park."""

import os

import psycopg2

NAME = "psycopg2, TCP"
PACKAGES = ("psycopg2-binary",)
SERVERS = ("postgresql",)


def job(i: int) -> None:
    connection = psycopg2.connect(
        user="weft", dbname="postgres", host="localhost", port=os.environ["POSTGRESQL_PORT"]
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.2), %s, repeat('x', %s)", (i, 1000 + i))
        _, number, text = cursor.fetchone()
    connection.close()
    assert number == i
    assert text == "x" * (1000 + i)
