"""os.system: libc forks, blocks signals and waits, all within one call."""

import os

NAME = "os.system"
JOBS = 30


def job(i: int) -> None:
    assert os.waitstatus_to_exitcode(os.system(f"sleep 0.2; exit {i}")) == i
