"""PostgreSQL killed with SIGKILL while half of the jobs are in a query.

Those get psycopg2's own exception, each in its green thread; who tries to connect afterwards too;
and the other half, which has nothing to do with it, does not notice.
"""

import os
import signal
import threading
import time
from contextlib import closing

import psycopg2

NAME = "fault: PostgreSQL killed with SIGKILL"
PACKAGES = ("psycopg2-binary",)
SERVERS = ("postgresql",)
FRESH_SERVERS = True
MODES = ("green", "threads")  # somebody must be in a query when it happens
SOAK = False

connected = threading.Semaphore(0)


def job(i: int) -> None:
    if i == 0:
        kill_server()
    elif i % 2 == 0:
        time.sleep(0.2)
    else:
        be_interrupted()


def kill_server() -> None:
    """Once some are connected; most of those are in their query a moment later."""
    for _ in range(5):
        connected.acquire()
    time.sleep(0.2)
    os.kill(int(os.environ["POSTGRESQL_PID"]), signal.SIGKILL)


def be_interrupted() -> None:
    """In the query, or, on a slow machine, while connecting; and there is no second chance."""
    for query in ("SELECT pg_sleep(60)", "SELECT 1"):
        try:
            ask(query)
        except psycopg2.OperationalError:
            continue
        raise AssertionError(f"{query} was answered")


def ask(query: str) -> None:
    connection = psycopg2.connect(
        user="weft", dbname="postgres", host="127.0.0.1", port=os.environ["POSTGRESQL_PORT"]
    )
    with closing(connection), connection.cursor() as cursor:
        connected.release()
        cursor.execute(query)
