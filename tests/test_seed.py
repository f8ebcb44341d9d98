"""Schedules that a seed decides: which races they find, and that they are the same each time."""

import sys
import threading
import time
from concurrent.futures import CancelledError

import pytest
from support import results, spawn_each

import weft
from weft.testing import Sequencer, no_leaks, seeded

SEEDS = range(200)


class Number:
    """What two threads may read before either writes."""

    def __init__(self):
        self.value = 0

    def read(self):
        return self.value

    def write(self, value):
        self.value = value


def add_one(number):
    number.write(number.read() + 1)


def in_green_threads(fn, *args, count=2):
    threads = [weft.spawn(fn, *args) for _ in range(count)]
    for thread in threads:
        thread.join()


def in_threads(fn, *args, count=2):
    threads = [threading.Thread(target=fn, args=args) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def lost(seed, run):
    number = Number()
    with seeded(seed):
        run(add_one, number)
    return number.value != 2


@pytest.mark.parametrize("run", [in_green_threads, in_threads])
def test_a_lost_update_is_found_and_found_again(installed, run):
    losing = [seed for seed in SEEDS if lost(seed, run)]
    assert 0 < len(losing) < len(SEEDS)
    assert [seed for seed in SEEDS if lost(seed, run)] == losing


def test_without_a_point_there_is_no_race(installed):
    """No call and no jump lies between: CPython's threads could not be switched there either."""

    def add(numbers):
        value = numbers[0]
        numbers[0] = value + 1

    for seed in SEEDS:
        numbers = [0]
        with seeded(seed):
            in_threads(add, numbers)
        assert numbers == [2]


def test_a_lock_keeps_a_number_whole(installed):
    lock = threading.Lock()

    def add(number):
        with lock:
            add_one(number)

    for seed in SEEDS:
        number = Number()
        with seeded(seed):
            in_threads(add, number)
        assert number.value == 2


def order_of(seed, count=8):
    order = []
    with seeded(seed):
        for thread in spawn_each(order.append, range(count)):
            thread.join()
    return order


def test_the_seed_decides_who_runs_first():
    orders = [order_of(seed) for seed in SEEDS]
    assert orders == [order_of(seed) for seed in SEEDS]
    assert len({order[0] for order in orders}) == 8


@pytest.mark.parametrize("loop", ["while not flag:\n    pass", "while True:\n    if flag: break"])
def test_a_loop_without_calls_lets_the_others_run(loop):
    for seed in range(20):
        flag = []
        with seeded(seed):
            weft.spawn(flag.append, True)
            exec(loop, {"flag": flag})
        assert flag


def test_a_c_function_that_returns_is_a_point():
    def count(own, other):
        for number in range(100):
            own.append(number)
            most[0] = max(most[0], 0 < len(other) < 100)

    most = [False]
    for seed in SEEDS:
        one, other = [], []
        with seeded(seed):
            threads = [weft.spawn(count, one, other), weft.spawn(count, other, one)]
            results(threads)
    assert most[0]


def test_no_preempt_holds():
    def append_all(numbers):
        with weft.no_preempt():
            numbers.extend(len(numbers) for _ in range(50))
            numbers.append("end")

    for seed in SEEDS:
        numbers = []
        with seeded(seed):
            in_green_threads(append_all, numbers)
        assert numbers == [*range(50), "end", *range(51, 101), "end"]


def test_a_trace_function_of_the_programs_stays(installed):
    seen = []

    def trace(frame, event, argument):
        seen.append(frame.f_code.co_name)

    def traced():
        sys.settrace(trace)
        Number().read()
        sys.settrace(None)

    with seeded(1):
        in_green_threads(traced, count=1)
    assert "read" in seen


def test_afterwards_all_is_as_before(installed):
    def state():
        return weft.get_preemption(), threading.getprofile(), sys.gettrace(), sys.getprofile()

    before = state()
    with seeded(1):
        assert weft.get_preemption() is None
    assert state() == before
    record = []
    for thread in spawn_each(record.append, range(100)):
        thread.join()
    assert record == list(range(100))


# --- Sequencer ---------------------------------------------------------------------------------


def test_blocks_run_in_the_order_of_their_numbers():
    for seed in range(20):
        seq, order = Sequencer(), []

        def enter(position, seq=seq, order=order):
            with seq(position):
                order.append(position)
                weft.yield_now()

        with seeded(seed):
            results(spawn_each(enter, [3, 1, 4, 0, 2]))
        assert order == [0, 1, 2, 3, 4]


def test_a_number_can_be_used_once():
    seq = Sequencer()
    with seq(0):
        pass
    with pytest.raises(RuntimeError, match="position 0"), seq(0):
        pass


def test_a_block_that_fails_lets_the_next_go_on():
    seq = Sequencer()
    with pytest.raises(ZeroDivisionError), seq(0):
        raise ZeroDivisionError
    with seq(1):
        pass


def test_a_wait_that_is_interrupted_breaks_the_sequence():
    seq = Sequencer()

    def enter(position):
        with seq(position):
            pytest.fail("it was not its turn")

    first, second = weft.spawn(enter, 1), weft.spawn(enter, 2)
    weft.testing.wait_all_parked()
    first.cancel()
    weft.wait([first, second])
    with pytest.raises(CancelledError):
        first.exception()
    assert isinstance(second.exception(), RuntimeError)


# --- Leaks -------------------------------------------------------------------------------------


def test_no_green_thread_is_left():
    with no_leaks():
        weft.spawn(time.sleep, 0.001)


def test_one_that_is_left_is_named_with_its_stack():
    gate = threading.Event()
    with pytest.raises(weft.testing.LeakError, match=r"green-\d+ \(wait\)[\s\S]*in Event.wait"):
        with no_leaks(patience=0.001):
            weft.spawn(gate.wait)
    gate.set()


def test_daemons_and_those_from_before_do_not_count(installed):
    gate = threading.Event()
    before = weft.spawn(gate.wait)
    with no_leaks(patience=0):
        weft.spawn(gate.wait).daemon = True
        threading.Thread(target=gate.wait, daemon=True).start()
    gate.set()
    before.join()
