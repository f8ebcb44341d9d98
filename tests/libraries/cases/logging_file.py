"""logging to one file from all threads: handlers' locks, and lines that must not mix."""

import logging
import tempfile
import time
from pathlib import Path

NAME = "logging to one file"
SOAK = False  # the file would grow, and every job reads it

LINES = 20

file = Path(tempfile.mkdtemp(prefix="weft-logging-")) / "log"
log = logging.getLogger("jobs")
log.setLevel(logging.INFO)


class SlowHandler(logging.FileHandler):
    """Waits with its lock held, as a slow disk would make it."""

    def emit(self, record):
        super().emit(record)
        time.sleep(0.0001)


def setup():
    handler = SlowHandler(file)
    log.addHandler(handler)


def job(i: int) -> None:
    for number in range(LINES):
        log.info("line %d of job %d", number, i)
        time.sleep(0.2 / LINES)
    mine = [line for line in file.read_text().splitlines() if line.endswith(f" of job {i}")]
    assert [int(line.split()[1]) for line in mine] == list(range(LINES))
