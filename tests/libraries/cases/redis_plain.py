"""redis-py with its parser in Python: it waits for a late answer, then for a long one."""

import os

import redis
from redis._parsers import _RESP2Parser
from redis_answers import late_and_long

NAME = "redis-py, plain parser, BLPOP and pipeline"
PACKAGES = ("redis",)
SERVERS = ("redis",)

pool: redis.ConnectionPool


def setup() -> None:
    global pool
    pool = redis.ConnectionPool(port=int(os.environ["REDIS_PORT"]), parser_class=_RESP2Parser)


def teardown() -> None:
    pool.disconnect()


def job(i: int) -> None:
    late_and_long(redis.Redis(connection_pool=pool), "plain", i)
