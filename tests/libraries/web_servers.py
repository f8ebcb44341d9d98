"""Servers that are Python programs of ours: HTTP, HTTPS and gRPC, each in a process of its own.

They run under the interpreter and with the packages of the cases.  Each says its port once it
listens.  As in servers.py, entering one gives what cases find it by, and leaving ends it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import debian
from debian import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent


@contextmanager
def python_server(name: str, *arguments: str) -> Iterator[int]:
    """Run one of our programs until we are done with it; its port."""
    with subprocess.Popen(
        [sys.executable, str(HERE / name), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if not said:
                raise UnavailableError(f"{name} does not start")
            yield int(said)
        finally:
            process.kill()


@contextmanager
def http() -> Iterator[dict[str, str]]:
    with python_server("web_server.py") as port:
        yield {"HTTP_URL": f"http://127.0.0.1:{port}"}


@contextmanager
def https() -> Iterator[dict[str, str]]:
    with certificate() as path, python_server("web_server.py", path) as port:
        yield {"HTTPS_URL": f"https://127.0.0.1:{port}", "HTTPS_CA": path}


@contextmanager
def certificate() -> Iterator[str]:
    """A file with a key and a certificate for 127.0.0.1, signed with that key."""
    openssl = debian.find("openssl", "openssl")
    with tempfile.TemporaryDirectory(prefix="weft-tls-") as folder:
        path = Path(folder) / "server.pem"
        debian.output_of(
            *(str(openssl), "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-newkey", "rsa:2048", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(path), "-out", str(path.with_suffix(".crt"))),
        )
        with path.open("a") as file:
            file.write(path.with_suffix(".crt").read_text())
        yield str(path)


@contextmanager
def grpc() -> Iterator[dict[str, str]]:
    if importlib.util.find_spec("grpc") is None:
        raise UnavailableError("grpcio is not installed")
    with python_server("grpc_server.py") as port:
        yield {"GRPC_ADDRESS": f"127.0.0.1:{port}"}


WEB_SERVERS: dict[str, Callable[[], contextlib.AbstractContextManager[dict[str, str]]]] = {
    "http": http,
    "https": https,
    "grpc": grpc,
}
