"""A request handler that asks a database the blocking way and another server the asynchronous way.

The engine is SQLAlchemy's synchronous one, shared by all requests; so is aiohttp's session, which
lives on the loop that green threads share (`weft.aio`).
"""

import os
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import sqlalchemy
from page import check_page

NAME = "SQLAlchemy and aiohttp in a handler"
PACKAGES = ("sqlalchemy", "psycopg2-binary", "aiohttp")
SERVERS = ("postgresql", "http")
THREADS_GREEN = True

engine: sqlalchemy.Engine
session: aiohttp.ClientSession
server: ThreadingHTTPServer


async def open_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


async def fetch(i: int) -> bytes:
    async with session.get(f"{os.environ['HTTP_URL']}/{i}") as answer:
        assert answer.status == 200
        return await answer.read()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        i = int(self.path[1:])
        query = sqlalchemy.text("SELECT pg_sleep(0.1), CAST(:i AS int)")
        with engine.connect() as connection:
            assert connection.execute(query, {"i": i}).one()[1] == i
        content = aio.await_(fetch(i))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 100


def setup() -> None:
    global aio, engine, session, server
    from weft import aio  # not before the mode is chosen

    folder, port = os.environ["POSTGRESQL_FOLDER"], os.environ["POSTGRESQL_PORT"]
    engine = sqlalchemy.create_engine(
        f"postgresql+psycopg2://weft@/postgres?host={folder}&port={port}",
        pool_size=60,
    )
    session = aio.await_(open_session())
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()


def teardown() -> None:
    server.shutdown()
    server.server_close()
    aio.await_(session.close())
    aio.close()
    engine.dispose()


def job(i: int) -> None:
    address = "http://{}:{}".format(*server.server_address)
    with urllib.request.urlopen(f"{address}/{i}", timeout=30) as answer:
        check_page(f"/{i}", answer.read())
