"""Signals: Python's handlers run in the main green thread, promptly, whatever it is parked in."""

import os
import signal
import threading
import time

import pytest
from support import PROMPT_SECONDS, run_program, settle, wait_until

import weft

# How the main green thread is parked when the signal comes.
PARKS = {
    "weft.sleep": "weft.sleep(30)",
    "time.sleep": "time.sleep(30)",
    "lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "lock with timeout": "lock = threading.Lock(); lock.acquire(); lock.acquire(timeout=30)",
    "event": "threading.Event().wait(30)",
    "queue": "import queue; queue.Queue().get()",
    "simple queue": "import queue; queue.SimpleQueue().get()",
    "join": "other.join()",
    "result": "other.result(30)",
    "thread join": "thread = threading.Thread(target=time.sleep, args=(30,), daemon=True);"
    "thread.start(); thread.join()",
    "recv": "left, right = socket.socketpair(); right.recv(1)",
    "accept": "socket.create_server(('127.0.0.1', 0)).accept()",
    "send": "left, right = socket.socketpair(); left.sendall(bytes(10**7))",
    "read": "reader, writer = os.pipe(); os.read(reader, 1)",
    "select": "import select; select.select([], [], [], 30)",
    "poll": "import select; select.poll().poll(30_000)",
    "epoll": "import select; select.epoll().poll(30)",
    "recv with timeout": "left, right = socket.socketpair(); right.settimeout(30); right.recv(1)",
    "shared semaphore": "import multiprocessing; multiprocessing.Semaphore(0).acquire()",
}

parked = pytest.mark.parametrize("park", PARKS)


def program_in(park, interruption):
    # The interruption comes last: who is interrupted before `other` is a daemon waits for it.
    other = "other = weft.spawn(time.sleep, 30)\nother.daemon = True\n"
    return f"{other}{interruption}\nweft.sleep(0)\n{PARKS[park]}\n"


INTERRUPT_SOON = """
def interrupt():
    time.sleep(0.03)
    os.kill(os.getpid(), signal.SIGINT)
interrupter = weft.spawn(interrupt)
"""

INTERRUPT_FROM_AN_OS_THREAD = """
def interrupt():
    time.sleep(0.03)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
"""

INTERRUPT_BY_TIMER = """
signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, 0.03)
"""


# --- Ctrl-C -------------------------------------------------------------------------------


@parked
def test_control_c_ends_what_main_is_parked_in(park):
    start = time.monotonic()
    seen = run_program(program_in(park, INTERRUPT_SOON))
    assert seen.errors.endswith("KeyboardInterrupt\n") or "KeyboardInterrupt\n" in seen.errors
    assert "Traceback (most recent call last)" in seen.errors
    assert seen.status == -signal.SIGINT
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("interruption", [INTERRUPT_FROM_AN_OS_THREAD, INTERRUPT_BY_TIMER])
@pytest.mark.parametrize("park", ["weft.sleep", "lock", "recv", "join"])
def test_control_c_while_everything_is_parked(park, interruption):
    seen = run_program(program_in(park, interruption))
    assert seen.status == -signal.SIGINT
    assert "KeyboardInterrupt\n" in seen.errors


def test_control_c_while_main_waits_for_a_process():
    # If the signal comes before the process is known, nobody ends it: it must not keep our pipes.
    quiet = "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL"
    park = f"import subprocess; subprocess.run(['sleep', '30'], {quiet})"
    seen = run_program(f"{INTERRUPT_BY_TIMER}weft.spawn(time.sleep, 1).daemon = True\n{park}\n")
    assert seen.status == -signal.SIGINT
    assert "KeyboardInterrupt\n" in seen.errors


def test_control_c_while_another_is_running():
    program = """
def spin():
    while True:
        weft.yield_now()
spinner = weft.spawn(spin)
spinner.daemon = True
signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, 0.03)
threading.Event().wait()
"""
    seen = run_program(program)
    assert seen.status == -signal.SIGINT
    assert "KeyboardInterrupt\n" in seen.errors


def test_control_c_can_be_caught_and_life_goes_on():
    program = (
        INTERRUPT_SOON
        + """
try:
    weft.sleep(30)
except KeyboardInterrupt:
    print("caught")
print(weft.spawn(pow, 2, 3).result())
"""
    )
    assert run_program(program) == (0, "caught\n8\n", "")


def test_control_c_in_main_leaves_the_others_alone():
    program = (
        INTERRUPT_SOON
        + """
left, right = socket.socketpair()
reader = weft.spawn(right.recv, 10)
try:
    threading.Lock().acquire() and time.sleep(30)
except KeyboardInterrupt:
    left.send(b"argh")
print(reader.result())
"""
    )
    assert run_program(program) == (0, "b'argh'\n", "")


def test_control_c_while_green_threads_are_joined_at_exit():
    program = """
signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, 0.05)
weft.spawn(time.sleep, 0.2)
"""
    seen = run_program(program)
    assert "KeyboardInterrupt" in seen.errors


# --- Handlers -----------------------------------------------------------------------------


@pytest.fixture
def handled():
    """Handles SIGUSR1; a list of (who ran the handler, when)."""
    calls = []
    before = signal.signal(
        signal.SIGUSR1, lambda *_: calls.append((threading.get_ident(), time.monotonic()))
    )
    yield calls
    signal.signal(signal.SIGUSR1, before)


def kill_me():
    os.kill(os.getpid(), signal.SIGUSR1)


@pytest.mark.parametrize("pause", [weft.sleep, time.sleep, threading.Event().wait])
def test_a_handler_runs_while_main_is_parked(handled, pause):
    sent = []

    def send():
        time.sleep(0.005)
        sent.append(time.monotonic())
        kill_me()

    sender = weft.spawn(send)
    start = time.monotonic()
    pause(0.05)
    assert time.monotonic() - start >= 0.05
    sender.join()
    ((who, when),) = handled
    assert who == threading.get_ident()
    assert when - sent[0] < 0.03


def test_a_handler_runs_in_main_though_a_green_thread_got_the_signal(handled):
    def send():
        kill_me()
        return len(handled), threading.get_ident()

    sender = weft.spawn(send)
    weft.sleep(0.001)
    assert sender.result()[0] == 0
    assert [who for who, _ in handled] == [threading.get_ident()]


def test_signals_are_not_lost_among_many_parks(handled):
    def send():
        for _ in range(20):
            count = len(handled)
            kill_me()
            wait_until(lambda count=count: len(handled) > count)

    weft.spawn(send).result(PROMPT_SECONDS)
    assert len(handled) == 20


def test_a_handler_may_raise_out_of_a_park(cooperative):
    class Argh(Exception):
        pass

    def handler(*_):
        raise Argh

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        for park in (lambda: weft.sleep(30), lambda: threading.Event().wait(30)):
            sender = weft.spawn(kill_me)
            with pytest.raises(Argh):
                park()
            sender.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_handler_may_park(pair):
    left, right = pair
    record = []

    def handler(*_):
        weft.sleep(0.001)
        record.append(right.recv(10))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        sender = weft.spawn(lambda: (kill_me(), time.sleep(0.002), left.send(b"argh")))
        time.sleep(0.02)
        sender.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert record == [b"argh"]


def test_what_was_interrupted_goes_on(handled, pair):
    left, right = pair

    def send():
        for _ in range(3):
            time.sleep(0.001)
            kill_me()
        time.sleep(0.001)
        left.send(b"argh")

    sender = weft.spawn(send)
    assert right.recv(10) == b"argh"
    sender.join()
    assert len(handled) == 3


def test_a_timeout_counts_from_its_beginning(handled):
    def send():
        for _ in range(5):
            time.sleep(0.004)
            kill_me()

    sender = weft.spawn(send)
    lock = threading.Lock()
    lock.acquire()
    start = time.monotonic()
    assert lock.acquire(timeout=0.03) is False
    assert 0.03 <= time.monotonic() - start < 0.2
    sender.join()


def test_interval_timers(pair):
    ticks = []
    before = signal.signal(signal.SIGUSR2, lambda *_: ticks.append(1))
    outcome = weft.spawn(pair[0].recv, 1)
    try:
        thread = threading.Thread(
            target=lambda: [
                (time.sleep(0.002), os.kill(os.getpid(), signal.SIGUSR2)) for _ in range(5)
            ]
        )
        thread.start()
        wait_until(lambda: len(ticks) >= 3)
        thread.join()
    finally:
        signal.signal(signal.SIGUSR2, before)
    pair[1].send(b"x")
    assert outcome.result(PROMPT_SECONDS) == b"x"


def test_setitimer_ticks_while_main_is_parked():
    program = """
ticks = []
signal.signal(signal.SIGALRM, lambda *_: ticks.append(time.monotonic()))
weft.spawn(time.sleep, 0.2)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
weft.sleep(0.1)
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(ticks) >= 5)
"""
    assert run_program(program) == (0, "True\n", "")


def test_sigchld():
    program = """
import subprocess
ended = threading.Event()
signal.signal(signal.SIGCHLD, lambda *_: ended.set())
process = subprocess.Popen(["true"])
print(weft.spawn(ended.wait, 20).result(), process.wait())
"""
    assert run_program(program) == (0, "True 0\n", "")


def test_wakeup_descriptor(pair):
    left, right = pair
    left.setblocking(False)
    before_handler = signal.signal(signal.SIGUSR1, lambda *_: None)
    before = signal.set_wakeup_fd(left.fileno())
    try:
        reader = weft.spawn(right.recv, 10)
        settle()
        kill_me()
        assert reader.result(PROMPT_SECONDS) == bytes([signal.SIGUSR1])
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGUSR1, before_handler)


def test_signal_handlers_are_told_as_they_were_set():
    def handler(*_):
        pass

    weft.spawn(int).join()
    before = signal.signal(signal.SIGUSR1, handler)
    assert signal.getsignal(signal.SIGUSR1) is handler
    assert signal.signal(signal.SIGUSR1, signal.SIG_IGN) is handler
    assert signal.signal(signal.SIGUSR1, before) is signal.SIG_IGN


def test_handlers_survive_install_and_uninstall():
    program = """
calls = []
signal.signal(signal.SIGUSR1, lambda *_: calls.append(weft.installed()))
for _ in range(3):
    weft.install()
    os.kill(os.getpid(), signal.SIGUSR1)
    weft.uninstall()
    os.kill(os.getpid(), signal.SIGUSR1)
print(calls)
"""
    expected = str([True, False] * 3) + "\n"
    assert run_program(program) == (0, expected, "")


def test_signals_cannot_be_handled_by_green_threads():
    with pytest.raises(ValueError, match="main thread"):
        weft.spawn(signal.signal, signal.SIGUSR1, signal.SIG_IGN).result()


def test_default_actions_stay():
    seen = run_program("weft.spawn(int).join()\nos.kill(os.getpid(), signal.SIGTERM)\n")
    assert seen.status == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_faulthandler_registers_signals(number):
    program = f"""
import faulthandler
weft.spawn(int).join()
faulthandler.register({int(number)}, all_threads=False)
weft.spawn(os.kill, os.getpid(), {int(number)}).join()
print("goes on")
"""
    seen = run_program(program)
    assert (seen.status, seen.output) == (0, "goes on\n")
    assert "most recent call first" in seen.errors


def test_sigpipe_is_still_ignored(pair):
    pair[1].close()
    with pytest.raises(BrokenPipeError):
        weft.spawn(pair[0].send, b"x").result()
