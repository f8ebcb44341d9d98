"""subprocess.run: pipes to and from a child, and its exit status."""

import subprocess

NAME = "subprocess.run"
JOBS = 30


def job(i: int) -> None:
    command = ["sh", "-c", f"sleep 0.2; cat; echo of {i} >&2; exit {i}"]
    done = subprocess.run(command, input=b"argh " * i, capture_output=True, check=False)
    assert done.returncode == i
    assert done.stdout == b"argh " * i
    assert done.stderr == b"of %d\n" % i
