"""requests over TLS, one session per job."""

import os

import requests
from page import check_page

NAME = "requests, HTTPS"
PACKAGES = ("requests",)
SERVERS = ("https",)


def job(i: int) -> None:
    with requests.Session() as session:
        url = f"{os.environ['HTTPS_URL']}/{i}"
        answer = session.get(url, timeout=30, verify=os.environ["HTTPS_CA"])
    assert answer.status_code == 200
    check_page(f"/{i}", answer.content)
