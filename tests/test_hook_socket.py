"""Sockets block the green thread that calls and nobody else, and are otherwise as without weft."""

import array
import contextlib
import ctypes
import errno
import hashlib
import os
import random
import select
import socket
import struct
import time

import pytest
from support import (
    INSTANT_SECONDS,
    PROMPT_SECONDS,
    SYS_CLOSE,
    libc,
    results,
    run_program,
    settle,
    spawn_each,
    together,
)

import weft

BIG = 4 * 2**20  # more than any socket buffer holds


def errno_of(fn, *args):
    with pytest.raises(OSError) as caught:
        fn(*args)
    return caught.value.errno


def receive_all(sock, chunk=65536):
    pieces = []
    while piece := sock.recv(chunk):
        pieces.append(piece)
    return b"".join(pieces)


def close_unseen(fd):
    """Close a descriptor behind weft's back, as libc and other libraries can."""
    libc.syscall(SYS_CLOSE, fd)


def set_timeout(sock, option, seconds):
    micros = int(seconds * 1e6)
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", micros // 10**6, micros % 10**6))


@pytest.fixture(params=["unix", "tcp"])
def stream(request):
    """Two connected stream sockets."""
    return request.getfixturevalue({"unix": "pair", "tcp": "tcp_pair"}[request.param])


# --- Waiting to receive -------------------------------------------------------------------


def test_a_reader_parks_until_there_is_something(stream):
    left, right = stream
    reader = weft.spawn(right.recv, 10)
    settle()
    assert reader.is_alive()
    left.send(b"argh")
    assert reader.result(PROMPT_SECONDS) == b"argh"


def test_a_reader_parks_again_after_each_message(stream):
    left, right = stream

    def read_three():
        return [right.recv(100) for _ in range(3)]

    reader = weft.spawn(read_three)
    for number in range(3):
        settle()
        left.send(b"%d" % number)
        weft.sleep(0.001)
    assert reader.result(PROMPT_SECONDS) == [b"0", b"1", b"2"]


def test_main_parks_while_others_run(stream):
    left, right = stream
    writer = weft.spawn(left.send, b"argh")
    assert right.recv(10) == b"argh"
    assert writer.done()


def test_a_reader_sees_the_end(stream):
    left, right = stream
    reader = weft.spawn(right.recv, 10)
    settle()
    left.close()
    assert reader.result(PROMPT_SECONDS) == b""


def test_the_end_behind_data_is_seen(stream):
    left, right = stream
    reader = weft.spawn(receive_all, right, 4)
    settle()
    left.send(b"ar")
    left.send(b"ghargh")
    left.close()
    assert reader.result(PROMPT_SECONDS) == b"arghargh"


def test_the_end_that_comes_with_the_last_data_is_seen(stream):
    # A short read, and the end of the stream announced by the very edge that announced the data.
    left, right = stream
    left.send(b"argh")
    left.close()
    assert weft.spawn(lambda: (right.recv(100), right.recv(100))).result(PROMPT_SECONDS) == (
        b"argh",
        b"",
    )


def test_two_readers_get_one_each(stream):
    left, right = stream
    readers = [weft.spawn(right.recv, 1) for _ in range(2)]
    settle()
    left.send(b"ab")
    assert sorted(results(readers)) == [b"a", b"b"]


def test_of_two_readers_one_goes_on_waiting(stream):
    left, right = stream
    record = []
    readers = spawn_each(lambda _: record.append(right.recv(10)), range(2))
    settle()
    left.send(b"first")
    weft.sleep(0.001)
    settle()
    assert record == [b"first"]
    left.send(b"second")
    results(readers)
    assert record == [b"first", b"second"]


def test_reader_and_writer_on_one_descriptor(stream):
    left, right = stream
    data = random.Random(3).randbytes(BIG)

    def exchange(sock):
        reader = weft.spawn(sock.recv, BIG, socket.MSG_WAITALL)
        sock.sendall(data)
        return reader.result()

    assert [answer == data for answer in results(spawn_each(exchange, (left, right)))] == [True] * 2


def test_a_reset_is_an_error(tcp_pair):
    left, right = tcp_pair
    reader = weft.spawn(errno_of, right.recv, 10)
    settle()
    left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    left.close()
    assert reader.result(PROMPT_SECONDS) == errno.ECONNRESET


@pytest.mark.parametrize(
    "read", ["recv", "recv_into", "recvfrom", "recvmsg", "os.read", "os.readv"]
)
def test_all_ways_to_read_park(stream, read):
    left, right = stream
    buffer = bytearray(10)
    ways = {
        "recv": lambda: right.recv(10),
        "recv_into": lambda: bytes(buffer[: right.recv_into(buffer)]),
        "recvfrom": lambda: right.recvfrom(10)[0],
        "recvmsg": lambda: right.recvmsg(10)[0],
        "os.read": lambda: os.read(right.fileno(), 10),
        "os.readv": lambda: bytes(buffer[: os.readv(right.fileno(), [buffer])]),
    }
    reader = weft.spawn(ways[read])
    settle()
    assert reader.is_alive()
    left.send(b"argh")
    assert reader.result(PROMPT_SECONDS) == b"argh"


# --- Flags --------------------------------------------------------------------------------


def test_waitall_waits_for_all(stream):
    left, right = stream
    reader = weft.spawn(right.recv, 10, socket.MSG_WAITALL)
    for piece in (b"a", b"rg", b"h", b"argh", b"!?"):
        settle()
        assert reader.is_alive()
        left.send(piece)
        weft.sleep(0.0005)
    assert reader.result(PROMPT_SECONDS) == b"arghargh!?"


def test_waitall_ends_with_the_stream(stream):
    left, right = stream
    reader = weft.spawn(right.recv, 10, socket.MSG_WAITALL)
    settle()
    left.send(b"argh")
    left.close()
    assert reader.result(PROMPT_SECONDS) == b"argh"


def test_waitall_of_recvmsg(stream):
    left, right = stream
    reader = weft.spawn(lambda: right.recvmsg(8, 0, socket.MSG_WAITALL)[0])
    settle()
    left.send(b"argh")
    weft.sleep(0.001)
    settle()
    left.send(b"argh")
    assert reader.result(PROMPT_SECONDS) == b"arghargh"


def test_peek_leaves_the_data(stream):
    left, right = stream
    peeker = weft.spawn(right.recv, 10, socket.MSG_PEEK)
    settle()
    left.send(b"argh")
    assert peeker.result(PROMPT_SECONDS) == b"argh"
    assert weft.spawn(right.recv, 2, socket.MSG_PEEK).result(PROMPT_SECONDS) == b"ar"
    assert weft.spawn(right.recv, 10).result(PROMPT_SECONDS) == b"argh"


def test_dontwait_does_not_wait(stream, parked):
    left, right = stream
    assert errno_of(right.recv, 1, socket.MSG_DONTWAIT) == errno.EAGAIN
    with pytest.raises(BlockingIOError):
        while True:
            left.send(b"x" * 65536, socket.MSG_DONTWAIT)


def test_urgent_data_out_of_band(tcp_pair):
    left, right = tcp_pair
    left.send(b"!", socket.MSG_OOB)
    select.select([], [], [right], PROMPT_SECONDS)
    assert weft.spawn(right.recv, 1, socket.MSG_OOB).result(PROMPT_SECONDS) == b"!"


def test_a_read_that_stops_at_the_urgent_mark_is_not_the_last(tcp_pair):
    left, right = tcp_pair

    def read_both():
        return right.recv(100) + right.recv(100)

    reader = weft.spawn(read_both)
    settle()
    left.send(b"ar")
    left.send(b"!", socket.MSG_OOB)
    left.send(b"gh")
    assert reader.result(PROMPT_SECONDS) == b"argh"


def test_urgent_data_wakes_who_polls_for_it(tcp_pair):
    left, right = tcp_pair
    poller = weft.spawn(select.select, [], [], [right], PROMPT_SECONDS)
    settle()
    left.send(b"!", socket.MSG_OOB)
    assert poller.result() == ([], [], [right])


# --- Closing, shutting down, numbers used again -------------------------------------------


def test_close_wakes_the_readers(stream):
    _, right = stream
    readers = [weft.spawn(errno_of, right.recv, 10) for _ in range(2)]
    settle()
    right.close()
    assert results(readers) == [errno.EBADF] * 2


def test_close_wakes_a_writer(stream):
    left, _ = stream
    writer = weft.spawn(errno_of, left.sendall, bytes(BIG))
    settle()
    left.close()
    assert writer.result(PROMPT_SECONDS) in (errno.EBADF, errno.EPIPE)


def test_close_in_another_os_thread_wakes_the_reader():
    # The closing thread has no green threads of its own.
    program = """
left, right = socket.socketpair()
def read():
    try:
        right.recv(10)
    except OSError as error:
        return os.strerror(error.errno)
reader = weft.spawn(read)
weft.sleep(0)
closer = threading.Thread(target=right.close)
closer.start()
print(reader.result(10))
"""
    assert run_program(program, timeout=15) == (0, "Bad file descriptor\n", "")


def test_a_close_that_waits_until_all_has_arrived(tcp_pair):
    left, right = tcp_pair
    left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, int(PROMPT_SECONDS)))
    left.setblocking(False)
    sent = left.send(bytes(BIG))
    left.setblocking(True)
    closer = weft.spawn(left.close)
    settle()
    assert closer.is_alive()
    assert len(right.recv(sent, socket.MSG_WAITALL)) == sent
    assert right.recv(1) == b""
    closer.result(PROMPT_SECONDS)


def test_a_duplicate_survives_a_close(stream, closing):
    left, right = stream
    other = closing(right.dup())
    reader = weft.spawn(other.recv, 10)
    settle()
    right.close()
    left.send(b"argh")
    assert reader.result(PROMPT_SECONDS) == b"argh"


def test_shutdown_wakes_the_reader(stream):
    _, right = stream
    readers = [weft.spawn(right.recv, 10) for _ in range(2)]
    settle()
    right.shutdown(socket.SHUT_RD)
    assert results(readers) == [b"", b""]


def test_shutdown_after_a_short_read_is_seen(stream):
    left, right = stream
    left.send(b"argh")

    def read_twice():
        return right.recv(100), right.recv(100)

    reader = weft.spawn(read_twice)
    settle()
    right.shutdown(socket.SHUT_RD)
    assert reader.result(PROMPT_SECONDS) == (b"argh", b"")


def test_a_number_used_again_is_a_new_file(parked):
    for _ in range(20):
        left, right = socket.socketpair()
        reader = weft.spawn(right.recv, 1)
        settle()
        left.send(b"x")
        assert reader.result(PROMPT_SECONDS) == b"x"
        left.close()
        right.close()


def test_a_number_used_again_after_a_close_we_did_not_see(closing):
    def connection():
        with socket.create_server(("127.0.0.1", 0)) as server:
            left = closing(socket.create_connection(server.getsockname()))
            return left, server.accept()[0]

    left, right = connection()
    left.send(b"x")
    number = right.fileno()
    reader = weft.spawn(lambda: (right.recv(100), right.recv(100)))
    settle()
    left.send(b"y")
    assert reader.result(PROMPT_SECONDS) == (b"x", b"y")
    close_unseen(right.detach())
    other_left, other_right = socket.socketpair()
    closing(other_left)
    os.dup2(other_right.fileno(), number) if other_right.fileno() != number else None
    other_right.detach()
    late = closing(socket.socket(fileno=number))
    reader = weft.spawn(late.recv, 10)
    settle()
    other_left.send(b"argh")
    assert reader.result(PROMPT_SECONDS) == b"argh"


def test_what_is_remembered_of_a_blocking_file_is_forgotten_with_it(closing, tmp_path):
    """A datagram socket that waited for its peer, then its number as a non-blocking pipe."""
    address = str(tmp_path / "socket")
    receiver = closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    receiver.bind(address)
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def send_many():
        for number in range(1000):
            sender.sendto(b"%d" % number, address)

    writer = weft.spawn(send_many)
    settle()
    assert writer.is_alive()
    number = sender.fileno()
    for _ in range(1000):
        receiver.recv(10)
    writer.result(PROMPT_SECONDS)
    sender.close()
    reader_fd, writer_fd = os.pipe2(os.O_NONBLOCK)
    try:
        assert number in (reader_fd, writer_fd)
        with pytest.raises(BlockingIOError):
            weft.spawn(os.read, reader_fd, 1).result(INSTANT_SECONDS * 10)
    finally:
        os.close(writer_fd)
        os.close(reader_fd)


# --- How the user wants it to block -------------------------------------------------------


def test_non_blocking_sockets_say_so_at_once(stream, parked):
    left, right = stream
    for sock in stream:
        sock.setblocking(False)
    for read in (right.recv, right.recvfrom, right.recvmsg):
        assert errno_of(read, 1) == errno.EAGAIN
    assert errno_of(os.read, right.fileno(), 1) == errno.EAGAIN
    sent = left.send(bytes(BIG))
    assert 0 < sent < BIG
    with contextlib.suppress(BlockingIOError):
        while True:
            left.send(bytes(65536))
    assert errno_of(left.send, b"x") == errno.EAGAIN
    assert errno_of(left.sendmsg, [b"x"]) == errno.EAGAIN
    assert errno_of(os.write, left.fileno(), b"x") == errno.EAGAIN


def test_a_socket_made_non_blocking_after_it_was_waited_for(stream):
    left, right = stream
    reader = weft.spawn(right.recv, 1)
    settle()
    left.send(b"x")
    reader.result(PROMPT_SECONDS)

    def nonblocking():
        right.setblocking(False)
        return errno_of(right.recv, 1)

    assert weft.spawn(nonblocking).result(PROMPT_SECONDS) == errno.EAGAIN


@pytest.mark.parametrize("how", ["os.set_blocking", "fcntl", "ioctl"])
def test_all_ways_to_make_it_non_blocking_are_seen(stream, how):
    import fcntl
    import termios

    left, right = stream
    reader = weft.spawn(right.recv, 1)
    settle()
    left.send(b"x")
    reader.result(PROMPT_SECONDS)
    fd = right.fileno()
    ways = {
        "os.set_blocking": lambda: os.set_blocking(fd, False),
        "fcntl": lambda: fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK),
        "ioctl": lambda: fcntl.ioctl(fd, termios.FIONBIO, struct.pack("i", 1)),
    }
    ways[how]()
    assert weft.spawn(errno_of, os.read, fd, 1).result(PROMPT_SECONDS) == errno.EAGAIN


def test_timeouts_of_the_socket_module(stream, parked):
    left, right = stream
    right.settimeout(0.01)
    left.settimeout(0.01)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="timed out"):
        right.recv(1)
    with pytest.raises(TimeoutError, match="timed out"):
        left.sendall(bytes(BIG))
    assert 0.02 <= time.monotonic() - start < 2


def test_waitall_gives_what_came_within_rcvtimeo(stream):
    left, right = stream
    set_timeout(right, socket.SO_RCVTIMEO, 0.01)
    left.send(b"argh")
    assert weft.spawn(right.recv, 10, socket.MSG_WAITALL).result(PROMPT_SECONDS) == b"argh"
    late = weft.spawn(errno_of, right.recv, 10, socket.MSG_WAITALL)
    assert late.result(PROMPT_SECONDS) == errno.EAGAIN
    left.send(b"argh")
    message = weft.spawn(right.recvmsg, 10, 0, socket.MSG_WAITALL)
    assert message.result(PROMPT_SECONDS)[0] == b"argh"


def test_timeouts_run_side_by_side():
    pairs = [socket.socketpair() for _ in range(20)]

    def time_out(sockets):
        sockets[0].settimeout(0.05)
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            sockets[0].recv(1)
        return time.monotonic() - start

    assert all(0.05 <= seconds < 0.5 for seconds in results(spawn_each(time_out, pairs)))
    for sock in sum(pairs, ()):
        sock.close()


def test_data_within_the_timeout(stream):
    left, right = stream
    right.settimeout(PROMPT_SECONDS)
    reader = weft.spawn(right.recv, 10)
    settle()
    left.send(b"argh")
    assert reader.result(PROMPT_SECONDS) == b"argh"


def test_rcvtimeo(stream):
    _, right = stream
    set_timeout(right, socket.SO_RCVTIMEO, 0.01)

    def read_with(read):
        start = time.monotonic()
        number = errno_of(read)
        return number, 0.009 <= time.monotonic() - start < 2

    reads = [lambda: right.recv(1), lambda: os.read(right.fileno(), 1), lambda: right.recvmsg(1)]
    assert results(spawn_each(read_with, reads)) == [(errno.EAGAIN, True)] * 3


def test_rcvtimeo_set_after_it_was_waited_for(stream):
    left, right = stream
    reader = weft.spawn(right.recv, 1)
    settle()
    left.send(b"x")
    reader.result(PROMPT_SECONDS)
    set_timeout(right, socket.SO_RCVTIMEO, 0.005)
    assert weft.spawn(errno_of, right.recv, 1).result(PROMPT_SECONDS) == errno.EAGAIN


def test_sndtimeo_gives_what_was_sent(stream):
    left, _ = stream
    set_timeout(left, socket.SO_SNDTIMEO, 0.01)
    sent = weft.spawn(left.send, bytes(BIG)).result(PROMPT_SECONDS)
    assert 0 < sent < BIG

    def send_until_full():
        while True:
            left.send(bytes(BIG))  # the kernel may have found more room meanwhile

    assert weft.spawn(errno_of, send_until_full).result(PROMPT_SECONDS) == errno.EAGAIN


# --- Sending ------------------------------------------------------------------------------


@pytest.mark.parametrize("write", ["send", "sendmsg", "os.write", "os.writev"])
def test_a_big_send_is_whole(stream, write):
    left, right = stream
    data = random.Random(5).randbytes(BIG)
    third = BIG // 3
    pieces = [data[:third], data[third:third], data[third : 2 * third], data[2 * third :]]
    ways = {
        "send": lambda: left.send(data),
        "sendmsg": lambda: left.sendmsg(pieces),
        "os.write": lambda: os.write(left.fileno(), data),
        "os.writev": lambda: os.writev(left.fileno(), pieces),
    }

    def send():
        sent = ways[write]()
        left.close()
        return sent

    sent, received = together(send, lambda: receive_all(right))
    assert sent == BIG
    assert received == data


def test_sendmsg_of_many_pieces(stream):
    left, right = stream
    pieces = [bytes([number % 251]) * (number % 97 * 37) for number in range(1000)]

    def send():
        sent = left.sendmsg(pieces)
        left.close()
        return sent

    sent, received = together(send, lambda: receive_all(right))
    assert sent == sum(map(len, pieces))
    assert received == b"".join(pieces)


def test_descriptors_sent_along_with_much_data_arrive_once(pair):
    left, right = pair
    reader, writer = os.pipe()
    data = random.Random(6).randbytes(BIG)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writer]))]

    def receive():
        first, ancillary, _, _ = right.recvmsg(65536, socket.CMSG_SPACE(4))
        rest = right.recv(BIG - len(first), socket.MSG_WAITALL)
        return first + rest, ancillary

    receiver = weft.spawn(receive)
    settle()
    assert weft.spawn(left.sendmsg, [data[:100], data[100:]], rights).result() == BIG
    received, ancillary = receiver.result(PROMPT_SECONDS)
    assert received == data
    assert len(ancillary) == 1
    sent_fd = array.array("i", ancillary[0][2])[0]
    os.write(sent_fd, b"argh")
    assert os.read(reader, 10) == b"argh"
    for fd in (reader, writer, sent_fd):
        os.close(fd)


def test_many_writers_on_one_socket(stream):
    left, right = stream
    writers = spawn_each(lambda byte: left.send(bytes([byte]) * 300_000), range(5))
    received = weft.spawn(right.recv, 1_500_000, socket.MSG_WAITALL)
    assert results(writers) == [300_000] * 5
    data = received.result(PROMPT_SECONDS)
    assert [data.count(byte) for byte in range(5)] == [300_000] * 5


def test_a_peer_that_goes_away(stream):
    left, right = stream

    def send():
        try:
            left.sendall(bytes(BIG))
        except OSError as error:
            return error.errno

    writer = weft.spawn(send)
    settle()
    right.close()
    assert writer.result(PROMPT_SECONDS) in (errno.EPIPE, errno.ECONNRESET)


# --- Datagrams ----------------------------------------------------------------------------


@pytest.fixture
def datagrams(closing):
    """Two connected AF_UNIX datagram sockets."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return closing(left), closing(right)


def test_datagrams_keep_their_bounds(datagrams):
    left, right = datagrams
    reader = weft.spawn(lambda: [right.recv(10) for _ in range(3)])
    settle()
    for message in (b"a", b"", b"bcd"):
        left.send(message)
    assert reader.result(PROMPT_SECONDS) == [b"a", b"", b"bcd"]


def test_a_datagram_longer_than_asked_for(datagrams):
    left, right = datagrams
    left.send(b"arghargh")
    left.send(b"next")
    assert weft.spawn(lambda: (right.recv(4), right.recv(10))).result() == (b"argh", b"next")


def test_sender_of_a_datagram_waits_for_room(datagrams):
    left, right = datagrams
    count = 1000

    def send():
        return [left.send(b"%d" % number) for number in range(count)]

    _, received = together(send, lambda: [right.recv(10) for _ in range(count)])
    assert received == [b"%d" % number for number in range(count)]


@pytest.mark.parametrize("write", ["sendmsg", "os.writev"])
def test_a_datagram_of_pieces_that_had_to_wait_is_one(datagrams, write):
    left, right = datagrams
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            left.send(b"fill", socket.MSG_DONTWAIT)
            filled += 1
    pieces = [b"ar", b"", b"gh"]
    ways = {
        "sendmsg": lambda: left.sendmsg(pieces),
        "os.writev": lambda: os.writev(left.fileno(), pieces),
    }
    writer = weft.spawn(ways[write])
    settle()
    assert writer.is_alive()
    for _ in range(filled):
        right.recv(10)
    assert writer.result(PROMPT_SECONDS) == 4
    assert right.recv(10, socket.MSG_DONTWAIT) == b"argh"


def test_udp_with_addresses(closing):
    server = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind(("127.0.0.1", 0))

    def echo():
        for _ in range(3):
            data, address = server.recvfrom(100)
            server.sendto(data.upper(), address)

    def ask(word):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(word, server.getsockname())
            data, address = client.recvfrom(100)
            return data, address == server.getsockname()

    echoer = weft.spawn(echo)
    assert results(spawn_each(ask, [b"a", b"", b"c"])) == [(b"A", True), (b"", True), (b"C", True)]
    echoer.join()


def test_udp_to_nobody_is_refused(closing):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        address = gone.getsockname()
    client = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    client.connect(address)
    client.send(b"x")
    assert weft.spawn(errno_of, client.recv, 1).result(PROMPT_SECONDS) == errno.ECONNREFUSED


class Message(ctypes.Structure):
    """A struct mmsghdr without an address or control data."""

    _fields_ = (
        ("name", ctypes.c_void_p * 2),
        ("vector", ctypes.c_void_p),
        ("vector_len", ctypes.c_size_t),
        ("control", ctypes.c_void_p * 2),
        ("flags", ctypes.c_long),
        ("len", ctypes.c_uint),
    )


def recvmmsg(sock, count, flags=0, seconds=None):
    """The messages, and what is left of the timeout."""
    bufs = [ctypes.create_string_buffer(10) for _ in range(count)]
    vectors = [(ctypes.c_void_p * 2)(ctypes.addressof(buf), 10) for buf in bufs]
    messages = (Message * count)()
    for message, vector in zip(messages, vectors, strict=True):
        message.vector, message.vector_len = ctypes.addressof(vector), 1
    timeout = None if seconds is None else (ctypes.c_long * 2)(0, int(seconds * 1e9))
    got = libc.recvmmsg(sock.fileno(), messages, count, flags, timeout)
    if got < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    texts = [bufs[n].raw[: messages[n].len] for n in range(got)]
    return texts, timeout and timeout[1] / 1e9


MSG_WAITFORONE = 0x10000


def test_recvmmsg_waits_for_all(datagrams):
    left, right = datagrams
    reader = weft.spawn(recvmmsg, right, 3)
    for message in (b"a", b"bc", b"def"):
        settle()
        assert reader.is_alive()
        left.send(message)
    assert reader.result(PROMPT_SECONDS) == ([b"a", b"bc", b"def"], None)


def test_recvmmsg_that_waits_for_one(datagrams):
    left, right = datagrams
    reader = weft.spawn(recvmmsg, right, 3, MSG_WAITFORONE)
    settle()
    assert reader.is_alive()
    left.send(b"a")
    left.send(b"b")
    assert reader.result(PROMPT_SECONDS)[0] == [b"a", b"b"]


def test_recvmmsg_looks_at_its_timeout_when_something_has_come(datagrams):
    left, right = datagrams
    reader = weft.spawn(recvmmsg, right, 3, 0, INSTANT_SECONDS)
    weft.sleep(2 * INSTANT_SECONDS)
    assert reader.is_alive()  # as in the kernel: BUGS in recvmmsg(2)
    left.send(b"a")
    assert reader.result(PROMPT_SECONDS) == ([b"a"], 0)


def test_recvmmsg_gives_what_came_within_rcvtimeo(datagrams):
    left, right = datagrams
    set_timeout(right, socket.SO_RCVTIMEO, 0.005)
    left.send(b"a")
    assert weft.spawn(recvmmsg, right, 3).result(PROMPT_SECONDS)[0] == [b"a"]
    assert weft.spawn(errno_of, recvmmsg, right, 3).result(PROMPT_SECONDS) == errno.EAGAIN


# --- Faults: an exception in that green thread only ---------------------------------------


def test_one_of_many_connections_is_reset(closing):
    server = closing(socket.create_server(("127.0.0.1", 0)))
    clients = [closing(socket.create_connection(server.getsockname())) for _ in range(10)]
    accepted = [closing(server.accept()[0]) for _ in clients]

    def read(sock):
        try:
            return sock.recv(10)
        except OSError as error:
            return error.errno

    readers = spawn_each(read, clients)
    settle()
    reset = accepted.pop(3)
    reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reset.close()
    assert readers.pop(3).result(PROMPT_SECONDS) == errno.ECONNRESET
    assert all(reader.is_alive() for reader in readers)
    for sock in accepted:
        sock.send(b"argh")
    assert results(readers) == [b"argh"] * 9


def test_a_server_that_is_killed_while_it_owes_answers():
    program = """
listener = socket.create_server(("127.0.0.1", 0))
pid = os.fork()
if pid == 0:
    held = [listener.accept()[0] for _ in range(5)]
    held[4].recv(10)
    held[4].send(b"ready")
    time.sleep(30)
clients = [socket.create_connection(listener.getsockname()) for _ in range(5)]
listener.close()
def ask(sock):
    sock.send(b"argh")
    try:
        return sock.recv(10)
    except OSError as error:
        return os.strerror(error.errno).encode()
left, right = socket.socketpair()
print(ask(clients[4]))
askers = [weft.spawn(ask, sock) for sock in clients[:4]]
bystander = weft.spawn(right.recv, 10)
weft.sleep(0.001)
os.kill(pid, signal.SIGKILL)
print({asker.result(10) for asker in askers} <= {b"", b"Connection reset by peer"})
print(bystander.is_alive(), left.send(b"argh"), bystander.result(10))
"""
    assert run_program(program) == (0, "b'ready'\nTrue\nTrue 4 b'argh'\n", "")


def test_no_more_descriptors():
    program = """
import resource
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
left, right = socket.socketpair()
weft.spawn(int).join()
def fails(call, *args):
    try:
        call(*args)
    except OSError as error:
        return os.strerror(error.errno)
bystander = weft.spawn(right.recv, 10)
weft.sleep(0.001)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 100))
calls = [(server.accept,), (socket.socket,), (os.pipe,), (os.open, "/", os.O_RDONLY), (os.dup, 0)]
print({weft.spawn(fails, *call).result(10) for call in calls})
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
print(bystander.is_alive(), left.send(b"argh"), bystander.result(10))
accepted, _ = weft.spawn(server.accept).result(10)
print(client.send(b"late"), accepted.recv(10))
"""
    output = "{'Too many open files'}\nTrue 4 b'argh'\n4 b'late'\n"
    assert run_program(program) == (0, output, "")


# --- All together -------------------------------------------------------------------------


def test_echo_of_random_data_in_random_pieces(closing):
    """Thirty clients, one server, every piece of a random size; the checksums must agree."""
    server = closing(socket.create_server(("127.0.0.1", 0), backlog=64))
    size = 100_000

    def echo(connection):
        with connection:
            while data := connection.recv(8192):
                connection.sendall(data)

    def serve(count):
        results([weft.spawn(echo, server.accept()[0]) for _ in range(count)])

    def send(sock, data, chance):
        position = 0
        while position < len(data):
            step = chance.randrange(1, 9000)
            sock.sendall(data[position : position + step])
            position += step
        sock.shutdown(socket.SHUT_WR)

    def client(seed):
        chance = random.Random(seed)
        data = chance.randbytes(size)
        with socket.create_connection(server.getsockname()) as sock:
            sender = weft.spawn(send, sock, data, chance)
            received = receive_all(sock, chance.randrange(1, 20000))
            sender.result()
        return hashlib.sha256(received).digest() == hashlib.sha256(data).digest()

    server_thread = weft.spawn(serve, 30)
    assert all(results(spawn_each(client, range(30))))
    server_thread.result(PROMPT_SECONDS)
