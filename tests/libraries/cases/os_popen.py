"""os.popen: a pipe read to its end, then the child waited for."""

import os

NAME = "os.popen"
JOBS = 30


def job(i: int) -> None:
    with os.popen(f"sleep 0.2; echo argh {i}") as output:
        assert output.read() == f"argh {i}\n"
