"""read, write and close on pipes, terminals, files and their kin."""

import ctypes
import errno
import io
import itertools
import os
import pty
import random
import signal
import socket
import threading
import time
import tty

import pytest
from support import PROMPT_SECONDS, REFUSE, libc, results, run_program, settle, spawn_each, together

import weft

BIG = 2**20 + 4321  # more than any pipe holds


def errno_of(fn, *args):
    with pytest.raises(OSError) as caught:
        fn(*args)
    return caught.value.errno


def read_all(fd, chunk=65536):
    pieces = []
    while piece := os.read(fd, chunk):
        pieces.append(piece)
    return b"".join(pieces)


def write_and_close(fd, data):
    written = os.write(fd, data)
    os.close(fd)
    return written


# --- Pipes --------------------------------------------------------------------------------


def test_a_reader_of_a_pipe_parks(pipe):
    reader, writer = pipe
    thread = weft.spawn(os.read, reader, 10)
    settle()
    assert thread.is_alive()
    os.write(writer, b"argh")
    assert thread.result(PROMPT_SECONDS) == b"argh"


def test_a_reader_sees_the_end_of_a_pipe(pipe):
    reader, writer = pipe
    thread = weft.spawn(os.read, reader, 10)
    settle()
    os.close(writer)
    assert thread.result(PROMPT_SECONDS) == b""


def close_unseen(fd):
    """Close it in an OS thread of which weft knows nothing."""
    with weft.os_threads():
        thread = threading.Thread(target=os.close, args=(fd,))
        thread.start()
    thread.join()


def test_a_number_that_was_a_tcp_socket():
    def use_it_again():
        with socket.socket() as new:  # seen to be made, and so known
            number = new.detach()
        close_unseen(number)
        reader, writer = os.pipe()
        try:
            assert number in {reader, writer}
            return [(os.write(writer, b"argh"), os.read(reader, 10)) for _ in range(2)]
        finally:
            os.close(reader)
            os.close(writer)

    assert weft.spawn(use_it_again).result(PROMPT_SECONDS) == [(4, b"argh")] * 2


def test_a_big_write_is_whole(pipe):
    reader, writer = pipe
    data = random.Random(1).randbytes(BIG)
    written, received = together(lambda: write_and_close(writer, data), lambda: read_all(reader))
    assert written == BIG
    assert received == data


def test_a_big_writev_is_whole(pipe):
    reader, writer = pipe
    chance = random.Random(2)
    pieces = [chance.randbytes(chance.choice([0, 1, 100, 5000, 100_000])) for _ in range(40)]

    def write():
        written = os.writev(writer, pieces)
        os.close(writer)
        return written

    written, received = together(write, lambda: read_all(reader))
    assert written == sum(map(len, pieces))
    assert received == b"".join(pieces)


def test_readv_fills_one_buffer_after_another(pipe):
    reader, writer = pipe
    buffers = [bytearray(2), bytearray(10)]
    thread = weft.spawn(os.readv, reader, buffers)
    settle()
    assert thread.is_alive()
    os.write(writer, b"argh")
    assert thread.result(PROMPT_SECONDS) == 4
    assert (buffers[0], buffers[1][:2]) == (b"ar", b"gh")


def test_a_pipe_without_reader(pipe):
    reader, writer = pipe

    def fill():
        os.write(writer, bytes(BIG))
        return os.write(writer, b"x")

    thread = weft.spawn(errno_of, fill)
    settle()
    os.close(reader)
    assert thread.result(PROMPT_SECONDS) == errno.EPIPE


def test_non_blocking_pipes_say_so_at_once(pipe, parked):
    reader, writer = pipe
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    assert errno_of(os.read, reader, 1) == errno.EAGAIN
    assert errno_of(os.readv, reader, [bytearray(1)]) == errno.EAGAIN
    assert 0 < os.write(writer, bytes(BIG)) < BIG
    assert errno_of(os.write, writer, bytes(5000)) == errno.EAGAIN
    assert errno_of(os.writev, writer, [bytes(5000), b"x"]) == errno.EAGAIN


def test_close_wakes_a_parked_reader_and_a_parked_writer(pipe):
    reader, _ = pipe
    thread = weft.spawn(errno_of, os.read, reader, 10)
    settle()
    os.close(reader)
    assert thread.result(PROMPT_SECONDS) == errno.EBADF
    other_reader, other_writer = os.pipe()
    thread = weft.spawn(os.write, other_writer, bytes(BIG))
    settle()
    os.close(other_writer)
    assert 0 < thread.result(PROMPT_SECONDS) < BIG
    os.close(other_reader)


def test_wrong_descriptors(parked):
    for fd in (-1, 10**6):
        assert errno_of(os.read, fd, 1) == errno.EBADF
        assert errno_of(os.write, fd, b"x") == errno.EBADF
        assert errno_of(os.close, fd) == errno.EBADF
        assert errno_of(os.writev, fd, [b"x"]) == errno.EBADF
        assert errno_of(os.readv, fd, [bytearray(1)]) == errno.EBADF


def test_the_wrong_end_of_a_pipe(pipe, parked):
    reader, writer = pipe
    assert errno_of(os.read, writer, 1) == errno.EBADF
    assert errno_of(os.write, reader, b"x") == errno.EBADF


def test_empty_reads_and_writes_do_not_wait(pipe, parked):
    reader, writer = pipe
    assert os.read(reader, 0) == b""
    assert os.write(writer, b"") == 0
    assert os.writev(writer, [b"", b""]) == 0


# --- Other files --------------------------------------------------------------------------


def test_named_pipes(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    keep = os.open(path, os.O_RDWR)
    reader, writer = os.open(path, os.O_RDONLY), os.open(path, os.O_WRONLY)
    os.close(keep)
    data = random.Random(3).randbytes(BIG)
    first = weft.spawn(os.read, reader, 10)
    settle()
    assert first.is_alive()
    os.write(writer, b"argh")
    assert first.result(PROMPT_SECONDS) == b"argh"
    written, received = together(lambda: write_and_close(writer, data), lambda: read_all(reader))
    assert written == BIG
    assert received == data
    os.close(reader)


@pytest.fixture
def terminal():
    """The two descriptors of a pseudo-terminal that passes everything on unchanged."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    yield master, slave
    for fd in (master, slave):
        os.close(fd)


@pytest.mark.parametrize("direction", ["to the terminal", "from the terminal"])
def test_a_reader_of_a_terminal_parks(terminal, direction):
    reader, writer = terminal if direction == "from the terminal" else terminal[::-1]
    thread = weft.spawn(os.read, reader, 10)
    settle()
    assert thread.is_alive()
    os.write(writer, b"argh")
    assert thread.result(PROMPT_SECONDS) == b"argh"


@pytest.mark.parametrize("direction", ["to the terminal", "from the terminal"])
def test_a_big_write_to_a_terminal_is_whole(direction):
    # In a process of its own: a write that blocks the OS thread blocks the only reader as well.
    program = f"""
import pty, tty
master, slave = pty.openpty()
tty.setraw(slave)
reader, writer = (slave, master) if {direction!r} == "to the terminal" else (master, slave)
size = 50_000
def read():
    received = 0
    while received < size:
        received += len(os.read(reader, 1000))
    return received
reading = weft.spawn(read)
print(weft.spawn(os.write, writer, b"x" * size).result(20), reading.result(20))
"""
    assert run_program(program, timeout=10) == (0, "50000 50000\n", "")


def test_event_descriptors():
    # In a process of its own: libc's eventfd_read could block the whole OS thread.
    program = """
fd = os.eventfd(0)
readers = [weft.spawn(os.eventfd_read, fd) for _ in range(2)]
weft.sleep(0)
os.eventfd_write(fd, 3)
weft.sleep(0.001)
print(sorted(thread.is_alive() for thread in readers))
os.eventfd_write(fd, 4)
print(sorted(thread.result(20) for thread in readers))
"""
    assert run_program(program, timeout=10) == (0, "[False, True]\n[3, 4]\n", "")


def test_event_descriptors_read_as_files():
    fd = os.eventfd(0)
    reader = weft.spawn(os.read, fd, 8)
    settle()
    os.write(fd, (7).to_bytes(8, "little"))
    assert int.from_bytes(reader.result(PROMPT_SECONDS), "little") == 7
    os.close(fd)


def test_regular_files(tmp_path):
    data = random.Random(4).randbytes(BIG)
    path = tmp_path / "file"

    def copy(number):
        target = path.with_suffix(f".{number}")
        target.write_bytes(data)
        with target.open("r+b") as file:
            file.seek(BIG // 2)
            file.write(b"argh")
        return target.read_bytes() == data[: BIG // 2] + b"argh" + data[BIG // 2 + 4 :]

    assert all(results(spawn_each(copy, range(5))))


def test_a_regular_file_not_in_memory(tmp_path):
    data = random.Random(5).randbytes(BIG)
    path = tmp_path / "file"
    path.write_bytes(data)

    def read(fd):
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return os.read(fd, BIG + 1)

    with path.open("rb") as file:
        assert weft.spawn(read, file.fileno()).result() == data
        assert weft.spawn(os.read, file.fileno(), 10).result() == b""


def test_appending_to_a_file(tmp_path, parked):
    path = tmp_path / "file"
    path.write_bytes(b"ar")
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    assert os.writev(fd, [b"g", b"h"]) == 2
    assert os.write(fd, b"!") == 1
    os.close(fd)
    assert path.read_bytes() == b"argh!"


def test_devices_and_directories(parked, tmp_path):
    with (
        open("/dev/zero", "rb", buffering=0) as zero,
        open("/dev/null", "r+b", buffering=0) as null,
    ):
        assert zero.read(10) == bytes(10)
        assert null.read(10) == b""
        assert null.write(b"argh") == 4
    with open("/proc/self/stat", "rb", buffering=0) as file:
        assert file.read(100000).startswith(str(os.getpid()).encode())
    fd = os.open(tmp_path, os.O_RDONLY)
    assert errno_of(os.read, fd, 1) == errno.EISDIR
    os.close(fd)


def test_inotify(tmp_path):
    fd = libc.inotify_init1(0)
    libc.inotify_add_watch(fd, os.fsencode(tmp_path), 0x100)  # IN_CREATE
    reader = weft.spawn(os.read, fd, 4096)
    settle()
    assert reader.is_alive()
    (tmp_path / "argh").touch()
    assert b"argh" in reader.result(PROMPT_SECONDS)
    os.close(fd)


def test_timers():
    fd = libc.timerfd_create(time.CLOCK_MONOTONIC, 0)
    reader = weft.spawn(os.read, fd, 8)
    settle()
    assert reader.is_alive()
    libc.timerfd_settime(fd, 0, (ctypes.c_long * 4)(0, 0, 0, 1_000_000), None)
    assert int.from_bytes(reader.result(PROMPT_SECONDS), "little") == 1
    os.close(fd)


def test_signals_as_a_file():
    number = signal.SIGHUP
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    bits = ctypes.create_string_buffer((1 << (number - 1)).to_bytes(128, "little"), 128)
    fd = libc.signalfd(-1, bits, 0)
    reader = weft.spawn(os.read, fd, 128)
    settle()
    assert reader.is_alive()
    signal.pthread_kill(threading.main_thread().ident, number)
    assert int.from_bytes(reader.result(PROMPT_SECONDS)[:4], "little") == number
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(fd)


def test_standard_input_that_is_no_terminal():
    program = """
reader, writer = os.pipe()
os.dup2(reader, 0)
lines = weft.spawn(lambda: [sys.stdin.readline(), input()])
for line in (b"one\\n", b"two\\n"):
    weft.sleep(0.001)
    print(lines.is_alive())
    os.write(writer, line)
print(lines.result(10))
"""
    assert run_program(program) == (0, "True\nTrue\n['one\\n', 'two']\n", "")


@pytest.mark.parametrize("theft", ["rare", "certain"])
def test_a_sibling_that_is_quicker_to_read_a_named_pipe(tmp_path, theft):
    # The writer runs in the reader's OS thread: if that waits in the kernel, all wait for ever.
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    program = f"""
{REFUSE}
fd = os.open({path!r}, os.O_RDWR)
answers, answer = os.pipe()
def read():
    while True:
        os.write(answer, os.read(fd, 1))
pid = os.fork()
if pid == 0:
    read()
if {theft!r} == "certain":
    refuse(SYS_POLL, errno.ENOMEM)  # no look before the read
weft.spawn(read).daemon = True
def write():
    for number in range(300):
        os.write(fd, bytes([number % 256]))
        assert os.read(answers, 1) == bytes([number % 256])
weft.spawn(write).result(15)
os.kill(pid, signal.SIGKILL)
print("read", flush=True)
os._exit(0)
"""
    assert run_program(program) == (0, "read\n", "")


# --- Python's file objects, shared --------------------------------------------------------


def test_a_buffered_writer_shared_by_green_threads(pipe):
    """Its lock knows its owner by identity, and is held across the write that parks."""
    reader, writer = pipe
    file = io.BufferedWriter(io.FileIO(writer, "w"), 100)

    def write(letter):
        for _ in range(200):
            file.write(letter * 50)

    def write_all():
        results(spawn_each(write, [b"a", b"b", b"c"]))
        file.close()

    _, received = together(write_all, lambda: read_all(reader, 1000))
    chunks = {received[n : n + 50] for n in range(0, len(received), 50)}
    assert len(received) == 3 * 200 * 50
    assert chunks == {b"a" * 50, b"b" * 50, b"c" * 50}


def test_a_buffered_reader_shared_by_green_threads(pipe):
    reader, writer = pipe
    lines = [b"%05d\n" % number for number in range(5000)]
    file = io.BufferedReader(io.FileIO(reader, "r"), 100)

    def read_lines(_):
        return list(iter(file.readline, b""))

    readers = spawn_each(read_lines, range(3))
    settle()
    weft.spawn(write_and_close, writer, b"".join(lines)).result()
    assert sorted(itertools.chain(*results(readers))) == lines
    file.close()


def test_text_files_between_green_threads(pipe):
    reader, writer = (os.fdopen(fd, mode) for fd, mode in zip(pipe, ("r", "w"), strict=True))

    def write():
        with writer:
            for number in range(20000):
                print(number, file=writer)

    def read():
        with reader:
            return sum(int(line) for line in reader)

    assert together(write, read)[1] == sum(range(20000))


def test_sockets_and_pipes_by_the_thousand():
    left, right = socket.socketpair()
    pairs = [os.pipe() for _ in range(200)]
    readers = spawn_each(lambda pair: os.read(pair[0], 10), pairs)
    settle()
    for number, (_, writer) in enumerate(reversed(pairs)):
        os.write(writer, b"%d" % number)
    assert results(readers) == [b"%d" % number for number in reversed(range(200))]
    for fd in sum(pairs, ()):
        os.close(fd)
    left.close()
    right.close()
