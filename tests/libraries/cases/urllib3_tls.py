"""urllib3 over TLS: the jobs queue for the connections of one pool, half as many as they are."""

import os

import urllib3
from page import check_page

NAME = "urllib3, HTTPS, pool of 25"
PACKAGES = ("urllib3",)
SERVERS = ("https",)

CONNECTIONS = 25

pool = urllib3.PoolManager(maxsize=CONNECTIONS, block=True, ca_certs=os.environ["HTTPS_CA"])


def job(i: int) -> None:
    answer = pool.request("GET", f"{os.environ['HTTPS_URL']}/{i}", timeout=30, retries=False)
    assert answer.status == 200
    check_page(f"/{i}", answer.data)


def teardown() -> None:
    pool.clear()
