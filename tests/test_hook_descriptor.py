"""Descriptors that are closed, replaced and controlled while somebody waits for them."""

import errno
import fcntl
import os

import pytest
from support import PROMPT_SECONDS, run_program, settle

import weft


def errno_of(fn, *args):
    with pytest.raises(OSError) as caught:
        fn(*args)
    return caught.value.errno


# --- Closing many, and replacing ----------------------------------------------------------


def test_weft_survives_closing_everything():
    program = """
def work():
    left, right = socket.socketpair()
    reader = weft.spawn(right.recv, 10)
    weft.sleep(0.001)
    left.send(b"argh")
    return reader.result()
assert weft.spawn(work).result() == b"argh"
os.closerange(3, 10_000)
assert weft.spawn(work).result() == b"argh"
import ctypes
libc = ctypes.CDLL(None)
libc.closefrom(3)
assert weft.spawn(work).result() == b"argh"
libc.close_range(3, 0xffffffff, 0)
assert weft.spawn(work).result() == b"argh"
for fd in range(3, 100):
    try:
        os.close(fd)
    except OSError:
        pass
print(weft.spawn(work).result())
"""
    assert run_program(program) == (0, "b'argh'\n", "")


def test_closing_many_wakes_those_parked_on_them():
    program = """
def read(sock):
    try:
        return sock.recv(10)
    except OSError as error:
        return os.strerror(error.errno)
left, right = socket.socketpair()
reader = weft.spawn(read, right)
weft.sleep(0)
os.closerange(3, 10_000)
print(reader.result(20))
left.detach(), right.detach()
"""
    assert run_program(program) == (0, "Bad file descriptor\n", "")


@pytest.mark.parametrize("dup", [os.dup2, lambda a, b: os.dup2(a, b, inheritable=False)])
def test_dup2_over_a_descriptor_that_is_waited_for(pair, pipe, dup):
    _, right = pair
    reader, writer = pipe
    thread = weft.spawn(errno_of, right.recv, 10)
    settle()
    dup(reader, right.fileno())
    assert thread.result(PROMPT_SECONDS) == errno.EBADF
    late = weft.spawn(os.read, right.fileno(), 10)
    settle()
    assert late.is_alive()
    os.write(writer, b"argh")
    assert late.result(PROMPT_SECONDS) == b"argh"


def test_dup2_onto_itself_changes_nothing(pipe):
    reader, writer = pipe
    thread = weft.spawn(os.read, reader, 10)
    settle()
    os.dup2(reader, reader)
    settle()
    assert thread.is_alive()
    os.write(writer, b"argh")
    assert thread.result(PROMPT_SECONDS) == b"argh"


def test_weft_cannot_be_replaced_by_dup2():
    program = """
weft.spawn(int).join()
ours = [fd for fd in range(3, 50) if os.path.exists(f"/proc/self/fd/{fd}")
        and "event" in os.readlink(f"/proc/self/fd/{fd}")]
null = os.open("/dev/null", os.O_RDONLY)
for fd in ours:
    try:
        os.dup2(null, fd)
    except OSError:
        pass
left, right = socket.socketpair()
reader = weft.spawn(right.recv, 10)
weft.sleep(0.001)
left.send(b"argh")
print(len(ours), reader.result(20))
"""
    assert run_program(program, timeout=10) == (0, "2 b'argh'\n", "")


def test_descriptors_of_weft_are_not_inherited():
    program = """
weft.spawn(int).join()
for fd in os.listdir("/proc/self/fd"):
    try:
        if "event" in os.readlink(f"/proc/self/fd/{fd}"):
            print(os.get_inheritable(int(fd)))
    except FileNotFoundError:
        pass
"""
    assert run_program(program) == (0, "False\nFalse\n", "")


def test_fcntl_passes_its_arguments(pipe, parked):
    reader, _ = pipe
    copy = fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, 50)
    assert copy >= 50
    assert fcntl.fcntl(copy, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
    os.close(copy)
    assert fcntl.fcntl(reader, 1032) >= 4096  # F_GETPIPE_SZ
