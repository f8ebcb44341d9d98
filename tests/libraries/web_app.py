"""The application behind the web servers that are tested: page.py's pages, 50 ms each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from page import page

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

DELAY_SECONDS = 0.05


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    time.sleep(DELAY_SECONDS)
    body = page(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
