"""Does a client keep its heartbeat while something else computes?  The worst gap, in ms.

A client of a small server on the loopback, as of a database: one green thread sends a heartbeat
every 10 ms and waits for the answer; the server would drop it after 250 ms of silence.  Beside it,
in the same OS thread, another computes for a second without a pause.  The number is the longest
time between two answers.  The server is a process of its own.

weft and gevent run the same code, `beat` below, with `socket` and `time.sleep`.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

from harness import Benchmark, run, unpin

if TYPE_CHECKING:
    from collections.abc import Callable

SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
while message := connection.recv(64):
    connection.sendall(message)
"""

BEAT_SECONDS = 0.01


class Options(argparse.Namespace):
    seconds: float


def compute(seconds: float) -> None:
    end = monotonic() + seconds
    while monotonic() < end:
        pass


def beat(port: int, seconds: float) -> float:
    from time import sleep  # gevent's, once it has patched

    end = monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port)) as connection:
        worst, last = 0.0, monotonic()
        while last < end:
            connection.sendall(b"beat")
            connection.recv(64)
            now = monotonic()
            worst, last = max(worst, now - last), now
            sleep(BEAT_SECONDS)
    return worst


def worst_gap(spawn: Callable[..., Any], value_of: Callable[[Any], Any], options: Options) -> float:
    unpin()  # the server has work to do meanwhile
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        # The heart is beating when the computing begins, and beats on when that is over.
        heart = spawn(beat, port, options.seconds + 0.5)
        hog = spawn(lambda: (sleep_a_little(), compute(options.seconds)))
        value_of(hog)
        return 1000 * float(value_of(heart))


def sleep_a_little() -> None:
    from time import sleep

    sleep(0.2)


def weft(options: Options) -> float:
    from weft import spawn

    return worst_gap(spawn, lambda thread: thread.result(), options)


def gevent(options: Options) -> float:
    from gevent import monkey, spawn

    monkey.patch_all()
    return worst_gap(spawn, lambda greenlet: greenlet.get(), options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long something computes")
    run(Benchmark("heartbeat", "ms", [weft, gevent]), parser)
