"""Waiting for any of several descriptors: select, poll, epoll, and selectors on top of them."""

import itertools
import os
import select
import selectors
import socket
import time

import pytest
from support import PROMPT_SECONDS, results, settle, spawn_each

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
