"""pycurl over plain HTTP: libcurl polls, and resolves names in threads of its own."""

import io
import os

import pycurl
from page import check_page

NAME = "pycurl, HTTP"
PACKAGES = ("pycurl",)
SERVERS = ("http",)


def job(i: int) -> None:
    answer = io.BytesIO()
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, f"{os.environ['HTTP_URL']}/{i}")
    curl.setopt(pycurl.WRITEDATA, answer)
    curl.perform()
    assert curl.getinfo(pycurl.RESPONSE_CODE) == 200
    curl.close()
    check_page(f"/{i}", answer.getvalue())
