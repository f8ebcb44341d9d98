"""grpcio's blocking stub, by the policy for it: its calls block their OS thread, but work."""

import os

import grpc
from page import check_page

NAME = "grpcio, as it is"
PACKAGES = ("grpcio",)
SERVERS = ("grpc",)
JOBS = 20
SPEEDUP = 0  # left out of what weft hooks: one call after the other
FOREIGN_THREADS = 30  # gRPC makes them for itself
SOAK = False  # one call at a time would hold up all the others

channel = grpc.insecure_channel(os.environ["GRPC_ADDRESS"])
get = channel.unary_unary("/Pages/Get")


def job(i: int) -> None:
    check_page(f"/{i}", get(f"/{i}".encode(), timeout=30))
