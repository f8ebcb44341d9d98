"""grpcio called in OS threads, from green threads that wait for them: what we advise."""

import os
from concurrent.futures import ThreadPoolExecutor

import grpc
from page import check_page

NAME = "grpcio, on OS threads"
PACKAGES = ("grpcio",)
SERVERS = ("grpc",)
JOBS = 20
FOREIGN_THREADS = 50  # the 20 of the pool, and those gRPC makes for itself
SOAK = False  # weft.install would make its pool green

channel = grpc.insecure_channel(os.environ["GRPC_ADDRESS"])
get = channel.unary_unary("/Pages/Get")
pool = ThreadPoolExecutor(JOBS)


def job(i: int) -> None:
    check_page(f"/{i}", pool.submit(get, f"/{i}".encode(), timeout=30).result())
