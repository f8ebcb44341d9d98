"""What a program on the node-like loop calls: files, computation, the network.

Each takes a `Done`, called with an error and None, or with None and the value.  The first two
block, so they are the pool's; the last is a chain of waits for one socket, each of which goes on
where the one before had to stop.
"""

import selectors
import socket
from collections.abc import Callable
from pathlib import Path

from weft.models.node import Done, Loop

RECEIVE_BYTES = 4096


def read_file(loop: Loop, path: Path, done: Done) -> None:
    """Read a text file."""
    loop.submit(path.read_text, done)


def encrypt(loop: Loop, number: int, done: Done) -> None:
    """Compute the n-th Fibonacci number the slow way, which stands for anything that takes long."""
    loop.submit(lambda: fibonacci(number), done)


def fibonacci(number: int) -> int:
    """On purpose without a memory."""
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)  # noqa: PLR2004


def http_get(loop: Loop, address: tuple[str, int], path: str, done: Done) -> None:
    """Ask a server for `path`, and read its answer, head and body, until it hangs up."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(address)  # in progress; if it fails, sending says so
    request = f"GET {path} HTTP/1.0\r\nHost: {address[0]}\r\n\r\n".encode()
    received: list[bytes] = []

    def attempt(step: Callable[[], None]) -> Callable[[], None]:
        def attempted() -> None:
            try:
                step()
            except OSError as error:
                sock.close()
                done(error, None)

        return attempted

    def send() -> None:
        sock.sendall(request)  # shorter than any socket's buffer
        loop.wait_for(sock, selectors.EVENT_READ, attempt(receive))

    def receive() -> None:
        if data := sock.recv(RECEIVE_BYTES):
            received.append(data)
            loop.wait_for(sock, selectors.EVENT_READ, attempt(receive))
        else:
            sock.close()
            done(None, b"".join(received).decode())

    loop.wait_for(sock, selectors.EVENT_WRITE, attempt(send))
