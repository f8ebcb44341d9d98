"""Crawl the standard library over HTTP, one `threading.Thread` per page in flight.

An ordinary threaded program: the standard library alone, and not a word of weft.  In one
process it runs

- a server, `http.server.ThreadingHTTPServer`: a thread per connection, each of which first waits
  as long as a distant server's answer would take (--latency), then serves a file or a
  folder of the standard library of the Python that runs it;
- a crawler: it fetches the root, and a new thread follows each link not seen before, at most
  --threads of them at a time, until no page is left.

What it found (files, bytes, lines of Python, the biggest modules) goes to standard output; it
depends on the folder alone, not on the order in which the threads ran, and a checksum says
so.  `make run` runs this file twice, on OS threads and on weft, and compares.

    python examples/crawl.py                 on OS threads
    weft run examples/crawl.py               on green threads
"""

import argparse
import functools
import hashlib
import html.parser
import http.client
import http.server
import io
import json
import queue
import resource
import sys
import sysconfig
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

# Not served: what a compiler made, and what is not part of the standard library.
HIDDEN_FOLDERS = {"__pycache__", "site-packages", "dist-packages"}
HIDDEN_SUFFIXES = {".a", ".o", ".pyc", ".so", ".whl"}

FETCH_TIMEOUT_SECONDS = 60
PROGRESS_SECONDS = 0.1
BIGGEST = 5


# --- The server ------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """A thread per connection; room for many who knock at the same time."""

    request_queue_size = 4096


class Handler(http.server.SimpleHTTPRequestHandler):
    """Answers after `latency_seconds`, with a file or the list of a folder."""

    def __init__(self, *args: object, latency_seconds: float, directory: str) -> None:
        self.latency_seconds = latency_seconds
        super().__init__(*args, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        time.sleep(self.latency_seconds)
        super().do_GET()

    def list_directory(self, path: object) -> io.BytesIO:
        """The folder as a page of links: folders end in a slash."""
        links = [f'<li><a href="{urllib.parse.quote(name)}">{name}</a>' for name in served(path)]
        page = f"<!DOCTYPE html><title>{self.path}</title><ul>\n{''.join(links)}</ul>".encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        return io.BytesIO(page)

    def log_message(self, *args: object) -> None:
        """Keep quiet: thousands of pages are coming."""


def served(folder: object) -> Iterator[str]:
    for entry in sorted(Path(str(folder)).iterdir()):
        if entry.is_dir():
            if entry.name not in HIDDEN_FOLDERS:
                yield entry.name + "/"
        elif entry.suffix not in HIDDEN_SUFFIXES:
            yield entry.name


# --- The crawler -----------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """What a thread brings back."""

    path: str
    size: int = 0
    lines: int = 0
    links: tuple[str, ...] = ()
    failure: str | None = None

    @property
    def is_folder(self) -> bool:
        return self.path.endswith("/")


class LinkParser(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attributes if name == "href" and value]


def fetch(address: tuple[str, int], path: str) -> Page:
    connection = http.client.HTTPConnection(*address, timeout=FETCH_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != HTTPStatus.OK:
        return Page(path, failure=f"{response.status} {response.reason}")
    if path.endswith("/"):
        parser = LinkParser()
        parser.feed(body.decode())
        return Page(path, links=tuple(urllib.parse.urljoin(path, link) for link in parser.links))
    return Page(path, len(body), body.count(b"\n") if path.endswith(".py") else 0)


def crawl(address: tuple[str, int], most_threads: int, *, progress: bool) -> list[Page]:
    """Every page that can be reached from the root, in the order of their paths."""
    results: queue.SimpleQueue[Page] = queue.SimpleQueue()

    def follow(path: str) -> None:
        try:
            results.put(fetch(address, path))
        except Exception as failure:
            results.put(Page(path, failure=repr(failure)))

    pages: list[Page] = []
    seen = {"/"}
    frontier = deque(seen)
    in_flight = 0
    next_progress = 0.0
    while frontier or in_flight:
        while frontier and in_flight < most_threads:
            threading.Thread(target=follow, args=(frontier.popleft(),)).start()
            in_flight += 1
        page = results.get()
        in_flight -= 1
        pages.append(page)
        new = [link for link in page.links if link not in seen]
        seen.update(new)
        frontier.extend(new)
        if progress and (time.monotonic() >= next_progress or len(pages) == len(seen)):
            next_progress = time.monotonic() + PROGRESS_SECONDS
            print("progress", len(pages), len(seen), file=sys.stderr, flush=True)
    return sorted(pages, key=lambda page: page.path)


# --- What it found -----------------------------------------------------------------------


def summary(pages: list[Page]) -> dict[str, object]:
    files = [page for page in pages if not page.is_folder]
    modules = [page for page in files if page.path.endswith(".py")]
    biggest = sorted(modules, key=lambda page: (-page.lines, page.path))[:BIGGEST]
    listing = "".join(f"{page.path}\t{page.size}\t{page.lines}\n" for page in pages)
    return {
        "pages": len(pages),
        "folders": len(pages) - len(files),
        "files": len(files),
        "bytes": sum(page.size for page in files),
        "python_files": len(modules),
        "python_lines": sum(page.lines for page in modules),
        "biggest": [[page.path.lstrip("/"), page.lines] for page in biggest],
        "checksum": hashlib.sha256(listing.encode()).hexdigest(),
        "failures": [f"{page.path}: {page.failure}" for page in pages if page.failure],
    }


def print_summary(found: dict[str, object]) -> None:
    for name, value in found.items():
        if isinstance(value, list):
            print(f"{name}:", *(f"\n    {item}" for item in value) if value else ("none",))
        else:
            print(f"{name}: {value}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Crawl the standard library over HTTP.")
    parser.add_argument(
        "--root",
        type=Path,
        default=sysconfig.get_path("stdlib"),
        help="folder to serve (default: this Python's standard library)",
    )
    parser.add_argument("--threads", type=int, default=500, help="most pages in flight")
    parser.add_argument(
        "--latency", type=float, default=200, metavar="MS", help="of each answer, in milliseconds"
    )
    parser.add_argument("--progress", action="store_true", help="say on stderr how far it is")
    parser.add_argument("--json", action="store_true", help="print what it found as JSON")
    options = parser.parse_args()
    if options.threads < 1:
        parser.error("with fewer than one thread nothing would ever be fetched")
    return options


def raise_descriptor_limit() -> None:
    """Each page in flight takes two descriptors, one on either side."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> int:
    options = arguments()
    raise_descriptor_limit()
    handler = functools.partial(
        Handler, latency_seconds=options.latency / 1000, directory=str(options.root)
    )
    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = ("127.0.0.1", server.server_port)
        found = summary(crawl(address, options.threads, progress=options.progress))
        server.shutdown()
    if options.json:
        print(json.dumps(found))
    else:
        print_summary(found)
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
