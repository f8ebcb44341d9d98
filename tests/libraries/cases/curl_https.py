"""pycurl over TLS: the TLS library reads and writes through libcurl's own sockets."""

import io
import os

import pycurl
from page import check_page

NAME = "pycurl, HTTPS"
PACKAGES = ("pycurl",)
SERVERS = ("https",)


def job(i: int) -> None:
    answer = io.BytesIO()
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, f"{os.environ['HTTPS_URL']}/{i}")
    curl.setopt(pycurl.CAINFO, os.environ["HTTPS_CA"])
    curl.setopt(pycurl.WRITEDATA, answer)
    curl.perform()
    assert curl.getinfo(pycurl.RESPONSE_CODE) == 200
    curl.close()
    check_page(f"/{i}", answer.getvalue())
