"""weft.select: the first of several operations, once and no more than one of them."""

import io
import os
import queue
import random
import signal
import socket
import threading
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from support import (
    INSTANT_SECONDS,
    PROMPT_SECONDS,
    Interrupted,
    fail,
    in_os_thread,
    results,
    settle,
    spawn_each,
    wait_until,
)

import weft
from weft import _snapshot

# --- One case at a time ---------------------------------------------------------------------


def sent_channel():
    channel = weft.Channel(1)
    channel.send("value")
    return channel.recv, "value"


def put_queue(make=weft.Queue):
    q = make(1)
    q.put("value")
    return q.get, "value"


def set_event():
    event = weft.Event()
    event.set()
    return event.wait, True


READY = {
    "recv": sent_channel,
    "send": lambda: ((weft.Channel(1).send, "value"), None),
    "get": put_queue,
    "get of a LifoQueue": lambda: put_queue(weft.LifoQueue),
    "get of a PriorityQueue": lambda: put_queue(weft.PriorityQueue),
    "put": lambda: ((weft.Queue(1).put, "value"), None),
    "event": set_event,
    "lock": lambda: (weft.Lock().acquire, True),
    "rlock": lambda: (weft.RLock().acquire, True),
    "semaphore": lambda: (weft.Semaphore().acquire, True),
}


@pytest.mark.parametrize("name", READY)
def test_what_is_ready_is_done(name):
    case, result = READY[name]()
    never = weft.Event().wait
    assert weft.select(never, case, never) == (1, result)


def held(lock):
    lock.acquire()
    return lock


def make_waiting():
    """Cases that must wait, what makes them ready, and their results."""
    channel, full = weft.Channel(), weft.Channel()
    q, lifo, full_queue, event = weft.Queue(), weft.LifoQueue(), weft.Queue(1), weft.Event()
    lock, rlock, semaphore = held(weft.Lock()), weft.RLock(), weft.Semaphore(0)
    full_queue.put(0)
    return {
        "recv": (channel.recv, lambda: channel.send("value"), "value"),
        "send": ((full.send, "value"), full.recv, None),
        "get": (q.get, lambda: q.put("value"), "value"),
        "get of a LifoQueue": (lifo.get, lambda: lifo.put("value"), "value"),
        "put": ((full_queue.put, "value"), full_queue.get, None),
        "event": (event.wait, event.set, True),
        "lock": (lock.acquire, lock.release, True),
        "rlock": (held(rlock).acquire, rlock.release, True),
        "semaphore": (semaphore.acquire, semaphore.release, True),
    }


def parked_in_select():
    parks = [thread.park for thread in _snapshot.take().threads]
    return sum(park is not None and park.reason == "select" for park in parks)


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("name", make_waiting())
def test_what_is_not_ready_is_waited_for(name, elsewhere):
    case, make_ready, result = make_waiting()[name]
    never = weft.Event().wait
    if elsewhere and name != "rlock":
        done = in_os_thread(lambda: results([weft.spawn(weft.select, never, case)]))
        wait_until(lambda: parked_in_select() > 0)
        make_ready()
        assert done() == [(1, result)]
    else:
        selected = weft.spawn(weft.select, never, case)
        settle()
        assert not selected.done()
        make_ready()
        assert selected.result(PROMPT_SECONDS) == (1, result)


def test_only_one_is_done():
    first, second = weft.Channel(), weft.Channel()
    selected = weft.spawn(weft.select, first.recv, second.recv)
    settle()
    first.send(1)
    with pytest.raises(queue.Full):
        second.send(2, block=False)
    assert selected.result() == (0, 1)


def test_two_selects_meet():
    one, other = weft.Channel(), weft.Channel()
    left = weft.spawn(weft.select, (one.send, "from left"), other.recv)
    settle()
    right = weft.spawn(weft.select, one.recv, (other.send, "from right"))
    assert {left.result(), right.result()} in (
        {(0, None), (0, "from left")},
        {(1, None), (1, "from right")},
    )


def test_a_select_does_not_meet_itself():
    channel = weft.Channel()
    selected = weft.spawn(weft.select, channel.recv, (channel.send, 1))
    settle()
    assert not selected.done()
    assert channel.recv() == 1
    assert selected.result() == (1, None)


def test_many_cases():
    channels = [weft.Channel() for _ in range(100)]
    selected = weft.spawn(weft.select, *[channel.recv for channel in channels])
    settle()
    channels[77].send("value")
    assert selected.result() == (77, "value")


def test_closed_and_shut_down():
    channel, other, q = weft.Channel(), weft.Channel(), weft.Queue()

    def told(case):
        with pytest.raises(weft.ShutDown):
            weft.select(weft.Event().wait, case)
        return True

    selected = spawn_each(told, [channel.recv, (other.send, 1), q.get])
    settle()
    channel.close()
    other.close()
    q.shutdown()
    assert results(selected) == [True] * 3
    with pytest.raises(weft.ShutDown):
        weft.select(channel.recv)
    with pytest.raises(weft.ShutDown):
        weft.select(weft.Event().wait, (q.put, 1))


# --- Not for ever ---------------------------------------------------------------------------


def test_timeouts_and_defaults():
    never = weft.Event().wait
    with pytest.raises(TimeoutError):
        weft.select(never, timeout=INSTANT_SECONDS)
    with pytest.raises(TimeoutError):
        weft.select(never, timeout=0)
    assert weft.select(never, default=None) == (-1, None)
    assert weft.select(never, timeout=INSTANT_SECONDS, default="late") == (-1, "late")
    assert weft.select(never, set_event()[0], default=None) == (1, True)


def test_cases_that_make_no_sense():
    class Channel(weft.Channel):
        def recv(self):
            return "something else"

    with pytest.raises(TypeError, match="at least one case"):
        weft.select()
    with pytest.raises(TypeError, match="takes one argument"):
        weft.select(weft.Channel().send)
    with pytest.raises(TypeError, match="takes no argument"):
        weft.select((weft.Channel().recv, 1))
    for other in (
        print,
        (),
        3,
        threading.Event().wait,
        queue.Queue().get,
        Channel().recv,
        io.BytesIO().read,
    ):
        with pytest.raises(TypeError, match="case of select"):
            weft.select(other)
    with pytest.raises(TypeError, match="keyword"):
        weft.select(weft.Event().wait, patience=1)


# --- Fair, and nothing lost -----------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 10])
def test_each_that_is_ready_has_its_turn(count):
    events = [set_event()[0] for _ in range(count)]
    chosen = Counter(weft.select(*events, weft.Event().wait)[0] for _ in range(300 * count))
    assert set(chosen) == set(range(count))
    assert min(chosen.values()) > 150


@pytest.mark.parametrize("size", [0, 2])
def test_random_timeouts_lose_nothing(size):
    channels = [weft.Channel(size) for _ in range(3)]
    queues = [weft.Queue(size) for _ in range(3)]
    sent, received = Counter(), Counter()

    def work(seed):
        chance = random.Random(seed)
        for number in range(40):
            cases = [
                *[channel.recv for channel in channels],
                *[q.get for q in queues],
                *[(channel.send, (seed, number)) for channel in channels],
                *[(q.put, (seed, number)) for q in queues],
            ]
            chosen = chance.sample(cases, 3)
            try:
                index, value = weft.select(*chosen, timeout=chance.choice([0, 0.0001, 0.0003]))
            except TimeoutError:
                continue
            if isinstance(chosen[index], tuple):
                sent[seed, number] += 1
            else:
                received[value] += 1

    elsewhere = in_os_thread(lambda: results(spawn_each(work, range(10))))
    results(spawn_each(work, range(10, 20)))
    elsewhere()
    for channel in channels:
        channel.close()
        received.update(channel)
    for q in queues:
        while not q.empty():
            received[q.get()] += 1
    assert sent == received
    assert len(sent) > 20


def test_an_interrupted_select_gives_back_what_it_was_given(interrupt):
    channel, q, lock = weft.Channel(), weft.Queue(), held(weft.Lock())
    for make_ready, case, taken in [
        (lambda: channel.send(1), channel.recv, lambda: channel.recv(False)),
        (lambda: q.put(1), q.get, lambda: q.get(False)),
        (lock.release, lock.acquire, lambda: lock.acquire(False)),
    ]:

        def make_ready_and_fail(make_ready=make_ready):
            make_ready()
            raise Interrupted

        weft.spawn(interrupt(make_ready_and_fail))
        with pytest.raises(Interrupted):
            weft.select(weft.Event().wait, case)
        assert taken() == 1


def test_an_interrupted_select_has_done_nothing(interrupt):
    channel, q = weft.Channel(), weft.Queue(1)
    q.put(0)
    weft.spawn(interrupt(fail))
    with pytest.raises(Interrupted):
        weft.select(channel.recv, (channel.send, 1), (q.put, 1))
    assert weft.select(channel.recv, default=None) == (-1, None)
    assert (q.get(), q.empty()) == (0, True)


# --- Descriptors ----------------------------------------------------------------------------


def test_a_socket_that_has_data(pair):
    left, right = pair
    left.send(b"data")
    assert weft.select(weft.Event().wait, (right.recv, 100)) == (1, b"data")


def test_a_socket_is_waited_for(pair):
    left, right = pair
    never = weft.Channel()
    selected = weft.spawn(weft.select, never.recv, (right.recv, 100))
    settle()
    assert not selected.done()
    left.send(b"data")
    assert selected.result(PROMPT_SECONDS) == (1, b"data")


def test_a_channel_is_faster_than_a_socket(pair):
    left, right = pair
    channel = weft.Channel()
    for number in range(3):
        selected = weft.spawn(weft.select, channel.recv, (right.recv, 100))
        settle()
        channel.send(number)
        assert selected.result(PROMPT_SECONDS) == (0, number)
    left.send(b"still there")
    assert right.recv(100) == b"still there"


def test_a_socket_with_room(pair):
    left, right = pair
    left.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            left.send(bytes(65536))
    left.setblocking(True)
    selected = weft.spawn(weft.select, weft.Event().wait, (left.send, b"more"))
    settle()
    assert not selected.done()
    while not selected.done():
        right.recv(1 << 20)
        settle()
    assert selected.result() == (1, 4)


def test_two_sockets(pair, tcp_pair):
    ends = [pair, tcp_pair]
    for chosen in (0, 1, 1, 0):
        selected = weft.spawn(weft.select, *[(right.recv, 10) for _, right in ends])
        settle()
        ends[chosen][0].send(b"data")
        assert selected.result(PROMPT_SECONDS) == (chosen, b"data")


def test_a_listener(closing):
    server = closing(socket.create_server(("127.0.0.1", 0)))
    selected = weft.spawn(weft.select, weft.Event().wait, server.accept)
    settle()
    client = closing(socket.create_connection(server.getsockname()))
    index, (connection, address) = selected.result(PROMPT_SECONDS)
    closing(connection)
    assert (index, address) == (1, client.getsockname())


def test_a_pipe(pipe):
    reader, writer = pipe
    selected = weft.spawn(weft.select, (os.read, reader, 10), weft.Event().wait)
    settle()
    assert weft.select((os.write, writer, b"data")) == (0, 4)
    assert selected.result(PROMPT_SECONDS) == (0, b"data")


def test_a_socket_is_closed_meanwhile(pair):
    _, right = pair
    selected = weft.spawn(weft.select, weft.Event().wait, (right.recv, 100))
    settle()
    right.close()
    with pytest.raises(OSError):
        selected.result(PROMPT_SECONDS)
    with pytest.raises(OSError):
        weft.select((right.recv, 100))


def test_a_regular_file_is_always_ready(tmp_path):
    (tmp_path / "file").write_bytes(b"data")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    assert weft.select(weft.Event().wait, (os.read, fd, 10)) == (1, b"data")
    os.close(fd)


def test_descriptors_time_out(pair):
    with pytest.raises(TimeoutError):
        weft.select((pair[0].recv, 1), timeout=INSTANT_SECONDS)
    # Longer than the reactor's doubt.
    assert weft.select((pair[0].recv, 1), timeout=0.02, default=None) == (-1, None)


def test_calls_whose_descriptor_does_not_tell(pair):
    with pair[0].makefile("rb") as file, pytest.raises(TypeError, match="case of select"):
        weft.select((file.read, 1))
    with pytest.raises(TypeError, match="needs a descriptor"):
        weft.select(os.read)


def test_signal_handlers_run_while_a_descriptor_is_waited_for(pair, interrupt):
    weft.spawn(interrupt(lambda: pair[0].send(b"x")))
    assert weft.select((pair[1].recv, 1), weft.Event().wait) == (0, b"x")
    assert signal.getsignal(signal.SIGUSR1) is not None


# --- Against a model ------------------------------------------------------------------------


class SelectMachine(RuleBasedStateMachine):
    """Selects over some channels, and the model: a value goes to one who waits longest for it.

    The channels have no room, so whatever is sent is sent to somebody.
    """

    COUNT = 3

    def __init__(self):
        super().__init__()
        self.channels = [weft.Channel() for _ in range(self.COUNT)]
        self.waiting = []  # green threads, each with its cases: (channel, value or None)
        self.values = iter(range(1, 10_000))

    def match(self, cases):
        """Who waits longest for what one of the cases does, by case."""
        found = {}
        for index, (channel, value) in enumerate(cases):
            for thread, others in self.waiting:
                at = [
                    place
                    for place, (other, theirs) in enumerate(others)
                    if other == channel and (theirs is None) != (value is None)
                ]
                if at:
                    found[index] = (thread, others, at[0])
                    break
        return found

    @rule(
        picks=st.lists(
            st.tuples(st.integers(0, COUNT - 1), st.booleans()), min_size=1, max_size=3, unique=True
        )
    )
    def select(self, picks):
        cases = [(number, next(self.values) if sends else None) for number, sends in picks]
        found = self.match(cases)
        thread = weft.spawn(weft.select, *[self.case(*case) for case in cases])
        settle()
        if not found:
            assert not thread.done()
            self.waiting.append((thread, cases))
            return
        index, value = thread.result(PROMPT_SECONDS)
        other, others, _ = found[index]
        their_index, their_value = other.result(PROMPT_SECONDS)
        assert others[their_index][0] == cases[index][0]
        assert (value, their_value) == (others[their_index][1], cases[index][1])
        self.waiting.remove((other, others))

    def case(self, number, value):
        channel = self.channels[number]
        return channel.recv if value is None else (channel.send, value)

    @invariant()
    def the_others_wait(self):
        assert not any(thread.done() for thread, _ in self.waiting)

    def teardown(self):
        for channel in self.channels:
            channel.close()
        for thread, _ in self.waiting:
            assert isinstance(thread.exception(PROMPT_SECONDS), weft.ShutDown)


@pytest.mark.slow
def test_against_a_model(monkeypatch):
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    run_state_machine_as_test(
        SelectMachine, settings=settings(max_examples=100, stateful_step_count=30, deadline=None)
    )
