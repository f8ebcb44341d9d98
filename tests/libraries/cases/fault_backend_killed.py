"""A PostgreSQL backend that is ended in the middle of a query: one job in ten is its victim.

The victim sleeps in the server until the job after it sees that and has the backend ended; it
must get psycopg2's own exception, and the others their answers.
"""

import os
import queue

import psycopg2

NAME = "fault: PostgreSQL backend terminated"
PACKAGES = ("psycopg2-binary",)
SERVERS = ("postgresql",)
MODES = ("green", "threads")  # a victim needs its murderer

victims: "queue.SimpleQueue[int]" = queue.SimpleQueue()


def connect() -> "psycopg2.extensions.connection":
    return psycopg2.connect(
        user="weft",
        dbname="postgres",
        host=os.environ["POSTGRESQL_FOLDER"],
        port=os.environ["POSTGRESQL_PORT"],
    )


def job(i: int) -> None:
    connection = connect()
    with connection.cursor() as cursor:
        match i % 10:
            case 0:
                be_killed(connection, cursor)
            case 1:
                kill(cursor)
            case _:
                cursor.execute("SELECT pg_sleep(0.2), %s", (i,))
                assert cursor.fetchone() == ("", i)
    connection.close()


def be_killed(connection, cursor) -> None:
    victims.put(connection.info.backend_pid)
    try:
        cursor.execute("SELECT pg_sleep(60)")
    except psycopg2.OperationalError:
        assert connection.closed
        return
    raise AssertionError("the query was not interrupted")


def kill(cursor) -> None:
    pid = victims.get()
    wait_event = None
    while wait_event != "PgSleep":
        cursor.execute("SELECT wait_event FROM pg_stat_activity WHERE pid = %s", (pid,))
        (wait_event,) = cursor.fetchone()
    cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
    assert cursor.fetchone() == (True,)
