"""redis-py waiting for what another job pushes: pairs of jobs, over one shared connection pool.

A job pops from its own list and pushes to its partner's, 0.2 s after both are there: the odd one
waits first, the even one sends first, so a pair always comes through.
"""

import os
import time

import redis

NAME = "redis-py, BLPOP and RPUSH in pairs"
PACKAGES = ("redis",)
SERVERS = ("redis",)
MODES = ("green", "threads")  # the two of a pair need each other

client: redis.Redis


def setup() -> None:
    global client
    client = redis.Redis(port=int(os.environ["REDIS_PORT"]))


def teardown() -> None:
    client.close()


def mail_to(i: int) -> str:
    return f"{os.getpid()}:mail:{i}"


def job(i: int) -> None:
    partner = i ^ 1
    if i % 2 == 0:
        time.sleep(0.2)
        client.rpush(mail_to(partner), f"from {i}" * 1000)
        answer = client.blpop(mail_to(i), timeout=30)
    else:
        answer = client.blpop(mail_to(i), timeout=30)
        client.rpush(mail_to(partner), f"from {i}" * 1000)
    assert answer == (mail_to(i).encode(), b"from %d" % partner * 1000)
