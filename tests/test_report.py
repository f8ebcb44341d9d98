"""The figures of `weft run --report`; test_cli.py has them together with the command."""

import subprocess
import sys

from weft.report import Report, _peak_memory_bytes

REPORT = Report(
    mode="weft",
    threads_started=12345,
    peak_alive=678,
    switches=9,
    os_threads=1,
    peak_memory_bytes=3 * 2**20,
    wall_seconds=1.5,
    cpu_seconds=0.25,
)


def test_text():
    assert REPORT.text() == (
        "weft: green threads started 12,345\n"
        "weft: most alive at once    678\n"
        "weft: switches              9\n"
        "weft: OS threads used       1\n"
        "weft: peak memory           3.0 MiB\n"
        "weft: wall time             1.500 s\n"
        "weft: CPU time              0.250 s\n"
    )


def test_peak_memory_follows_this_process():
    size = 64 * 2**20
    block = b"x" * size
    assert _peak_memory_bytes() > size
    del block
    assert _peak_memory_bytes() > size


def test_peak_memory_is_not_that_of_whoever_started_the_process():
    child = "from weft.report import _peak_memory_bytes; print(_peak_memory_bytes())"
    starter = (
        "import subprocess, sys\n"
        "block = b'x' * (200 * 2**20)\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", starter], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(result.stdout) < 100 * 2**20
