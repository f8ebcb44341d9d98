"""Advisory locks in PostgreSQL, which everybody wants at once: jobs wait for each other in C.

Each connection asks for the lock, and holds it for a while; a counter that is read and written
under it must not lose a step.  A job whose turn it is runs on while all others are parked in libpq.
"""

import os

import psycopg2

NAME = "psycopg2, advisory lock contended"
PACKAGES = ("psycopg2-binary",)
SERVERS = ("postgresql",)
JOBS = 20
SECONDS = 0.02
SPEEDUP = 0  # one at a time, whoever asks

counter = 0


def job(i: int) -> None:
    global counter
    connection = psycopg2.connect(
        user="weft",
        dbname="postgres",
        host=os.environ["POSTGRESQL_FOLDER"],
        port=os.environ["POSTGRESQL_PORT"],
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (os.getpid(),))
        seen = counter
        cursor.execute("SELECT pg_sleep(0.02)")
        assert counter == seen, "somebody else held the lock too"
        counter = seen + 1
        cursor.execute("SELECT pg_advisory_unlock(%s)", (os.getpid(),))
        assert cursor.fetchone() == (True,)
    connection.close()
