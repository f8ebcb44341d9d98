"""mysqlclient on MariaDB's C library, built from source against Debian's headers."""

import os

import MySQLdb

NAME = "mysqlclient, MariaDB"
PACKAGES = ("mysqlclient",)
DEBIAN = ("libmariadb-dev",)
PIP_ENVIRONMENT = {
    "MYSQLCLIENT_CFLAGS": "-I{root}/usr/include/mariadb",
    "MYSQLCLIENT_LDFLAGS": "-L{libraries} -lmariadb -Wl,-rpath,{libraries}",
}
SERVERS = ("mariadb",)


def job(i: int) -> None:
    connection = MySQLdb.connect(unix_socket=os.environ["MARIADB_SOCKET"], user="weft")
    cursor = connection.cursor()
    cursor.execute("SELECT SLEEP(0.2), %s, REPEAT('x', %s)", (i, 1000 + i))
    assert cursor.fetchall() == ((0, i, "x" * (1000 + i)),)
    connection.close()
