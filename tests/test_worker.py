"""OS threads that run green threads: several at once, and what passes between them."""

import queue
import socket
import threading

import pytest
from support import PROMPT_SECONDS, results, run_program, settle, spawn_each

import weft


def in_os_thread(fn, *args):
    """Run `fn` in an OS thread of its own and return what it returned."""
    box = []
    thread = threading.Thread(target=lambda: box.append(fn(*args)))
    thread.start()
    thread.join(PROMPT_SECONDS)
    assert not thread.is_alive()
    return box[0]


def test_every_os_thread_has_green_threads_of_its_own():
    def program():
        here = threading.get_native_id()
        threads = spawn_each(lambda _: (weft.yield_now(), threading.get_native_id())[1], range(10))
        return here, results(threads)

    here, natives = in_os_thread(program)
    assert natives == [here] * 10
    assert here != threading.get_native_id()


def test_os_threads_and_green_threads_interleave():
    rounds = 50
    queues = [queue.SimpleQueue() for _ in range(2)]

    def player(mine, other):
        for _ in range(rounds):
            other.put(mine.get() + 1)

    def table(mine, other):
        # Two green threads of each OS thread take turns at the ball.
        results([weft.spawn(player, mine, other) for _ in range(2)])
        return True

    queues[0].put(0)
    players = [threading.Thread(target=table, args=pair) for pair in (queues, queues[::-1])]
    for thread in players:
        thread.start()
    for thread in players:
        thread.join(PROMPT_SECONDS)
    assert [thread.is_alive() for thread in players] == [False, False]
    assert queues[0].get() == 4 * rounds


def test_four_os_threads_with_many_green_threads_each():
    def program(number):
        total = 0
        lock = threading.Lock()

        def add(amount):
            nonlocal total
            for _ in range(10):
                with lock:
                    before = total
                    weft.yield_now()
                    total = before + amount

        results(spawn_each(add, range(20)))
        return total

    totals = []
    threads = [threading.Thread(target=lambda n=n: totals.append(program(n))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PROMPT_SECONDS)
    assert totals == [10 * sum(range(20))] * 4


def test_a_green_thread_can_be_joined_from_another_os_thread():
    gate = threading.Event()
    awaited = weft.spawn(lambda: gate.wait() and "argh")
    box = queue.SimpleQueue()
    asker = threading.Thread(target=lambda: box.put(awaited.result(PROMPT_SECONDS)))
    asker.start()
    settle()
    gate.set()
    assert box.get(timeout=PROMPT_SECONDS) == "argh"
    asker.join()


def test_a_green_thread_of_another_os_thread_can_be_joined():
    gate, box = threading.Event(), queue.SimpleQueue()

    def program():
        thread = weft.spawn(lambda: gate.wait() and "argh")
        box.put(thread)
        thread.join()

    other = threading.Thread(target=program)
    other.start()
    foreign = box.get(timeout=PROMPT_SECONDS)
    with pytest.raises(TimeoutError):
        foreign.result(0.001)
    joiners = [weft.spawn(foreign.result) for _ in range(3)]
    settle()
    gate.set()
    assert results(joiners) == ["argh"] * 3
    other.join()


def test_a_wake_from_another_os_thread_ends_the_sleep_of_the_reactor():
    # Nothing else is going on here, so this OS thread sleeps in epoll when it is woken.
    for _ in range(50):
        gate = threading.Event()
        waiter = weft.spawn(gate.wait, PROMPT_SECONDS)
        opener = threading.Thread(target=gate.set)
        opener.start()
        assert waiter.result() is True
        opener.join()


def test_wakes_from_other_os_threads_are_not_lost_among_many():
    gates = [threading.Event() for _ in range(200)]
    waiters = spawn_each(lambda gate: gate.wait(PROMPT_SECONDS), gates)
    settle()
    openers = [
        threading.Thread(target=lambda part=gates[n::4]: [gate.set() for gate in part])
        for n in range(4)
    ]
    for opener in openers:
        opener.start()
    assert all(results(waiters))
    for opener in openers:
        opener.join()


def test_a_wake_from_elsewhere_is_not_taken_for_one_of_an_earlier_life():
    # Green threads of main, parked often and woken from elsewhere, leave their memory to those of
    # another OS thread, which have parked only once.
    program = """
def crowd(gate):
    return [weft.spawn(gate.wait, 20) for _ in range(5)]
for _ in range(1000):
    weft.spawn(weft.sleep, 0).join()
gate = threading.Event()
waiters = crowd(gate)
weft.sleep(0)
opener = threading.Thread(target=gate.set)
opener.start()
print([waiter.result() for waiter in waiters])
opener.join()

gate, parked = threading.Event(), threading.Event()
def program():
    waiters = crowd(gate)
    weft.yield_now()
    parked.set()
    print([waiter.result() for waiter in waiters])
thread = threading.Thread(target=program)
thread.start()
parked.wait()
gate.set()
thread.join()
"""
    expected = f"{[True] * 5}\n" * 2
    assert run_program(program, timeout=10) == (0, expected, "")


def test_thread_states_are_made_while_others_make_theirs():
    # CPython's own lock around its list of threads is a lock like any other, and contended here.
    program = """
def program():
    gate = threading.Event()
    for _ in range(20):
        waiters = [weft.spawn(gate.wait) for _ in range(20)]
        weft.yield_now()
    gate.set()
for _ in range(20):
    threads = [threading.Thread(target=program) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("done")
"""
    assert run_program(program) == (0, "done\n", "")


def test_green_threads_of_an_os_thread_that_ends_are_finished_first():
    program = """
box = []
def late():
    time.sleep(0.005)
    return "late"
thread = threading.Thread(target=lambda: box.append(weft.spawn(late)))
thread.start()
thread.join(20)
print(thread.is_alive(), box[0].result(0))
"""
    assert run_program(program, timeout=10) == (0, "False late\n", "")


def test_an_os_thread_that_ends_does_not_wait_for_daemons():
    program = """
def program():
    thread = weft.spawn(time.sleep, 1000)
    thread.daemon = True
    weft.yield_now()
thread = threading.Thread(target=program)
thread.start()
thread.join(20)
print(thread.is_alive())
"""
    assert run_program(program) == (0, "False\n", "")


def test_os_threads_come_and_go():
    before = weft.statistics().os_threads
    for _ in range(20):
        assert in_os_thread(lambda: weft.spawn(lambda: 3).result()) == 3
    assert weft.statistics().os_threads == before


def test_a_socket_between_two_os_threads(pair):
    left, right = pair

    def echo():
        def serve():
            while data := right.recv(100):
                right.sendall(data)

        weft.spawn(serve).result()
        return True

    server = threading.Thread(target=echo)
    server.start()

    def ask(number):
        left.sendall(b"%03d" % number)
        return number

    answers = b""
    for number in range(20):
        weft.spawn(ask, number).result()
        answers += weft.spawn(left.recv, 3, socket.MSG_WAITALL).result(PROMPT_SECONDS)
    left.shutdown(socket.SHUT_WR)
    server.join(PROMPT_SECONDS)
    assert answers == b"".join(b"%03d" % number for number in range(20))
