"""Bytes moved inside the kernel: sendfile, splice and their kin."""

import ctypes
import errno
import fcntl
import hashlib
import os
import random
import socket

import pytest
from support import PROMPT_SECONDS, libc, settle, together

import weft

BIG = 2**20 + 4321  # more than any pipe holds


def errno_of(fn, *args):
    with pytest.raises(OSError) as caught:
        fn(*args)
    return caught.value.errno


# --- sendfile -----------------------------------------------------------------------------


def test_sendfile_to_a_slow_reader(pair, tmp_path):
    left, right = pair
    data = random.Random(6).randbytes(BIG)
    (tmp_path / "file").write_bytes(data)

    def send():
        with (tmp_path / "file").open("rb") as file:
            sent = left.sendfile(file)
        left.close()
        return sent

    def receive():
        digest = hashlib.sha256()
        while piece := right.recv(10_000):
            weft.yield_now()
            digest.update(piece)
        return digest.digest()

    assert together(send, receive) == [BIG, hashlib.sha256(data).digest()]


def test_os_sendfile_moves_the_offset(pair, tmp_path, parked):
    left, right = pair
    (tmp_path / "file").write_bytes(b"arghargh")
    with (tmp_path / "file").open("rb") as file:
        assert os.sendfile(left.fileno(), file.fileno(), 2, 3) == 3
        assert os.sendfile(left.fileno(), file.fileno(), None, 2) == 2
        assert file.tell() == 2
    assert right.recv(10) == b"ghaar"


def test_sendfile_to_a_non_blocking_socket(pair, tmp_path, parked):
    left, _ = pair
    left.setblocking(False)
    (tmp_path / "file").write_bytes(bytes(BIG))
    with (tmp_path / "file").open("rb") as file:
        assert 0 < os.sendfile(left.fileno(), file.fileno(), 0, BIG) < BIG
        assert errno_of(os.sendfile, left.fileno(), file.fileno(), 0, BIG) == errno.EAGAIN


def test_more_senders_than_the_pool_has_threads(tmp_path):
    """Each waits for a reader who comes only after all of them have begun."""
    size = 2**20
    (tmp_path / "file").write_bytes(bytes(size))
    pairs = [socket.socketpair() for _ in range(50)]

    def send(left):
        with left, (tmp_path / "file").open("rb") as file:
            return os.sendfile(left.fileno(), file.fileno(), 0, size)

    senders = [weft.spawn(send, left) for left, _ in pairs]
    settle()
    for _, right in reversed(pairs):
        with right:
            assert len(right.recv(size, socket.MSG_WAITALL)) == size
    assert [sender.result(PROMPT_SECONDS) for sender in senders] == [size] * 50


# --- splice, tee, vmsplice, copy_file_range -----------------------------------------------


def test_splice_waits_for_what_comes(pipe, pair):
    reader, writer = pipe
    left, right = pair
    thread = weft.spawn(os.splice, right.fileno(), writer, 100)
    settle()
    assert thread.is_alive()
    left.send(b"argh")
    assert thread.result(PROMPT_SECONDS) == 4
    assert os.read(reader, 10) == b"argh"


def test_splice_that_shall_not_wait(pipe, pair, parked):
    reader, _ = pipe
    pair[0].setblocking(False)
    os.set_blocking(reader, False)
    assert errno_of(os.splice, reader, pair[0].fileno(), 100) == errno.EAGAIN


def test_tee_waits_for_what_comes(pipe):
    reader, writer = pipe
    other_reader, other_writer = os.pipe()
    thread = weft.spawn(libc.tee, reader, other_writer, 100, 0)
    settle()
    assert thread.is_alive()
    os.write(writer, b"argh")
    assert thread.result(PROMPT_SECONDS) == 4
    assert os.read(reader, 10) == os.read(other_reader, 10) == b"argh"
    for fd in (other_reader, other_writer):
        os.close(fd)


def test_vmsplice_waits_for_room(pipe):
    reader, writer = pipe
    full = os.write(writer, bytes(fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)))
    memory = ctypes.create_string_buffer(b"argh", 4)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(memory), 4)
    thread = weft.spawn(libc.vmsplice, writer, vector, 1, 0)
    settle()
    assert thread.is_alive()
    os.read(reader, full)
    assert thread.result(PROMPT_SECONDS) == 4
    assert os.read(reader, 10) == b"argh"


def test_copy_file_range(tmp_path, parked):
    data = random.Random(7).randbytes(BIG)
    (tmp_path / "one").write_bytes(data)
    with (tmp_path / "one").open("rb") as one, (tmp_path / "two").open("wb") as two:
        assert os.copy_file_range(one.fileno(), two.fileno(), BIG) == BIG
    assert (tmp_path / "two").read_bytes() == data
