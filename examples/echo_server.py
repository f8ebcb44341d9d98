"""An echo server: one green thread a connection, plain blocking sockets, no callbacks.

python examples/echo_server.py [port]      then, for instance: nc localhost 7007
"""

import socket
import sys

import weft


def echo(connection: socket.socket) -> None:
    """Send back what comes, until nothing more does."""
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def serve(port: int) -> None:
    """Accept connections for ever; each is looked after by a green thread of its own."""
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        print(f"echoing on port {listener.getsockname()[1]}", flush=True)
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            weft.spawn(echo, connection).daemon = True


if __name__ == "__main__":
    try:
        serve(int(sys.argv[1]) if len(sys.argv) > 1 else 7007)
    except KeyboardInterrupt:
        print("bye")
