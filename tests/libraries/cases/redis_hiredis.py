"""redis-py with hiredis, the parser in C: it waits for a late answer, then for a long one."""

import os

import redis
from redis._parsers import _HiredisParser

NAME = "redis-py, hiredis, BLPOP and pipeline"
PACKAGES = ("redis", "hiredis")
SERVERS = ("redis",)

pool: redis.ConnectionPool


def setup() -> None:
    global pool
    pool = redis.ConnectionPool(port=int(os.environ["REDIS_PORT"]), parser_class=_HiredisParser)


def teardown() -> None:
    pool.disconnect()


def job(i: int) -> None:
    key = f"{os.getpid()}:hiredis:{i}"
    client = redis.Redis(connection_pool=pool)
    assert client.blpop(f"{key}:nothing", timeout=0.2) is None
    with client.pipeline(transaction=False) as pipeline:
        for number in range(200):
            pipeline.set(f"{key}:{number}", f"{i} {number} " * 20)
            pipeline.get(f"{key}:{number}")
            pipeline.delete(f"{key}:{number}")
        answers = pipeline.execute()
    assert answers[1::3] == [b"%d %d " % (i, number) * 20 for number in range(200)]
