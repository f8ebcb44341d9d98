"""psycopg2's COPY, 2 MB each way: big writes park half-way, the server being slower than we are.

Computing and copying take most of the time, so there is nothing to gain but the sleep.
"""

import io
import os

import psycopg2

NAME = "psycopg2, COPY 2 MB in and out"
PACKAGES = ("psycopg2-binary",)
SERVERS = ("postgresql",)
JOBS = 20
QUICK = 8
SPEEDUP = 1.5

BYTES = 2_000_000


def rows(i: int) -> bytes:
    """About BYTES of COPY's text format, different for every job."""
    row = b"%d\t" + b"%d:" % i * 40 + b"\n"
    return b"".join(row % number for number in range(BYTES // len(row)))


def job(i: int) -> None:
    sent, received = io.BytesIO(rows(i)), io.BytesIO()
    connection = psycopg2.connect(
        user="weft", dbname="postgres", host="127.0.0.1", port=os.environ["POSTGRESQL_PORT"]
    )
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE copied (number int PRIMARY KEY, text text)")
        cursor.copy_expert("COPY copied FROM STDIN", sent)
        cursor.execute("SELECT pg_sleep(0.2)")
        cursor.copy_expert("COPY (SELECT * FROM copied ORDER BY number) TO STDOUT", received)
    connection.close()
    assert received.getvalue() == sent.getvalue()
