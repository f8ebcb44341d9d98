"""What hook_idle.py and hook_ready.py share: hooked.c, and the two addresses of recv.

The address that `dlsym` gives before weft hooks libc is the plain one; afterwards it is the hook's.
"""

from __future__ import annotations

import argparse
import ctypes
import socket

from harness import compiled


class Options(argparse.Namespace):
    batches: int


def options_parser(question: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--batches", type=int, default=400, help="of 1000 calls each, per function")
    return parser


def recv_address() -> int:
    """What a library loaded now would call."""
    return ctypes.cast(ctypes.CDLL(None).recv, ctypes.c_void_p).value or 0


PLAIN = recv_address()


def added_ns(batches: int) -> float:
    """The ns that the hooked recv takes longer than the plain one, when data lie ready."""
    hooked = recv_address()
    if hooked == PLAIN:
        raise RuntimeError("recv is not hooked, so there is nothing to measure")
    measure = ctypes.CDLL(str(compiled("hooked", "-shared", "-fPIC"))).added_ns
    measure.restype = ctypes.c_double
    reader, writer = socket.socketpair()
    with reader, writer:
        addresses = ctypes.c_void_p(PLAIN), ctypes.c_void_p(hooked)
        return float(measure(*addresses, reader.fileno(), writer.fileno(), batches))
