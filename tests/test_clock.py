"""The virtual clock: who sees it, what moves it, and what does not."""

import datetime as dt
import os
import queue
import select
import socket
import subprocess
import threading
import time

import pytest
from support import in_os_thread, libc, results, run_program, settle

import weft
from weft.testing import virtual_clock, wait_all_parked

HOUR = 3600


@pytest.fixture
def clock():
    with virtual_clock() as clock:
        yield clock


# --- Jumping -----------------------------------------------------------------------------------


def test_a_sleep_takes_exactly_as_long_as_it_should_and_no_time(clock):
    time.sleep(HOUR)
    assert clock.elapsed == HOUR


def test_the_main_green_thread_needs_no_other(clock):
    assert weft.statistics().alive == 0
    time.sleep(HOUR)
    assert clock.elapsed == HOUR


def test_time_stands_while_somebody_can_run(clock):
    before = time.monotonic_ns(), time.time_ns()
    sum(range(100_000))
    weft.yield_now()
    assert (time.monotonic_ns(), time.time_ns()) == before


def test_sleepers_wake_in_order_each_at_its_time():
    seen = run_program(
        """
import random
from weft.testing import virtual_clock
seconds = random.Random(1).sample(range(10**6), 1000)
seen = []
with virtual_clock() as clock:
    def sleep(number):
        time.sleep(number)
        seen.append((number, clock.elapsed))
    for thread in [weft.spawn(sleep, number) for number in seconds]:
        thread.join()
print(seen == [(number, number) for number in sorted(seconds)])
"""
    )
    assert (seen.output, seen.errors) == ("True\n", "")


def test_a_timer_that_died_does_not_move_it(clock):
    lock = threading.Lock()
    lock.acquire()
    waiter = weft.spawn(lock.acquire, timeout=5)
    settle()
    lock.release()
    waiter.join()
    assert clock.elapsed == 0


@pytest.mark.parametrize(
    "wait",
    [
        lambda: queue.Queue().get(timeout=HOUR),
        lambda: threading.Event().wait(HOUR),
        lambda: threading.Condition().wait_for(bool, HOUR) or acquire_condition(),
        lambda: select.select([], [], [], HOUR),
        lambda: select.poll().poll(HOUR * 1000),
        lambda: select.epoll().poll(HOUR),
        lambda: receive(HOUR),
        lambda: weft.Queue().get(timeout=HOUR),
        lambda: weft.sleep(HOUR),
        lambda: libc.sleep(HOUR),
        lambda: weft.spawn(threading.Event().wait, 2 * HOUR).join(HOUR),
    ],
    ids="queue event condition select poll epoll socket weft.Queue weft.sleep sleep join".split(),
)
def test_timeouts_are_virtual(clock, wait):
    try:
        wait()
    except (queue.Empty, TimeoutError, RuntimeError):
        pass
    # CPython rounds what is left of a timeout up to whole microseconds.
    assert clock.elapsed in (0, pytest.approx(HOUR, abs=1e-5))
    time.sleep(2 * HOUR)


def acquire_condition():
    condition = threading.Condition()
    with condition:
        condition.wait(HOUR)


def receive(seconds):
    left, right = socket.socketpair()
    with left, right:
        left.settimeout(seconds)
        left.recv(1)


def test_scopes_of_cancellation_end_by_it(clock):
    with pytest.raises(TimeoutError), weft.timeout(HOUR):
        threading.Event().wait()
    assert clock.elapsed == HOUR


def test_what_has_come_goes_before_what_is_due(clock, pair):
    left, right = pair
    reader = weft.spawn(left.recv, 1)
    left.settimeout(HOUR)
    settle()
    right.send(b"x")
    weft.sleep(0.001)
    assert (reader.done(), reader.result()) == (True, b"x")


def test_a_loop_that_waits_for_time_ends(clock):
    end = time.monotonic() + 1
    while time.monotonic() < end:
        pass
    assert clock.elapsed >= 1


def test_a_loop_that_waits_for_a_sleeper_ends(clock):
    flag = []
    weft.spawn(lambda: (time.sleep(1), flag.append(True)))
    while not flag:
        time.sleep(0)
    assert clock.elapsed >= 1


def test_it_can_be_moved(clock):
    sleeper = weft.spawn(time.sleep, 5)
    settle()
    clock.jump(5)
    assert not sleeper.done()
    weft.yield_now()
    time.sleep(0)
    sleeper.join()
    assert clock.elapsed == 5
    with pytest.raises(ValueError, match="back"):
        clock.jump(-1)


# --- Who sees it -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        time.monotonic,
        time.time,
        time.perf_counter,
        lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        lambda: time.clock_gettime(time.CLOCK_MONOTONIC_RAW),
        lambda: dt.datetime.now().timestamp(),  # noqa: DTZ005 - it is asked as programs ask
        lambda: dt.datetime.now(dt.UTC).timestamp(),
        lambda: time.mktime(time.localtime()),
    ],
    ids="monotonic time perf_counter boottime raw now utc localtime".split(),
)
def test_every_clock_shows_it(clock, read):
    before = read()
    time.sleep(HOUR)
    assert read() - before == pytest.approx(HOUR, abs=1.1)


def test_processor_time_is_as_it_was(clock):
    before = time.process_time()
    time.sleep(HOUR)
    assert time.process_time() - before < HOUR


def test_other_os_threads_keep_the_real_one(clock):
    before = weft.to_thread(time.monotonic)
    time.sleep(HOUR)
    assert weft.to_thread(time.monotonic) - before < HOUR


def test_afterwards_the_time_of_day_is_right_and_the_monotonic_clock_goes_on():
    real = in_os_thread(time.time)
    with virtual_clock():
        time.sleep(HOUR)
        there = time.monotonic()
    assert 0 <= time.monotonic() - there < HOUR / 2
    assert abs(time.time() - weft.to_thread(time.time)) < HOUR / 2
    real()


def test_afterwards_timeouts_take_real_time():
    with virtual_clock():
        time.sleep(HOUR)
    lock = threading.Lock()
    lock.acquire()
    before = weft.to_thread(time.monotonic)
    assert not lock.acquire(timeout=0.01)
    assert 0.01 <= weft.to_thread(time.monotonic) - before < HOUR / 2


def test_time_that_was_left_behind_does_not_end_a_sleep():
    """Without weft the monotonic clock is the real one again, which is behind."""
    program = """
from weft.testing import virtual_clock
with virtual_clock():
    time.sleep(3600)
weft.uninstall()
with virtual_clock() as clock:
    time.sleep(10)
    print(clock.elapsed)
"""
    assert run_program(program) == (0, "10.0\n", "")


def test_there_can_be_one_after_the_other_but_not_two(clock):
    with pytest.raises(RuntimeError, match="already"), virtual_clock():
        pass
    time.sleep(HOUR)
    assert clock.elapsed == HOUR


def test_without_one_there_is_nothing_to_move():
    with virtual_clock() as clock:
        pass
    with pytest.raises(RuntimeError, match="no virtual clock"):
        clock.jump(1)


def test_until_then_the_clock_is_not_hooked():
    seen = run_program(
        """
def hooked():
    return any("clock_gettime" in names for *_, names in weft._core._hooked_objects())
weft.spawn(int).join()
print(hooked())
from weft.testing import virtual_clock
with virtual_clock():
    print(hooked())
weft.uninstall()
weft.spawn(int).join()
before = time.monotonic()
time.sleep(0.01)
print(0.01 <= time.monotonic() - before < 5)
"""
    )
    assert (seen.output, seen.errors) == ("False\nTrue\nTrue\n", "")


# --- What is outside ---------------------------------------------------------------------------


def test_calls_on_os_threads_take_the_time_they_take(clock):
    sleeper = weft.spawn(time.sleep, HOUR)
    weft.to_thread(time.sleep, 0.02)
    assert 0.02 <= clock.elapsed < HOUR
    assert not sleeper.done()
    sleeper.join()


def test_so_do_offloaded_calls_and_children():
    with virtual_clock(patience=1) as clock:  # a child says through a pipe that it has begun
        sleeper = weft.spawn(time.sleep, HOUR)
        os.system("sleep 0.02")
        subprocess.run(["sleep", "0.02"], check=True)
        assert 0.02 <= clock.elapsed < HOUR
        assert not sleeper.done()
        sleeper.join()


def test_data_from_elsewhere_is_waited_for_where_there_is_no_deadline(clock, pair):
    left, right = pair
    sender = threading.Thread(target=lambda: (time.sleep(0.01), right.send(b"x")))
    sender.start()
    assert left.recv(1) == b"x"
    sender.join()


def test_with_patience_it_is_waited_for_even_so(pair):
    left, right = pair
    left.settimeout(HOUR)
    with virtual_clock(patience=5) as clock:
        answer = in_os_thread(lambda: (time.sleep(0.01), right.send(b"x")))
        assert (left.recv(1), clock.elapsed) == (b"x", 0)
    answer()


def test_several_readers_of_one_socket_do_not_stop_it(clock, pair):
    left, right = pair
    readers = [weft.spawn(left.recv, 1) for _ in range(3)]
    time.sleep(HOUR)
    assert clock.elapsed == HOUR
    right.send(b"xyz")
    assert sorted(results(readers)) == [b"x", b"y", b"z"]


def test_it_goes_on_in_a_forked_child():
    seen = run_program(
        """
from weft.testing import virtual_clock
with virtual_clock() as clock:
    pid = os.fork()
    if pid == 0:
        time.sleep(3600)
        os._exit(clock.elapsed != 3600)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
        flags=["-W", "ignore"],
    )
    assert seen.output == "0\n"


def test_a_deadlock_is_noticed():
    seen = run_program(
        """
from weft.testing import virtual_clock
with virtual_clock():
    weft.spawn(threading.Event().wait).join()
"""
    )
    assert "weft.Deadlock: no green thread can ever run again" in seen.errors


# --- wait_all_parked ---------------------------------------------------------------------------


def test_waits_until_all_others_are_parked():
    gate, done = threading.Event(), []

    def work():
        for _ in range(200):
            weft.yield_now()
        done.append(True)
        gate.wait()

    threads = [weft.spawn(work) for _ in range(3)]
    wait_all_parked()
    assert len(done) == 3
    gate.set()
    results(threads)


def test_alone_it_returns_at_once():
    wait_all_parked()


def test_several_may_wait_for_it():
    assert results([weft.spawn(wait_all_parked) for _ in range(3)]) == [None] * 3


def test_it_goes_before_time(clock):
    sleeper = weft.spawn(time.sleep, HOUR)
    wait_all_parked()
    assert (clock.elapsed, sleeper.done()) == (0, False)
    sleeper.join()


def test_those_whose_time_has_come_run_first(clock):
    sleeper = weft.spawn(time.sleep, 5)
    settle()
    clock.jump(5)
    wait_all_parked()
    assert sleeper.done()
