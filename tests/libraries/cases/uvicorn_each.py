"""uvicorn, a server and its client on a loop in every thread."""

import asyncio
import socket

import uvicorn
from page import check_page, page

NAME = "uvicorn in each"
PACKAGES = ("uvicorn",)


async def application(scope: dict, receive: object, send: object) -> None:
    await asyncio.sleep(0.2)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": page(scope["path"])})


async def get(address: tuple[str, int], path: str) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.partition(b"\r\n\r\n")[2]


async def serve_and_ask(i: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, lifespan="off", log_level="warning"))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        check_page(f"/{i}", await get(listener.getsockname(), f"/{i}"))
    finally:
        server.should_exit = True
        await serving


def job(i: int) -> None:
    asyncio.run(serve_and_ask(i))
