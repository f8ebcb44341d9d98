"""PyMySQL, which is all Python, on MariaDB."""

import os

import pymysql

NAME = "PyMySQL, MariaDB"
PACKAGES = ("PyMySQL",)
SERVERS = ("mariadb",)


def job(i: int) -> None:
    connection = pymysql.connect(
        host="127.0.0.1", port=int(os.environ["MARIADB_PORT"]), user="weft", ssl_disabled=True
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT SLEEP(0.2), %s, REPEAT('x', %s)", (i, 1000 + i))
        assert cursor.fetchall() == ((0, i, "x" * (1000 + i)),)
    connection.close()
