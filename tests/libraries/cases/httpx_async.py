"""httpx's asynchronous client over TLS, a loop and a client in every thread."""

import asyncio
import os
import ssl

import httpx
from page import check_page

NAME = "httpx async in each, HTTPS"
PACKAGES = ("httpx",)
SERVERS = ("https",)

context = ssl.create_default_context(cafile=os.environ["HTTPS_CA"])


async def fetch(i: int) -> None:
    async with httpx.AsyncClient(verify=context, timeout=30) as client:
        answer = await client.get(f"{os.environ['HTTPS_URL']}/{i}")
    assert answer.status_code == 200
    check_page(f"/{i}", answer.content)


def job(i: int) -> None:
    asyncio.run(fetch(i))
