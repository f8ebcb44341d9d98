"""weft.Channel: sending, receiving, closing; and that no value is ever lost."""

import gc
import queue
import random
import weakref
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support import (
    INSTANT_SECONDS,
    PROMPT_SECONDS,
    Interrupted,
    fail,
    in_os_thread,
    results,
    settle,
    spawn_each,
    starts,
    together,
    wait_until,
)

import weft

sizes = pytest.mark.parametrize("size", [0, 1, 3])


@starts
@sizes
def test_values_come_in_order(size, start):
    channel = weft.Channel(size)
    received = start(lambda: [channel.recv() for _ in range(10)])
    for number in range(10):
        channel.send(number)
    assert received() == list(range(10))


def test_without_room_sender_and_receiver_meet():
    channel, record = weft.Channel(), []

    def send():
        channel.send("value")
        record.append("sent")

    sender = weft.spawn(send)
    settle()
    assert record == []
    record.append(channel.recv())
    sender.join()
    assert record == ["value", "sent"]


def test_with_room_the_sender_goes_on():
    channel = weft.Channel(2)
    channel.send(1)
    channel.send(2)
    with pytest.raises(queue.Full):
        channel.send(3, block=False)
    assert channel.qsize() == 2
    third = weft.spawn(channel.send, 3)
    settle()
    assert channel.recv() == 1
    third.result(PROMPT_SECONDS)
    assert [channel.recv(), channel.recv(block=False)] == [2, 3]
    with pytest.raises(queue.Empty):
        channel.recv(False)


@sizes
def test_timeouts(size):
    channel = weft.Channel(size)
    with pytest.raises(queue.Empty):
        channel.recv(timeout=INSTANT_SECONDS)
    for number in range(size):
        channel.send(number, timeout=0)
    with pytest.raises(queue.Full):
        channel.send("too much", timeout=INSTANT_SECONDS)
    with pytest.raises(ValueError, match="non-negative"):
        channel.recv(timeout=-1)
    assert [channel.recv() for _ in range(size)] == list(range(size))


def test_receivers_are_served_in_order():
    channel = weft.Channel()
    receivers = [weft.spawn(channel.recv) for _ in range(3)]
    settle()
    for number in range(3):
        channel.send(number)
    assert results(receivers) == [0, 1, 2]


@sizes
def test_iteration_ends_when_it_is_closed(size):
    channel = weft.Channel(size)
    received = weft.spawn(list, channel)
    for number in range(5):
        channel.send(number)
    channel.close()
    assert received.result(PROMPT_SECONDS) == list(range(5))


def test_what_is_left_in_a_closed_channel_is_received():
    channel = weft.Channel(2)
    channel.send(1)
    channel.send(2)
    channel.close()
    channel.close()
    assert channel.closed
    with pytest.raises(weft.ShutDown):
        channel.send(3)
    assert list(channel) == [1, 2]
    with pytest.raises(weft.ShutDown):
        channel.recv()


def test_all_who_wait_are_told_that_it_is_closed():
    def told(call, *args):
        with pytest.raises(weft.ShutDown):
            call(*args)
        return True

    for call in [lambda ch: ch.recv(), lambda ch: ch.send(1)]:
        channel = weft.Channel()
        waiting = [weft.spawn(told, call, channel) for _ in range(3)]
        settle()
        channel.close()
        assert results(waiting) == [True] * 3


def test_shut_down_is_the_standard_librarys_where_it_has_one():
    assert weft.ShutDown is getattr(queue, "ShutDown", weft.ShutDown)
    assert issubclass(weft.ShutDown, Exception)


@sizes
def test_random_timeouts_lose_nothing_among_green_and_os_threads(size):
    channel, sent, received = weft.Channel(size), Counter(), Counter()

    def work(seed):
        chance = random.Random(seed)
        for number in range(40):
            timeout = chance.choice([0, 0.0001, 0.0003])
            try:
                if chance.random() < 0.5:
                    channel.send((seed, number), timeout=timeout)
                    sent[seed, number] += 1
                else:
                    received[channel.recv(timeout=timeout)] += 1
            except (queue.Empty, queue.Full):
                weft.sleep(chance.random() / 5000)

    elsewhere = in_os_thread(lambda: results(spawn_each(work, range(10))))
    results(spawn_each(work, range(10, 20)))
    elsewhere()
    channel.close()
    received.update(channel)
    assert sent == received
    assert len(sent) > 20


def test_garbage_in_a_channel_is_collected():
    class Thing:
        pass

    thing, channel = Thing(), weft.Channel(1)
    thing.channel = channel
    channel.send(thing)
    gone = weakref.ref(thing)
    del thing, channel
    gc.collect()
    assert gone() is None


def test_a_destructor_may_use_the_channel():
    channel = weft.Channel(1)

    class Thing:
        def __del__(self):
            channel.send("last words")

    together(lambda: channel.send(Thing()), lambda: channel.recv())
    assert channel.recv() == "last words"


def test_representation_and_annotation():
    assert repr(weft.Channel(2)).endswith(": 0/2>")
    assert weft.Channel[int].__args__ == (int,)
    with pytest.raises(ValueError, match="negative"):
        weft.Channel(-1)


# --- Interrupts -----------------------------------------------------------------------------


@sizes
def test_an_interrupted_receiver_loses_nothing(interrupt, size):
    channel = weft.Channel(size)
    weft.spawn(interrupt(fail))
    with pytest.raises(Interrupted):
        channel.recv()
    sender = weft.spawn(channel.send, 1)
    assert channel.recv() == 1
    sender.join()


def test_an_interrupted_sender_still_has_its_value(interrupt):
    channel = weft.Channel()
    weft.spawn(interrupt(fail))
    with pytest.raises(Interrupted):
        channel.send(1)
    with pytest.raises(queue.Empty):
        channel.recv(block=False)


def test_a_handler_that_returns_does_not_end_the_wait(interrupt):
    channel, seen = weft.Channel(), []
    raise_it = interrupt(lambda: seen.append(None))

    def interrupt_then_send():
        raise_it()
        wait_until(lambda: seen)
        channel.send(1)

    weft.spawn(interrupt_then_send)
    assert channel.recv() == 1
    assert seen == [None]


@pytest.mark.parametrize("others", [0, 1])
def test_a_value_received_while_a_handler_fails_is_given_back(interrupt, others):
    channel = weft.Channel()

    def send_and_fail():
        channel.send(1)  # to the one that this handler interrupts
        raise Interrupted

    raise_it = interrupt(send_and_fail)
    behind = []

    def others_then_interrupt():
        behind.extend(weft.spawn(channel.recv) for _ in range(others))
        settle()
        raise_it()

    weft.spawn(others_then_interrupt)
    with pytest.raises(Interrupted):
        channel.recv()
    assert (results(behind) or [channel.recv(block=False)]) == [1]


def test_a_value_received_while_a_handler_runs_is_returned(interrupt):
    channel = weft.Channel()
    weft.spawn(interrupt(lambda: channel.send(1)))
    assert channel.recv() == 1


# --- Against a model ------------------------------------------------------------------------


class ChannelMachine(RuleBasedStateMachine):
    """Senders and receivers come and go; the model is two lists and a buffer."""

    def __init__(self):
        super().__init__()
        self.size = None

    @precondition(lambda self: self.size is None)
    @rule(size=st.integers(0, 3))
    def make(self, size):
        self.size = size
        self.channel = weft.Channel(size)
        self.values = iter(range(10_000))
        self.left, self.closed = [], False
        self.senders, self.receivers = [], []  # green threads that wait, with what they send
        self.over = []  # green threads, and what must come of each

    def expect(self, thread, value):
        self.over.append((thread, value))

    @precondition(lambda self: self.size is not None)
    @rule()
    def send(self):
        value = next(self.values)
        thread = weft.spawn(self.channel.send, value)
        settle()
        if self.closed:
            self.expect(thread, weft.ShutDown)
        elif self.receivers:
            self.expect(self.receivers.pop(0), value)
            self.expect(thread, None)
        elif len(self.left) < self.size:
            self.left.append(value)
            self.expect(thread, None)
        else:
            self.senders.append((thread, value))

    @precondition(lambda self: self.size is not None)
    @rule(how=st.sampled_from(["recv", "select"]))
    def receive(self, how):
        if how == "recv":
            thread = weft.spawn(self.channel.recv)
        else:
            thread = weft.spawn(lambda: weft.select(weft.Event().wait, self.channel.recv)[1])
        settle()
        if self.left:
            self.expect(thread, self.left.pop(0))
            if self.senders:
                sender, value = self.senders.pop(0)
                self.left.append(value)
                self.expect(sender, None)
        elif self.senders:
            sender, value = self.senders.pop(0)
            self.expect(sender, None)
            self.expect(thread, value)
        elif self.closed:
            self.expect(thread, weft.ShutDown)
        else:
            self.receivers.append(thread)

    @precondition(lambda self: self.size is not None and not self.closed)
    @rule()
    def try_to_send(self):
        if not self.receivers and len(self.left) >= self.size:
            with pytest.raises(queue.Full):
                self.channel.send(None, block=False)

    @precondition(lambda self: self.size is not None and not self.closed)
    @rule()
    def try_to_receive(self):
        if not self.left and not self.senders:
            assert weft.select(self.channel.recv, default="nothing") == (-1, "nothing")

    @precondition(lambda self: self.size is not None and not self.closed)
    @rule()
    def close(self):
        self.channel.close()
        self.closed = True
        for thread in self.receivers + [thread for thread, _ in self.senders]:
            self.expect(thread, weft.ShutDown)
        self.senders, self.receivers = [], []

    @invariant()
    def they_agree(self):
        if self.size is None:
            return
        settle()
        for thread, value in self.over:
            if value is weft.ShutDown:
                assert isinstance(thread.exception(PROMPT_SECONDS), weft.ShutDown)
            else:
                assert thread.result(PROMPT_SECONDS) == value
        self.over.clear()
        assert self.channel.qsize() == len(self.left)
        assert not any(thread.done() for thread in self.receivers)
        assert not any(thread.done() for thread, _ in self.senders)

    def teardown(self):
        if self.size is not None:
            self.close()
            self.they_agree()


@pytest.mark.slow
def test_against_a_model(monkeypatch):
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    run_state_machine_as_test(
        ChannelMachine, settings=settings(max_examples=100, stateful_step_count=30, deadline=None)
    )
