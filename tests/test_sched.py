"""Who runs next: order, fairness, very many."""

import itertools
import random
import select
import threading
import time

import pytest
from support import PROMPT_SECONDS, results, run_program, settle, spawn_each, together

import weft

# --- Order --------------------------------------------------------------------------------


def test_they_take_turns_in_the_order_of_spawning():
    record = []

    def worker(name):
        for step in range(3):
            record.append((step, name))
            weft.yield_now()

    results(spawn_each(worker, "abc"))
    assert record == list(itertools.product(range(3), "abc"))


@pytest.mark.parametrize("pause", [weft.yield_now, lambda: weft.sleep(0), lambda: time.sleep(0)])
def test_sleep_of_zero_is_a_yield(pause, cooperative):
    record = []

    def worker(name):
        for _ in range(2):
            record.append(name)
            pause()

    results(spawn_each(worker, "ab"))
    assert record == ["a", "b", "a", "b"]


def test_yield_now_lets_everybody_run_once(cooperative):
    turns = [0] * 200
    stop = False

    def worker(number):
        while not stop:
            turns[number] += 1
            weft.yield_now()

    threads = spawn_each(worker, range(200))
    for _ in range(10):
        weft.yield_now()
    assert set(turns) == {10}
    stop = True
    results(threads)


def test_yield_now_of_the_only_one_returns():
    for _ in range(1000):
        weft.yield_now()


@pytest.mark.parametrize("sleep", [weft.sleep, time.sleep])
def test_sleepers_wake_in_the_order_of_their_times(sleep):
    record = []
    tens_of_ms = [3, 1, 2, 0, 4]

    def sleeper(number):
        sleep(number / 100)
        record.append(number)

    results(spawn_each(sleeper, tens_of_ms))
    assert record == sorted(tens_of_ms)


def test_sleeps_overlap():
    start = time.monotonic()
    results(spawn_each(weft.sleep, [0.05] * 100))
    assert 0.05 <= time.monotonic() - start < 1


def test_a_sleeper_wakes_though_others_keep_yielding(cooperative):
    stop = False

    def spin():
        while not stop:
            weft.yield_now()

    spinners = [weft.spawn(spin) for _ in range(3)]
    weft.spawn(weft.sleep, 0.01).result(PROMPT_SECONDS)
    stop = True
    results(spinners)


def test_a_reader_wakes_though_others_keep_yielding(pair, cooperative):
    stop = False
    left, right = pair

    def spin():
        while not stop:
            weft.yield_now()

    spinners = [weft.spawn(spin) for _ in range(3)]
    reader = weft.spawn(right.recv, 1)
    for _ in range(5):
        weft.yield_now()
    left.send(b"x")
    assert reader.result(PROMPT_SECONDS) == b"x"
    stop = True
    results(spinners)


def test_a_wake_from_an_os_thread_arrives_though_others_keep_yielding(cooperative):
    gate, stop = threading.Event(), False

    def spin():
        while not stop:
            weft.yield_now()

    spinners = [weft.spawn(spin) for _ in range(3)]
    waiter = weft.spawn(gate.wait, PROMPT_SECONDS)
    weft.yield_now()
    opener = threading.Thread(target=gate.set)
    opener.start()
    assert waiter.result() is True
    stop = True
    results(spinners)
    opener.join()


def test_calls_that_never_wait_let_the_runnable_run(pair, cooperative):
    left, right = pair
    ran = []
    other = weft.spawn(ran.append, 1)
    while not ran:
        left.send(b"x")
        right.recv(1)
    other.join()


def test_calls_that_never_wait_do_not_starve_others(pair, cooperative):
    stop = False
    left, right = pair

    def chatter():
        rounds = 0
        while not stop:
            left.send(b"x")
            right.recv(1)
            rounds += 1
        return rounds

    chatterer = weft.spawn(chatter)
    for _ in range(3):
        weft.spawn(weft.sleep, 0.001).result(PROMPT_SECONDS)
    stop = True
    assert chatterer.result(PROMPT_SECONDS) > 0


def test_a_loop_over_poll_does_not_starve_others(cooperative):
    stop = False

    def loop():
        while not stop:
            select.select([], [], [], 0)

    looper = weft.spawn(loop)
    weft.spawn(weft.sleep, 0.005).result(PROMPT_SECONDS)
    stop = True
    looper.result(PROMPT_SECONDS)


def test_those_that_become_runnable_wait_for_their_turn():
    record = []
    gate = threading.Event()

    def waiter():
        gate.wait()
        record.append("waiter")

    def opener():
        gate.set()
        record.append("opener")

    together(waiter, opener)
    assert record == ["opener", "waiter"]


# --- Many ---------------------------------------------------------------------------------


def test_spawn_and_end_in_any_order():
    chance = random.Random(7)
    alive = []
    for number in range(2000):
        alive.append((number, weft.spawn(lambda n: (weft.yield_now(), n)[1], number)))
        if chance.random() < 0.5:
            expected, thread = alive.pop(chance.randrange(len(alive)))
            assert thread.result() == expected
    assert results(thread for _, thread in alive) == [number for number, _ in alive]


@pytest.mark.slow
def test_100_000_parked_at_once():
    program = """
gate = threading.Event()
def wait(number):
    gate.wait()
    return number
threads = [weft.spawn(wait, number) for number in range(100_000)]
while weft.statistics().runnable:
    weft.yield_now()
print(weft.statistics().alive, weft.statistics().runnable)
gate.set()
print(sum(thread.result() for thread in threads), weft.statistics().alive)
"""
    assert run_program(program, timeout=120) == (0, "100000 0\n4999950000 0\n", "")


# --- Statistics ---------------------------------------------------------------------------


def test_statistics_count_threads():
    before = weft.statistics()
    gate = threading.Event()
    threads = [weft.spawn(gate.wait) for _ in range(3)]
    now = weft.statistics()
    assert now.started == before.started + 3
    assert (now.alive, now.runnable) == (before.alive + 3, before.runnable + 3)
    assert now.peak_alive >= now.alive
    settle()
    now = weft.statistics()
    assert (now.alive, now.runnable) == (before.alive + 3, 0)
    assert now.parks >= before.parks + 3
    assert now.switches >= before.switches + 3
    gate.set()
    results(threads)
    assert weft.statistics().alive == before.alive


def test_statistics_tell_of_the_hooks():
    weft.spawn(int).join()
    now = weft.statistics()
    assert now.os_threads >= 1
    assert now.hooked_symbols > 30
    assert now.hooked_slots > 30
    assert now.hooked_objects > 0


def test_statistics_can_be_read_by_name_and_by_place():
    now = weft.statistics()
    assert now[0] == now.started
    assert len(now) == len(now.__match_args__) == 12
