"""An HTTP server in a process of its own, which takes its time: page.py's pages, 0.2 s each.

    python web_server.py [CERTIFICATE]      over TLS, with this certificate and key

It says the port on standard output and serves until it is killed.  Its threads are OS threads: it
is not what is tested.
"""

from __future__ import annotations

import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from page import page

DELAY_SECONDS = 0.2


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections live on, as pools of connections like it

    def do_GET(self) -> None:
        time.sleep(DELAY_SECONDS)
        body = page(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # all clients come at once

    def __init__(self, certificate: str | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if certificate else None
        if self.tls and certificate:
            self.tls.load_cert_chain(certificate)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread: the one that accepts must not wait."""
        if self.tls:
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)
        request.close()  # wrap_socket took it over


def main() -> None:
    server = Server(sys.argv[1] if sys.argv[1:] else None)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
