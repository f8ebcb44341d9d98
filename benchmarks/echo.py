"""What does a TCP message cost a server?  us of the server's CPU per 64-byte echo.

100 connections, each with one message under way.  The server has CPU 0; the client is a small C
program (echo_client.c, compiled when needed) that has CPU 1, checks every echo, and reads the
server's CPU clock when the first counted message leaves and when the last one is back.

weft, gevent and threads run the same plain blocking `socket` code, `serve` below.  uvloop and
asyncio run a `Protocol`, the fastest they have.  c_epoll is a bare epoll loop in C
(echo_server.c): the floor.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
from typing import TYPE_CHECKING, Any, cast

from harness import Benchmark, compiled, run

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, BaseTransport, Transport
    from collections.abc import Callable

CLIENT_CPU = 1
BUFFER = 4096


class Options(argparse.Namespace):
    connections: int
    size: int
    messages: int
    warm_up: int


def start_client(port: int, server_pid: int, options: Options) -> subprocess.Popen[str]:
    # We are pinned to CPU 0 ourselves, so the client's CPU is looked for on the machine.
    cpu = CLIENT_CPU if (os.cpu_count() or 1) > CLIENT_CPU else -1
    round_trips = options.messages // options.connections
    sizes = [options.connections, options.size, options.warm_up, round_trips, cpu]
    command = [str(compiled("echo_client")), *map(str, [port, server_pid, *sizes])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def client_result(client: subprocess.Popen[str]) -> float:
    output, _ = client.communicate()
    if client.returncode != 0:
        raise RuntimeError(f"echo_client: exit status {client.returncode}")
    result = json.loads(output)
    return float(result["server_ns"] / result["messages"] / 1000)


def listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=1024)


# --- plain blocking socket code: weft, gevent, threads --------------------------------------------


def echo(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        while data := connection.recv(BUFFER):
            connection.sendall(data)


def serve(spawn: Callable[..., Any], options: Options) -> float:
    """Accepts all the connections and serves each until the client hangs up."""
    with listen() as listener:
        client = start_client(listener.getsockname()[1], os.getpid(), options)
        servers = []
        for _ in range(options.connections):
            connection, _ = listener.accept()
            servers.append(spawn(echo, connection))
        for server in servers:
            server.join()
    return client_result(client)


def weft(options: Options) -> float:
    from weft import spawn

    return serve(spawn, options)


def gevent(options: Options) -> float:
    from gevent import monkey, spawn

    monkey.patch_all()
    return serve(spawn, options)


def threads(options: Options) -> float:
    from threading import Thread

    def spawn(function: Callable[..., None], *args: object) -> Thread:
        thread = Thread(target=function, args=args)
        thread.start()
        return thread

    return serve(spawn, options)


def runloom(options: Options) -> float:
    from runloom import fiber, monkey, run

    class Fiber:
        """`run` waits for all of them, so there is nothing to join."""

        def __init__(self, function: Callable[..., None], *args: object) -> None:
            fiber(lambda: function(*args))

        def join(self) -> None:
            pass

    def main() -> None:
        with listen() as listener:
            clients.append(start_client(listener.getsockname()[1], os.getpid(), options))
            for _ in range(options.connections):
                connection, _ = listener.accept()
                Fiber(echo, connection)

    clients: list[subprocess.Popen[str]] = []
    monkey.patch()
    run(1, main)
    return client_result(clients[0])


# --- event loops: uvloop, asyncio -----------------------------------------------------------------


def serve_protocol(loop: AbstractEventLoop, options: Options) -> float:
    from asyncio import Protocol

    lost = 0
    done = loop.create_future()

    class Echo(Protocol):
        transport: Transport

        def connection_made(self, transport: BaseTransport) -> None:
            self.transport = cast("Transport", transport)  # uvloop's is one, but does not say so

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

        def connection_lost(self, exc: Exception | None) -> None:
            nonlocal lost
            lost += 1
            if lost == options.connections:
                done.set_result(None)

    async def main() -> float:
        listener = listen()
        server = await loop.create_server(Echo, sock=listener)
        client = start_client(listener.getsockname()[1], os.getpid(), options)
        await done
        server.close()
        return client_result(client)

    return loop.run_until_complete(main())


def uvloop(options: Options) -> float:
    from uvloop import new_event_loop

    return serve_protocol(new_event_loop(), options)


def asyncio(options: Options) -> float:
    from asyncio import new_event_loop

    return serve_protocol(new_event_loop(), options)


# --- the floor ------------------------------------------------------------------------------------


def c_epoll(options: Options) -> float:
    command = [str(compiled("echo_server")), str(options.connections)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        return client_result(start_client(port, server.pid, options))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--size", type=int, default=64, help="bytes per message")
    parser.add_argument(
        "--messages", type=int, default=300_000, help="counted, over all connections"
    )
    parser.add_argument(
        "--warm-up", type=int, default=200, help="round trips per connection before"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    contenders = [weft, uvloop, gevent, threads, asyncio, runloom, c_epoll]
    run(Benchmark("echo", "us", contenders), parser)
