"""A program for the node-like loop: timers, a file, a computation and a web page at once."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from weft.models.node import Loop
from weft.models.node_calls import encrypt, http_get, read_file


class SlowPage(BaseHTTPRequestHandler):
    """Answers ``/MS`` after so many milliseconds."""

    def do_GET(self) -> None:
        time.sleep(int(self.path[1:]) / 1000)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"Hello from afar")

    def log_message(self, *_: object) -> None:
        pass


def main(unit: float = 1.0) -> None:
    """With `unit` milliseconds for each of ours."""
    loop = Loop()
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowPage)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = ("127.0.0.1", server.server_port)

    def file_read(_: BaseException | None, text: str) -> None:
        print(f"The file begins: {text.splitlines()[0]}")
        encrypt(loop, 15, lambda _, value: print(f"Encrypted: {value}"))

    def page_read(_: BaseException | None, page: str) -> None:
        print(f"The page says: {page.splitlines()[-1]}")

    def program() -> None:
        print("First call")
        loop.set_immediate(lambda: print("Immediately"))
        loop.set_timeout(0, lambda: print("Timer of 0 ms"))
        loop.set_timeout(300 * unit, lambda: print("Timer of 300 ms"))
        read_file(loop, Path(__file__), file_read)
        http_get(loop, address, f"/{int(600 * unit)}", page_read)
        loop.call_at_close(lambda: print("FINISHED"))
        print("Last call")

    loop.run(program)
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
