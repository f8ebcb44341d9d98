"""A MariaDB connection killed in the middle of a query: one job in ten is its victim."""

import os
import queue

import MySQLdb

NAME = "fault: MariaDB connection killed"
PACKAGES = ("mysqlclient",)
DEBIAN = ("libmariadb-dev",)
PIP_ENVIRONMENT = {
    "MYSQLCLIENT_CFLAGS": "-I{root}/usr/include/mariadb",
    "MYSQLCLIENT_LDFLAGS": "-L{libraries} -lmariadb -Wl,-rpath,{libraries}",
}
SERVERS = ("mariadb",)
MODES = ("green", "threads")  # a victim needs its murderer

CR_SERVER_LOST = 2013

victims: "queue.SimpleQueue[int]" = queue.SimpleQueue()


def job(i: int) -> None:
    connection = MySQLdb.connect(unix_socket=os.environ["MARIADB_SOCKET"], user="weft")
    cursor = connection.cursor()
    match i % 10:
        case 0:
            be_killed(connection, cursor)
        case 1:
            kill(cursor)
        case _:
            cursor.execute("SELECT SLEEP(0.2), %s", (i,))
            assert cursor.fetchall() == ((0, i),)
    connection.close()


def be_killed(connection, cursor) -> None:
    victims.put(connection.thread_id())
    try:
        cursor.execute("SELECT SLEEP(60)")
    except MySQLdb.OperationalError as error:
        assert error.args[0] == CR_SERVER_LOST, error
        return
    raise AssertionError("the query was not interrupted")


def kill(cursor) -> None:
    """Once the victim is in its query."""
    victim = victims.get()
    state = None
    while state != "User sleep":
        cursor.execute("SELECT state FROM information_schema.processlist WHERE id = %s", (victim,))
        ((state,),) = cursor.fetchall()
    cursor.execute("KILL CONNECTION %s", (victim,))
