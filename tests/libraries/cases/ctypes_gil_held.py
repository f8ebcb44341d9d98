"""A C call that blocks without releasing the GIL: OS threads then wait for each other."""

import ctypes

NAME = "ctypes, GIL held: usleep"

libc = ctypes.PyDLL(None)


def job(i: int) -> None:
    assert libc.usleep(200_000) == 0
