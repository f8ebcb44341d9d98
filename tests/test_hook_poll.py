"""Waiting for any of several descriptors: select, poll, epoll, and selectors on top of them."""

import ctypes
import errno
import itertools
import os
import select
import selectors
import signal
import socket
import threading
import time

import pytest
from support import PROMPT_SECONDS, REFUSE, libc, results, run_program, settle, spawn_each

import weft

FIVE_MS = 0.005


def by_select(sock, seconds):
    return bool(select.select([sock], [], [], seconds)[0])


def by_poll(sock, seconds):
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def by_epoll(sock, seconds):
    with select.epoll() as epoll:
        epoll.register(sock, select.EPOLLIN)
        return bool(epoll.poll(seconds))


def by_selector(kind):
    def wait(sock, seconds):
        with kind() as selector:
            selector.register(sock, selectors.EVENT_READ)
            return bool(selector.select(seconds))

    return wait


WAYS = {
    "select": by_select,
    "poll": by_poll,
    "epoll": by_epoll,
    "SelectSelector": by_selector(selectors.SelectSelector),
    "PollSelector": by_selector(selectors.PollSelector),
    "EpollSelector": by_selector(selectors.EpollSelector),
}


@pytest.fixture(params=WAYS)
def readable(request):
    """readable(sock, seconds): wait until the socket is readable, and tell whether it is."""
    return WAYS[request.param]


# --- One descriptor, all ways -------------------------------------------------------------


def test_with_timeout_zero_it_only_looks(readable, pair, parked):
    left, right = pair
    assert readable(right, 0) is False
    left.send(b"x")
    assert readable(right, 0) is True


def test_looking_lets_the_others_run(readable, pair):
    left, right = pair
    writer = weft.spawn(left.send, b"x")
    while not readable(right, 0):
        pass
    assert writer.done()


def test_it_times_out(readable, pair, parked):
    start = time.monotonic()
    assert readable(pair[0], FIVE_MS) is False
    assert FIVE_MS * 0.8 <= time.monotonic() - start < 1


def test_it_waits_while_others_run(readable, pair):
    left, right = pair
    waiter = weft.spawn(readable, right, PROMPT_SECONDS)
    settle()
    assert waiter.is_alive()
    left.send(b"x")
    assert waiter.result(PROMPT_SECONDS) is True


def test_it_waits_for_ever(readable, pair):
    left, right = pair
    waiter = weft.spawn(readable, right, None)
    settle()
    assert waiter.is_alive()
    left.send(b"x")
    assert waiter.result(PROMPT_SECONDS) is True


def test_the_end_of_a_stream_is_readable(readable, tcp_pair):
    left, right = tcp_pair
    waiter = weft.spawn(readable, right, PROMPT_SECONDS)
    settle()
    left.close()
    assert waiter.result(PROMPT_SECONDS) is True


def test_several_wait_for_the_same(readable, pair):
    left, right = pair
    waiters = [weft.spawn(readable, right, PROMPT_SECONDS) for _ in range(5)]
    settle()
    left.send(b"x")
    assert results(waiters) == [True] * 5


def test_again_and_again(readable, pair):
    left, right = pair

    def serve():
        for _ in range(20):
            assert readable(right, PROMPT_SECONDS)
            right.send(right.recv(1))

    server = weft.spawn(serve)
    for _ in range(20):
        left.send(b"x")
        assert left.recv(1) == b"x"
    server.result(PROMPT_SECONDS)


def test_a_reader_and_a_poller_of_one_socket(readable, pair):
    left, right = pair
    poller = weft.spawn(readable, right, PROMPT_SECONDS)
    reader = weft.spawn(right.recv, 1)
    settle()
    left.send(b"xy")
    assert (poller.result(PROMPT_SECONDS), reader.result(PROMPT_SECONDS)) == (True, b"x")


def test_os_pipes(readable, pipe):
    reader, writer = pipe
    waiter = weft.spawn(readable, reader, PROMPT_SECONDS)
    settle()
    os.write(writer, b"x")
    assert waiter.result() is True


# --- select -------------------------------------------------------------------------------


def test_select_tells_which(parked):
    pairs = [socket.socketpair() for _ in range(20)]
    readers = [right for _, right in pairs]
    waiter = weft.spawn(select.select, readers, [], [], PROMPT_SECONDS)
    settle()
    pairs[3][0].send(b"x")
    pairs[17][0].send(b"x")
    assert waiter.result() == ([readers[3], readers[17]], [], [])
    for sock in sum(pairs, ()):
        sock.close()


def test_select_for_writing(pair):
    left, right = pair
    left.setblocking(False)
    try:
        while True:
            left.send(bytes(65536))
    except BlockingIOError:
        pass
    waiter = weft.spawn(select.select, [], [left], [left], PROMPT_SECONDS)
    settle()
    assert waiter.is_alive()
    right.recv(10**6)
    assert waiter.result() == ([], [left], [])


def test_select_of_nothing_is_a_sleep(parked):
    start = time.monotonic()
    assert select.select([], [], [], FIVE_MS) == ([], [], [])
    assert time.monotonic() - start >= FIVE_MS


def test_select_of_a_regular_file(tmp_path, parked, pair):
    with (tmp_path / "file").open("w") as file:
        assert select.select([file, pair[0]], [], [], None)[0] == [file]


def test_select_of_a_closed_descriptor(pair, parked):
    number = pair[0].fileno()
    pair[0].close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        select.select([number], [], [], 1)


# --- poll ---------------------------------------------------------------------------------


def test_poll_of_many(parked):
    pairs = [socket.socketpair() for _ in range(200)]
    poll = select.poll()
    for _, right in pairs:
        poll.register(right, select.POLLIN)
    waiter = weft.spawn(poll.poll)
    settle()
    chosen = [5, 77, 199]
    for number in chosen:
        pairs[number][0].send(b"x")
    expected = [(pairs[number][1].fileno(), select.POLLIN) for number in chosen]
    assert waiter.result(PROMPT_SECONDS) == expected
    for sock in sum(pairs, ()):
        sock.close()


def test_poll_tells_of_hangup_and_of_what_is_no_descriptor(pair, parked):
    left, right = pair
    poll = select.poll()
    poll.register(right, select.POLLIN | select.POLLRDHUP)
    poll.register(999, select.POLLIN)
    assert poll.poll(1000) == [(999, select.POLLNVAL)]
    poll.unregister(999)
    waiter = weft.spawn(poll.poll)
    settle()
    left.close()
    expected = select.POLLIN | select.POLLHUP | select.POLLRDHUP
    assert waiter.result(PROMPT_SECONDS) == [(right.fileno(), expected)]


def test_poll_of_one_descriptor_in_both_directions(pair, parked):
    poll = select.poll()
    poll.register(pair[0], select.POLLIN | select.POLLOUT)
    assert poll.poll() == [(pair[0].fileno(), select.POLLOUT)]


def test_poll_for_nothing_but_the_end(pair):
    left, right = pair
    poll = select.poll()
    poll.register(right, 0)
    waiter = weft.spawn(poll.poll)
    settle()
    left.send(b"x")
    weft.sleep(0.001)
    settle()
    assert waiter.is_alive()
    left.close()
    assert waiter.result(PROMPT_SECONDS) == [(right.fileno(), select.POLLHUP)]


# --- epoll --------------------------------------------------------------------------------


@pytest.fixture
def epoll(closing):
    return closing(select.epoll())


def test_a_shared_epoll_wakes_one_for_each_event(epoll):
    pairs = [socket.socketpair() for _ in range(5)]
    for _, right in pairs:
        epoll.register(right, select.EPOLLIN | select.EPOLLONESHOT)
    waiters = [weft.spawn(epoll.poll, PROMPT_SECONDS, 1) for _ in range(5)]
    settle()
    for left, _ in pairs:
        left.send(b"x")
    got = sorted(itertools.chain(*results(waiters)))
    assert got == sorted((right.fileno(), select.EPOLLIN) for _, right in pairs)
    for sock in sum(pairs, ()):
        sock.close()


def test_a_descriptor_added_while_somebody_waits(epoll, pair):
    left, right = pair
    waiter = weft.spawn(epoll.poll, PROMPT_SECONDS)
    settle()
    left.send(b"x")
    epoll.register(right, select.EPOLLIN)
    assert waiter.result() == [(right.fileno(), select.EPOLLIN)]


def test_edge_triggered_epoll(epoll, pair):
    left, right = pair
    epoll.register(right, select.EPOLLIN | select.EPOLLET)
    left.send(b"x")
    assert weft.spawn(epoll.poll, PROMPT_SECONDS).result() == [(right.fileno(), select.EPOLLIN)]
    assert weft.spawn(epoll.poll, FIVE_MS).result() == []
    waiter = weft.spawn(epoll.poll, PROMPT_SECONDS)
    settle()
    left.send(b"x")
    assert waiter.result() == [(right.fileno(), select.EPOLLIN)]


def test_level_triggered_epoll_tells_again(epoll, pair):
    left, right = pair
    epoll.register(right, select.EPOLLIN)
    left.send(b"x")
    expected = [(right.fileno(), select.EPOLLIN)]
    assert [weft.spawn(epoll.poll, PROMPT_SECONDS).result() for _ in range(3)] == [expected] * 3


def test_an_epoll_in_an_epoll(epoll, closing, pair):
    inner = closing(select.epoll())
    inner.register(pair[1], select.EPOLLIN)
    epoll.register(inner, select.EPOLLIN)
    waiter = weft.spawn(epoll.poll, PROMPT_SECONDS)
    settle()
    pair[0].send(b"x")
    assert waiter.result() == [(inner.fileno(), select.EPOLLIN)]


def test_close_of_an_epoll_that_somebody_waits_for(pair):
    epoll = select.epoll()

    def wait():
        try:
            return epoll.poll(PROMPT_SECONDS)
        except (OSError, ValueError) as error:
            return type(error)

    waiter = weft.spawn(wait)
    settle()
    epoll.close()
    assert waiter.result() in (OSError, ValueError)


def test_a_server_around_a_selector(closing):
    """The usual single-threaded server, in one green thread, and its clients in others."""
    server = closing(socket.create_server(("127.0.0.1", 0)))
    server.setblocking(False)
    selector = closing(selectors.DefaultSelector())
    selector.register(server, selectors.EVENT_READ)
    served = 0

    def serve_one(sock):
        nonlocal served
        if sock is server:
            connection, _ = server.accept()
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
        elif data := sock.recv(100):
            sock.send(data.upper())
        else:
            selector.unregister(sock)
            sock.close()
            served += 1

    def serve(count):
        while served < count:
            for key, _ in selector.select():
                serve_one(key.fileobj)

    def client(number):
        with socket.create_connection(server.getsockname()) as sock:
            sock.sendall(b"argh%d" % number)
            return sock.recv(100)

    serving = weft.spawn(serve, 20)
    assert results(spawn_each(client, range(20))) == [b"ARGH%d" % n for n in range(20)]
    serving.result(PROMPT_SECONDS)


# --- Signal masks -------------------------------------------------------------------------

TEN_SECONDS = (ctypes.c_long * 2)(10, 0)


def mask_of(*numbers):
    bits = sum(1 << (number - 1) for number in numbers)
    return ctypes.create_string_buffer(bits.to_bytes(128, "little"), 128)


def pollfd(sock):
    return (ctypes.c_int * 2)(sock.fileno(), select.POLLIN)


def fd_set(sock):
    bits = ctypes.create_string_buffer(128)
    bits[sock.fileno() // 8] = 1 << sock.fileno() % 8
    return bits


def epoll_pwait(name, timeout):
    def wait(sock, mask):
        with select.epoll() as epoll:
            epoll.register(sock, select.EPOLLIN)
            events = ctypes.create_string_buffer(12)
            return getattr(libc, name)(epoll.fileno(), events, 1, timeout, mask)

    return wait


MASKED = {
    "ppoll": lambda sock, mask: libc.ppoll(pollfd(sock), 1, TEN_SECONDS, mask),
    "__ppoll_chk": lambda sock, mask: libc.__ppoll_chk(pollfd(sock), 1, TEN_SECONDS, mask, 8),
    "pselect": lambda sock, mask: libc.pselect(
        sock.fileno() + 1, fd_set(sock), None, None, TEN_SECONDS, mask
    ),
    "epoll_pwait": epoll_pwait("epoll_pwait", 10_000),
    "epoll_pwait2": epoll_pwait("epoll_pwait2", TEN_SECONDS),
}
masked = pytest.mark.parametrize("wait", MASKED.values(), ids=MASKED.keys())


@pytest.fixture
def hangup():
    """SIGHUP is blocked, and its handler counts; sends it to this OS thread."""
    calls = []
    handler = signal.signal(signal.SIGHUP, lambda *_: calls.append(1))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    yield lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.signal(signal.SIGHUP, handler)
    assert calls == [1]


def outcome(wait, *args):
    ctypes.set_errno(0)
    result = wait(*args)
    return result, ctypes.get_errno()


@masked
def test_a_pending_signal_that_the_mask_lets_in_ends_the_wait(pair, hangup, wait):
    hangup()
    waiter = weft.spawn(outcome, wait, pair[0], mask_of())
    assert waiter.result(PROMPT_SECONDS) == (-1, errno.EINTR)
    weft.sleep(0)


@masked
def test_a_signal_that_the_mask_lets_in_ends_a_parked_wait(pair, hangup, wait):
    waiter = weft.spawn(outcome, wait, pair[0], mask_of())
    settle()
    hangup()
    assert waiter.result(PROMPT_SECONDS) == (-1, errno.EINTR)
    weft.sleep(0)


@masked
def test_what_is_ready_comes_before_a_signal_that_is_not_let_in(pair, hangup, wait):
    waiter = weft.spawn(outcome, wait, pair[0], mask_of(signal.SIGHUP))
    settle()
    hangup()
    pair[1].send(b"x")
    assert waiter.result(PROMPT_SECONDS) == (1, 0)


# --- When the kernel refuses to watch -----------------------------------------------------


@pytest.mark.parametrize("error", ["ENOSPC", "ENOMEM"])
@pytest.mark.parametrize("way", ["recv", "poll", "select"])
def test_what_cannot_be_watched_is_looked_at_now_and_then(error, way):
    program = (
        REFUSE
        + f"""
left, right = socket.socketpair()
weft.spawn(int).join()
refuse(SYS_EPOLL_CTL, errno.{error})
import select
def poll():
    poll = select.poll()
    poll.register(right, select.POLLIN)
    return poll.poll(10_000) != []
ways = {{"recv": lambda: right.recv(1) == b"x", "poll": poll,
         "select": lambda: select.select([right], [], [], 10)[0] == [right]}}
waiter = weft.spawn(ways[{way!r}])
weft.sleep(0.005)
print(waiter.is_alive())
left.send(b"x")
print(waiter.result(10))
"""
    )
    assert run_program(program) == (0, "True\nTrue\n", "")
