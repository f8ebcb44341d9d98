"""Task groups: joined, stopped, limited; and nothing left, wherever a cancellation strikes."""

import contextlib
import contextvars
import gc
import os
import queue
import socket
import threading
import time

import pytest
from support import PROMPT_SECONDS, in_os_thread, run_program, settle, wait_until

import weft

FOR_EVER = 1000  # seconds
VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def wait_for_ever():
    weft.sleep(FOR_EVER)


def fail(error):
    raise error


# --- Ending together ---------------------------------------------------------------------------


def test_the_block_ends_when_the_children_have():
    record = []

    def child(n):
        weft.sleep(0.001 * n)
        record.append(n)

    with weft.TaskGroup() as group:
        threads = [group.spawn(child, n) for n in (3, 1, 2)]
    assert record == [1, 2, 3]
    assert all(thread.done() for thread in threads)


def test_arguments_results_and_context():
    def child(*args, **kwargs):
        return args, kwargs, VARIABLE.get()

    def run():
        VARIABLE.set("the spawner's")
        with weft.TaskGroup() as group:
            thread = group.spawn(child, 1, fn=2)
        return thread.result()

    assert weft.spawn(run).result() == ((1,), {"fn": 2}, "the spawner's")


def test_an_empty_group():
    with weft.TaskGroup() as group:
        pass
    assert repr(group) == "<TaskGroup closed children=0>"


def test_children_spawn_siblings_until_the_last_has_ended():
    record = []

    def child(n):
        record.append(n)
        if n > 0:
            group.spawn(child, n - 1)
            weft.yield_now()

    with weft.TaskGroup() as group:
        group.spawn(child, 5)
    assert record == [5, 4, 3, 2, 1, 0]


def test_another_os_thread_may_spawn():
    """Its child lives there, and is waited for here."""

    seen = threading.Event()

    def spawn():
        thread = group.spawn(seen.wait)
        thread.join()
        return thread

    with weft.TaskGroup() as group:
        spawned = in_os_thread(spawn)
        wait_until(lambda: "children=1" in repr(group))
        seen.set()
    assert spawned().done()


def test_groups_nest():
    record = []
    with weft.TaskGroup() as outer:
        outer.spawn(lambda: (wait_until(lambda: "between" in record), record.append("outer")))
        with weft.TaskGroup() as inner:
            inner.spawn(lambda: (weft.sleep(0.001), record.append("inner")))
        record.append("between")
    assert record == ["inner", "between", "outer"]


# --- Failing ---------------------------------------------------------------------------------


def test_a_child_that_fails_stops_siblings_and_body():
    record = []

    def sibling():
        try:
            wait_for_ever()
        except weft.Cancelled:
            record.append("sibling")
            raise

    with pytest.raises(ExceptionGroup) as info, weft.TaskGroup() as group:
        group.spawn(sibling)
        settle()
        group.spawn(fail, ValueError("first"))
        wait_for_ever()
    assert record == ["sibling"]
    assert info.value.message == "unhandled errors in a TaskGroup"
    assert [repr(error) for error in info.value.exceptions] == ["ValueError('first')"]


def test_a_body_that_fails_stops_the_children():
    with pytest.raises(ExceptionGroup) as info, weft.TaskGroup() as group:
        child = group.spawn(wait_for_ever)
        settle()
        raise ValueError("body")
    assert child.cancelled()
    assert [repr(error) for error in info.value.exceptions] == ["ValueError('body')"]


def test_all_errors_are_in_the_group():
    def clean_up_badly():
        try:
            wait_for_ever()
        finally:
            fail(KeyError("while cleaning up"))

    with pytest.raises(ExceptionGroup) as info, weft.TaskGroup() as group:
        group.spawn(clean_up_badly)
        settle()
        group.spawn(fail, ValueError("first"))
    assert [type(error) for error in info.value.exceptions] == [ValueError, KeyError]


def test_a_group_of_base_exceptions():
    class Strange(BaseException):
        pass

    with pytest.raises(BaseExceptionGroup) as info, weft.TaskGroup() as group:
        group.spawn(fail, Strange())
    assert not isinstance(info.value, ExceptionGroup)


@pytest.mark.parametrize("error", [KeyboardInterrupt("stop"), SystemExit(3)])
def test_some_are_raised_as_they_are(error):
    with pytest.raises(type(error)) as info, weft.TaskGroup() as group:
        sibling = group.spawn(wait_for_ever)
        settle()
        group.spawn(fail, error)
    assert info.value is error
    assert sibling.cancelled()


def test_the_bodys_too():
    with pytest.raises(KeyboardInterrupt), weft.TaskGroup() as group:
        sibling = group.spawn(wait_for_ever)
        settle()
        raise KeyboardInterrupt
    assert sibling.cancelled()


def test_nothing_is_reported(monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    with pytest.raises(ExceptionGroup), weft.TaskGroup() as group:
        group.spawn(fail, ValueError())
    assert seen == []


def test_a_child_that_was_cancelled_is_no_failure():
    with weft.TaskGroup() as group:
        child = group.spawn(wait_for_ever)
        other = group.spawn(weft.sleep, 0.002)
        settle()
        child.cancel()
    assert (child.cancelled(), other.cancelled()) == (True, False)


# --- Being cancelled ------------------------------------------------------------------------


def test_cancel_ends_children_and_body():
    with weft.TaskGroup() as group:
        child = group.spawn(wait_for_ever)
        settle()
        group.cancel()
        wait_for_ever()
        pytest.fail("the body was not cancelled")
    assert child.cancelled()


def test_a_child_may_cancel_the_group():
    with weft.TaskGroup() as group:
        child = group.spawn(wait_for_ever)
        group.spawn(group.cancel)
    assert child.cancelled()


def test_a_timeout_around_it_reaches_the_children():
    with pytest.raises(TimeoutError), weft.timeout(0.002), weft.TaskGroup() as group:
        child = group.spawn(wait_for_ever)
    assert child.cancelled()


def test_the_timeout_waits_for_their_cleaning_up():
    record = []

    def child():
        try:
            wait_for_ever()
        finally:
            weft.sleep(0.002)
            record.append("clean")

    with weft.move_on_after(0.001) as scope, weft.TaskGroup() as group:
        group.spawn(child)
    assert (record, scope.cancelled_caught) == (["clean"], True)


def test_cancelling_the_thread_cancels_the_children():
    def run():
        with weft.TaskGroup() as group:
            children.append(group.spawn(wait_for_ever))

    children = []
    thread = weft.spawn(run)
    settle()
    thread.cancel()
    thread.join(PROMPT_SECONDS)
    assert (thread.cancelled(), children[0].cancelled()) == (True, True)


def test_a_second_cancellation_does_not_abandon_the_children():
    def child():
        try:
            wait_for_ever()
        finally:
            gate.wait()
            record.append("clean")

    def run():
        with weft.TaskGroup() as group:
            group.spawn(child)

    gate, record = threading.Event(), []
    thread = weft.spawn(run)
    for _ in range(3):
        settle()
        thread.cancel()
    settle()
    assert thread.is_alive()
    gate.set()
    thread.join(PROMPT_SECONDS)
    assert (record, thread.cancelled()) == (["clean"], True)


def test_errors_count_more_than_a_cancellation():
    def child():
        try:
            wait_for_ever()
        finally:
            fail(ValueError("while cleaning up"))

    with pytest.raises(ExceptionGroup), weft.timeout(0.001), weft.TaskGroup() as group:
        group.spawn(child)


def test_control_c_while_it_waits_for_the_children():
    seen = run_program("""
def child():
    try:
        time.sleep(1000)
    finally:
        time.sleep(0.001)
        print("clean")
try:
    with weft.TaskGroup() as group:
        group.spawn(child)
        group.spawn(lambda: (time.sleep(0.01), os.kill(os.getpid(), signal.SIGINT)))
except KeyboardInterrupt:
    print("interrupted")
""")
    assert seen == (0, "clean\ninterrupted\n", "")


# --- What cannot be done ---------------------------------------------------------------------


def test_nothing_can_be_spawned_before():
    with pytest.raises(RuntimeError, match="is new"):
        weft.TaskGroup().spawn(int)


def test_nothing_can_be_spawned_after():
    with weft.TaskGroup() as group:
        pass
    with pytest.raises(RuntimeError, match="is closed"):
        group.spawn(int)


def test_nothing_can_be_spawned_once_it_fails():
    with pytest.raises(ExceptionGroup), weft.TaskGroup() as group:
        group.spawn(fail, ValueError())
        settle()
        with pytest.raises(RuntimeError, match="is stopping"):
            group.spawn(int)


def test_it_is_for_one_use():
    with weft.TaskGroup() as group:
        pass
    with pytest.raises(RuntimeError, match="only once"), group:
        pass


@pytest.mark.parametrize("limit", [0, -1])
def test_the_limit_is_at_least_one(limit):
    with pytest.raises(ValueError, match="at least 1"):
        weft.TaskGroup(max_concurrency=limit)


# --- max_concurrency ---------------------------------------------------------------------------


def test_at_most_so_many_at_once():
    running = most = 0

    def child():
        nonlocal running, most
        running += 1
        most = max(most, running)
        weft.sleep(0.0005)
        running -= 1

    with weft.TaskGroup(max_concurrency=3) as group:
        for _ in range(30):
            group.spawn(child)
    assert most == 3


def test_spawn_waits_for_its_turn():
    gates = [threading.Event() for _ in range(3)]
    record = []

    def body():
        with weft.TaskGroup(max_concurrency=1) as group:
            for n, gate in enumerate(gates):
                group.spawn(gate.wait)
                record.append(n)

    thread = weft.spawn(body)
    for n, gate in enumerate(gates):
        settle()
        assert record == list(range(n + 1))
        gate.set()
    thread.join()


def test_who_waits_for_a_turn_when_it_stops_is_refused():
    def spawn():
        with pytest.raises(RuntimeError, match="is stopping"):
            group.spawn(int)
        return "refused"

    with weft.TaskGroup(max_concurrency=1) as group:
        group.spawn(wait_for_ever)
        waiting = weft.spawn(spawn)
        settle()
        group.cancel()
    assert waiting.result() == "refused"


def test_who_is_cancelled_waiting_for_a_turn_passes_it_on():
    gate = threading.Event()
    record = []
    with weft.TaskGroup(max_concurrency=1) as group:
        group.spawn(gate.wait)
        waiting = [weft.spawn(group.spawn, record.append, n) for n in range(3)]
        settle()
        gate.set()
        weft.yield_now()  # the first one's turn has come, but it has not run yet
        waiting[0].cancel()
        waiting[1].cancel()
        for thread in waiting:
            thread.join(PROMPT_SECONDS)
    assert 2 in record


# --- Wherever a cancellation strikes ---------------------------------------------------------


def descriptors():
    return {int(name) for name in os.listdir("/proc/self/fd")}


class Workload:
    """A little of everything that green threads do, with a record of what must be given back."""

    def __init__(self):
        self.locks = [threading.Lock(), threading.RLock(), weft.Lock(), weft.RLock()]
        self.items = queue.Queue(1)
        self.simple = queue.SimpleQueue()
        self.channel = weft.Channel()
        self.condition = threading.Condition()
        self.open = False
        self.inside = 0

    def partner(self):
        """Feeds and empties what the others wait for, until it is cancelled."""
        while True:
            with contextlib.suppress(queue.Full):
                self.items.put_nowait("item")
            self.simple.put("item")
            with contextlib.suppress(queue.Empty):
                weft.select((self.channel.send, "value"), default=None)
            with self.condition:
                self.open = True
                self.condition.notify_all()
            weft.yield_now()

    def in_and_out_of_locks(self):
        for lock in self.locks:
            with lock:
                self.inside += 1
                try:
                    weft.yield_now()
                    time.sleep(0)
                finally:
                    self.inside -= 1

    def talk(self):
        left, right = socket.socketpair()
        with left, right, weft.TaskGroup() as group:
            answer = group.spawn(right.recv, 10)
            weft.yield_now()
            left.sendall(b"question")
            assert answer.result() == b"question"
            with left.makefile("rb") as file:
                right.sendall(b"a line\n")
                assert file.readline() == b"a line\n"

    def take(self):
        self.items.get()
        self.simple.get()
        self.channel.recv()
        with self.condition:
            while not self.open:
                self.condition.wait()

    def run(self):
        with weft.TaskGroup() as group:
            group.spawn(self.in_and_out_of_locks)
            group.spawn(self.in_and_out_of_locks)
            with weft.move_on_after(FOR_EVER):
                self.talk()
                self.take()
            self.in_and_out_of_locks()
        return "complete"


def cancelled_at(turn):
    """Run a workload, cancelled when the others have had so many turns; its result, or None."""
    workload = Workload()
    partner = weft.spawn(workload.partner)
    thread = weft.spawn(workload.run)
    for _ in range(turn):
        weft.yield_now()
    thread.cancel()
    thread.join(PROMPT_SECONDS)
    partner.cancel()
    partner.join(PROMPT_SECONDS)
    assert thread.done()
    assert partner.cancelled()
    assert workload.inside == 0
    for lock in workload.locks:
        assert lock.acquire(blocking=False)
        lock.release()
    assert workload.condition.acquire(blocking=False)
    workload.condition.release()
    return None if thread.cancelled() else thread.result()


@pytest.mark.slow
def test_nothing_is_left_wherever_it_is_cancelled(cooperative):
    """At its first turn, at its second, ... until it completes before it is cancelled.

    Between two turns of a green thread everybody else has one, so each of its parks is struck.
    """
    assert cancelled_at(100_000) == "complete"
    gc.collect()  # what earlier tests have left for it
    before = descriptors(), set(weft.all_threads()), threading.active_count()
    turn = completed = 0
    while completed < 5:
        completed = completed + 1 if cancelled_at(turn) == "complete" else 0
        assert (descriptors(), set(weft.all_threads()), threading.active_count()) == before, turn
        turn += 1
    assert turn > 50


@pytest.mark.slow
def test_nothing_is_left_wherever_a_hog_is_cancelled(cooperative):
    """The same between bytecodes, at moments that chance chooses.

    Of groups, scopes and locks, that is: the standard library's Python code loses descriptors then,
    as it does when KeyboardInterrupt strikes it.
    """
    weft.set_preemption(0.0001)
    before = set(weft.all_threads())
    for n in range(200):
        workload = Workload()
        with weft.move_on_after(n * 20e-6):
            while True:
                with weft.TaskGroup(max_concurrency=2) as group, weft.timeout(FOR_EVER):
                    for _ in range(3):
                        group.spawn(sum, range(1000))
                with workload.locks[0], workload.locks[2]:
                    sum(range(1000))
        assert not any(lock.locked() for lock in (workload.locks[0], workload.locks[2]))
        assert not any(thread.is_alive() for thread in set(weft.all_threads()) - before), n
