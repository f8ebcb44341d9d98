"""aiohttp's client, a loop and a session in every thread; names are looked up by the executor."""

import asyncio
import os

import aiohttp
from page import check_page

NAME = "aiohttp in each, HTTP"
PACKAGES = ("aiohttp",)
SERVERS = ("http",)
THREADS_GREEN = True  # the executor's threads as well


async def fetch(i: int) -> None:
    url = os.environ["HTTP_URL"].replace("127.0.0.1", "localhost")
    async with aiohttp.ClientSession() as session, session.get(f"{url}/{i}") as answer:
        assert answer.status == 200
        check_page(f"/{i}", await answer.read())


def job(i: int) -> None:
    asyncio.run(fetch(i))
