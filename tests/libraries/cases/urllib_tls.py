"""urllib.request over TLS: the standard library's own ssl, one context for all jobs."""

import os
import ssl
import urllib.request

from page import check_page

NAME = "urllib.request, HTTPS"
SERVERS = ("https",)

context = ssl.create_default_context(cafile=os.environ["HTTPS_CA"])


def job(i: int) -> None:
    url = f"{os.environ['HTTPS_URL']}/{i}"
    with urllib.request.urlopen(url, timeout=30, context=context) as answer:
        assert answer.status == 200
        check_page(f"/{i}", answer.read())
