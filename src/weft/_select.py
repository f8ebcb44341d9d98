"""Cases of `weft.select` that wait for a descriptor: a call, made once it need not wait.

The core knows weft's own locks, queues and channels.  For any other case it asks here which
descriptor the call waits for, and in which direction.  Only calls are known whose readiness is the
descriptor's: a TLS socket may have data while its descriptor has none, and so may a buffered file.
"""

import os
import socket
from collections.abc import Callable

from weft import _core

READS = ("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into", "accept")
WRITES = ("send", "sendto", "sendmsg")
DESCRIPTOR_READS = (os.read, os.readv)
DESCRIPTOR_WRITES = (os.write, os.writev)


def find_descriptor(fn: Callable[..., object], args: tuple[object, ...]) -> tuple[int, bool]:
    """The descriptor that ``fn(*args)`` waits for, and whether it writes.  TypeError if unknown."""
    if fn in DESCRIPTOR_READS or fn in DESCRIPTOR_WRITES:
        fd = args[0] if args else None
        if not isinstance(fd, int):
            raise TypeError(f"a case of select() with {fn.__name__} needs a descriptor")
        return fd, fn in DESCRIPTOR_WRITES
    owner, name = getattr(fn, "__self__", None), getattr(fn, "__name__", "")
    known = isinstance(owner, socket.socket) and name in READS + WRITES
    if not known or getattr(type(owner), name) is not getattr(socket.socket, name):
        raise TypeError(
            f"not a case of select(): {fn!r}; see weft.select for what is, and receive"
            " what comes otherwise in a green thread that sends it into a channel"
        )
    return owner.fileno(), name in WRITES  # type: ignore[union-attr]


_core._set_descriptor_finder(find_descriptor)
