"""A server that resets the connection instead of answering.

Jobs work in pairs: the even one is the server, the odd one talks to it through redis-py.  Every
other pair's server resets, and its client must get redis-py's own exception; the others get their
answer.
"""

import queue
import socket
import struct
import threading

import redis

NAME = "fault: connection reset"
PACKAGES = ("redis",)
MODES = ("green", "threads")  # a client needs its server

ports: "dict[int, queue.SimpleQueue[int]]" = {}
ports_lock = threading.Lock()


def job(i: int) -> None:
    pair = i // 2
    with ports_lock:
        port = ports.setdefault(pair, queue.SimpleQueue())
    if i % 2 == 0:
        serve(port, resets=pair % 2 == 0)
    else:
        ask(port.get(), resets=pair % 2 == 0)


def serve(port: "queue.SimpleQueue[int]", *, resets: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port.put(listener.getsockname()[1])
        connection, _ = listener.accept()
    with connection:
        assert connection.recv(1000).endswith(b"PING\r\n")
        if resets:  # closing with a linger time of zero does that
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            connection.sendall(b"+PONG\r\n")


def ask(port: int, *, resets: bool) -> None:
    # No greeting, no second try: the first thing said is PING.
    client = redis.Redis(host="127.0.0.1", port=port, protocol=2, driver_info=None, retry=None)
    try:
        assert client.ping()
        assert not resets
    except redis.ConnectionError as error:
        assert resets
        assert "Connection reset by peer" in str(error)
    finally:
        client.close()
