"""A gRPC server in a process of its own: one method, which answers page.py's pages after 0.2 s.

It says its port on standard output and serves until it is killed.  Without generated code: names
and pages travel as bytes.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import grpc  # type: ignore[import-untyped]
from page import page

DELAY_SECONDS = 0.2
MOST_AT_ONCE = 100


def get(request: bytes, context: grpc.ServicerContext) -> bytes:
    time.sleep(DELAY_SECONDS)
    return page(request.decode())


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(MOST_AT_ONCE))
    methods = {"Get": grpc.unary_unary_rpc_method_handler(get)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("Pages", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
