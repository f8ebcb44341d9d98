"""sqlite3 with writers that contend for one file: SQLite sleeps and tries again, in C.

All of them want the write lock, so they take turns, in green threads as in OS threads; what is
tested is that nobody sees "database is locked", and that no write is lost.
"""

import os
import sqlite3
import tempfile
import time
from contextlib import closing

NAME = "sqlite3, contended writers"
JOBS = 20
SECONDS = 0.02
SPEEDUP = 0  # one at a time, whoever asks

folder = tempfile.TemporaryDirectory(prefix="weft-sqlite-")
path = os.path.join(folder.name, "database")


def connect() -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(path, timeout=60, isolation_level=None))


def setup() -> None:
    with connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS counter (value int)")
        connection.execute("INSERT INTO counter VALUES (0)")


def job(i: int) -> None:
    with connect() as connection:
        connection.execute("BEGIN IMMEDIATE")
        (before,) = connection.execute("SELECT value FROM counter").fetchone()
        time.sleep(0.02)
        connection.execute("UPDATE counter SET value = ?", (before + 1,))
        connection.execute("COMMIT")
        (after,) = connection.execute("SELECT value FROM counter").fetchone()
        assert after > before
