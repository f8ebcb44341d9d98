"""PostgreSQL queries that are cancelled while they run, at every stage of a connection's life.

libpq tries again when its poll is interrupted, so it gets a hard error the next time.  Whatever psycopg2 makes of that,
the connection must say that it is closed, or work: it must never hang, nor give one query another's answer.
"""

import os

import psycopg2
import weft

NAME = "psycopg2, cancelled"
PACKAGES = ("psycopg2-binary",)
SERVERS = ("postgresql",)
MODES = ("green",)  # OS threads cannot be cancelled

MOST_SECONDS = 10  # for what must not hang

ROWS = "SELECT repeat('x', 1000), pg_sleep(0.001) FROM generate_series(1, 50)"


def connect() -> "psycopg2.extensions.connection":
    return psycopg2.connect(
        user="weft",
        dbname="postgres",
        host=os.environ["POSTGRESQL_FOLDER"],
        port=os.environ["POSTGRESQL_PORT"],
    )


def job(i: int) -> None:
    cancelled_while_connecting(i * 0.0002)
    broken = usable = 0
    for query in ("SELECT pg_sleep(60)", ROWS, "SELECT 1", "COMMIT"):
        if cancelled_in(query, i * 0.001):
            usable += 1
        else:
            broken += 1
    cancelled_as_a_whole()
    assert broken + usable == 4


def cancelled_while_connecting(seconds: float) -> None:
    with weft.move_on_after(seconds):
        connect().close()


def cancelled_in(query: str, seconds: float) -> bool:
    """Is the connection usable after the query was cancelled, if it was?"""
    with weft.timeout(MOST_SECONDS):
        connection = connect()
        with connection.cursor() as cursor:
            with weft.move_on_after(seconds) as scope:
                cursor.execute(query)
                cursor.fetchall() if cursor.description else None
            assert scope.cancelled_caught or query != "SELECT pg_sleep(60)"
        return check(connection)


def check(connection) -> bool:
    usable = not connection.closed
    if usable:
        try:
            connection.rollback()
            with connection.cursor() as cursor:
                cursor.execute("SELECT 42")
                assert cursor.fetchone() == (42,)
        except psycopg2.Error:
            usable = False
            assert connection.closed, "it failed and does not say that it is broken"
    connection.close()
    return usable


def cancelled_as_a_whole() -> None:
    """A green thread whose `finally` talks to the database once more."""

    def run() -> None:
        connection = connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(60)")
        finally:
            cleaned_up.append(check(connection))

    cleaned_up: list[bool] = []
    thread = weft.spawn(run)
    weft.sleep(0.05)
    thread.cancel()
    thread.join(MOST_SECONDS)
    assert thread.done()
    assert thread.cancelled()
    assert len(cleaned_up) == 1
