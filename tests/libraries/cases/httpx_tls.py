"""httpx's blocking client over TLS, shared by all jobs."""

import os
import ssl

import httpx
from page import check_page

NAME = "httpx, HTTPS, one client"
PACKAGES = ("httpx",)
SERVERS = ("https",)

context = ssl.create_default_context(cafile=os.environ["HTTPS_CA"])


def setup() -> None:
    global client
    client = httpx.Client(verify=context, timeout=30)


def job(i: int) -> None:
    answer = client.get(f"{os.environ['HTTPS_URL']}/{i}")
    assert answer.status_code == 200
    check_page(f"/{i}", answer.content)


def teardown() -> None:
    client.close()
