"""redis-py with hiredis, the parser in C: it waits for a late answer, then for a long one."""

import os

import redis
from redis._parsers import _HiredisParser
from redis_answers import late_and_long

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
    late_and_long(redis.Redis(connection_pool=pool), "hiredis", i)
