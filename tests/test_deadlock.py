"""weft.Deadlock: raised where nothing can ever happen again, and nowhere else."""

import re

import pytest
from support import run_program

import weft

# Long enough for the detector to have had its look (which it does after 100 ms), several times.
SUSPICIOUS_SECONDS = 0.5

OPPOSITE = """
def transfer(first, second):
    with first:
        time.sleep(0.01)
        with second:
            pass

a, b = {lock}(), {lock}()
"""

SPAWNED = """
threads = [weft.spawn(transfer, a, b), weft.spawn(transfer, b, a)]
"""

THREADS = """
weft.install()
threads = [threading.Thread(target=transfer, args=locks) for locks in ((a, b), (b, a))]
for thread in threads:
    thread.start()
"""

JOIN = """
for thread in threads:
    thread.join()
"""


def cycle_in(errors):
    """Who waits for a lock that whom holds, as told."""
    pattern = r"^ +(\S+) \(transfer\).*held by (\S+) \(transfer\)$"
    return re.findall(pattern, errors, re.MULTILINE)


@pytest.mark.parametrize("lock", ["threading.Lock", "threading.RLock", "threading.Condition"])
def test_two_locks_in_opposite_order(lock):
    seen = run_program(OPPOSITE.format(lock=lock) + SPAWNED + JOIN)
    assert seen.status == 1
    assert (
        "weft.Deadlock: no green thread can ever run again\n  2 wait for each other:" in seen.errors
    )
    assert cycle_in(seen.errors) == [("green-1", "green-2"), ("green-2", "green-1")]
    assert re.search(r"<string>:\d+, in transfer", seen.errors)
    assert "MainThread: waiting for green-1 (transfer) to end" in seen.errors
    assert "spawned at <string>:" in seen.errors


def test_threads_of_threading():
    seen = run_program(OPPOSITE.format(lock="threading.Lock") + THREADS + JOIN)
    assert seen.status == 1
    assert cycle_in(seen.errors) == [("Thread-1", "Thread-2"), ("Thread-2", "Thread-1")]
    assert "MainThread: waiting for Thread-1 (transfer) to end" in seen.errors


def test_a_cycle_is_one_though_the_program_handles_signals():
    handling = "signal.signal(signal.SIGTERM, print)\n"
    seen = run_program(handling + OPPOSITE.format(lock="threading.Lock") + THREADS + JOIN)
    assert "2 wait for each other" in seen.errors


def test_the_main_thread_in_the_cycle():
    seen = run_program(
        """
lock = threading.Lock()
def child():
    with lock:
        pass
with lock:
    try:
        weft.spawn(child).result()
    except weft.Deadlock as deadlock:
        print(deadlock)
print("and on")
"""
    )
    assert (seen.status, seen.errors) == (0, "")
    assert "2 wait for each other" in seen.output
    assert re.search(r"green-1 \(child\).*held by MainThread", seen.output)
    assert seen.output.endswith("and on\n")


def test_a_lock_taken_twice():
    seen = run_program(
        """
lock = threading.Lock()
def twice():
    with lock, lock:
        pass
weft.spawn(twice).join()
"""
    )
    assert "one waits for itself" in seen.errors
    assert re.search(r"green-1 \(twice\).*held by itself", seen.errors)


def test_the_end_of_one_that_waits_in_vain():
    seen = run_program(
        """
import queue
weft.spawn(queue.Queue().get).result()
"""
    )
    assert seen.status == 1
    assert "green-1 (get), spawned at <string>:5: waiting for an item in a queue" in seen.errors


def test_an_unknown_holder_is_said_to_be_unknown():
    seen = run_program(
        """
lock = threading.Lock()
lock.acquire()
weft.spawn(lock.acquire).join()
"""
    )
    assert re.search(r"waiting for a lock \(at 0x\w+\), not known who holds it", seen.errors)


def test_at_exit_it_is_said_once():
    seen = run_program("weft.spawn(threading.Event().wait)\n")
    assert seen.status == 0
    assert seen.errors.count("weft: at exit, no green thread can ever run again") == 1


def test_after_one_comes_another():
    seen = run_program(
        """
for attempt in range(2):
    try:
        weft.spawn(threading.Event().wait).join()
    except weft.Deadlock as deadlock:
        print(deadlock.repeated, flush=True)
os._exit(0)
"""
    )
    assert seen.output == "False\nFalse\n"


# --- Other OS threads ------------------------------------------------------------------------

ACROSS = """
def elsewhere(*locks):
    green = weft.spawn(transfer, *locks)
    green.join()
os_thread = threading.Thread(target=elsewhere, args=(b, a), daemon=True)
os_thread.start()
weft.spawn(transfer, a, b).join()
"""


def test_a_cycle_across_os_threads():
    seen = run_program(OPPOSITE.format(lock="threading.Lock") + ACROSS)
    assert seen.status == 1
    assert "weft.Deadlock" in seen.errors
    assert sorted(cycle_in(seen.errors)) == [("green-1", "green-2"), ("green-2", "green-1")]


def test_a_cycle_with_a_plain_os_thread():
    seen = run_program(
        OPPOSITE.format(lock="threading.Lock")
        + """
weft.spawn(int).join()  # only from then on can it be seen that an OS thread waits
os_thread = threading.Thread(target=transfer, args=(b, a), name="plain", daemon=True)
os_thread.start()
weft.spawn(transfer, a, b).join()
"""
    )
    assert seen.status == 1
    assert re.search(r"green-\d \(transfer\).*held by plain", seen.errors)
    assert re.search(r"plain: waiting for a lock.*held by green-\d \(transfer\)", seen.errors)


IDLE = {
    "workers of to_thread": "weft.to_thread(int)",
    "a helper that made a call": "socket.getaddrinfo('127.0.0.1', 80)",
    "a carrier": """
import hashlib
gate = threading.Event()
weft.spawn(gate.wait)
weft.set_policy("_hashlib.*", "offload")
before = weft.statistics().offloads
hashlib.sha256(bytes(10_000_000))
assert weft.statistics().offloads > before
gate.set()
""",
    "an OS thread that joins another": """
def forever():
    threading.Event().wait()
first = threading.Thread(target=forever, daemon=True)
first.start()
threading.Thread(target=first.join, daemon=True).start()
""",
}


@pytest.mark.parametrize("who", IDLE)
def test_os_threads_that_do_nothing_are_no_hope(who):
    seen = run_program(
        "weft.spawn(int).join()\n"
        + IDLE[who]
        + "\nweft.spawn(threading.Event().wait).result()\nprint('not raised')\n"
    )
    assert seen.status == 1, seen
    assert "weft.Deadlock: no green thread can ever run again" in seen.errors


# --- Where there is hope -------------------------------------------------------------------------

HOPE = {
    "an OS thread that will set the event": """
        with weft.os_threads():
            threading.Thread(target=lambda: (real_sleep(), event.set())).start()
        weft.spawn(event.wait).join()
    """,
    "an OS thread that waits with a timeout, then sets the event": """
        other = threading.Event()
        with weft.os_threads():
            threading.Thread(target=lambda: (other.wait(SECONDS), event.set())).start()
        weft.spawn(event.wait).join()
    """,
    "an OS thread woken by one that sleeps": """
        lock = threading.Lock()
        lock.acquire()
        with weft.os_threads():
            threading.Thread(target=lambda: (lock.acquire(), event.set())).start()
            threading.Thread(target=lambda: (real_sleep(), lock.release())).start()
        weft.spawn(event.wait).join()
    """,
    "green threads of another OS thread": """
        def elsewhere():
            weft.spawn(lambda: (time.sleep(SECONDS), event.set())).join()
        with weft.os_threads():
            threading.Thread(target=elsewhere).start()
        weft.spawn(event.wait).join()
    """,
    "a green thread that another OS thread carries": """
        import ctypes
        weft.set_policy("_ctypes.*", "offload")
        def nap():
            nap = (ctypes.c_long * 2)(0, int(SECONDS * 1e9))
            ctypes.CDLL(None).syscall(SYS_NANOSLEEP, nap, None)
            event.set()
        weft.spawn(nap)
        weft.spawn(event.wait).join()
    """,
    "a timer": """
        weft.spawn(lambda: (time.sleep(SECONDS), event.set()))
        weft.spawn(event.wait).join()
    """,
    "a wait with a timeout": """
        weft.spawn(event.wait, SECONDS).join()
    """,
    "a socket": """
        left, right = socket.socketpair()
        writer = os.fork()
        if writer == 0:
            real_sleep()
            left.send(b"x")
            os._exit(0)
        weft.spawn(lambda: (right.recv(1), event.set()))
        weft.spawn(event.wait).join()
    """,
    "to_thread": """
        weft.spawn(weft.to_thread, real_sleep).join()
    """,
    "a call that is offloaded": """
        import fcntl
        file = open(sys.executable, "rb")
        holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE)
        holder.stdout.readline()
        weft.spawn(fcntl.flock, file, fcntl.LOCK_EX).join()
    """,
    "a child process": """
        child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({SECONDS})"])
        weft.spawn(child.wait).join()
    """,
    "any child process": """
        if os.fork() == 0:
            real_sleep()
            os._exit(0)
        weft.spawn(os.wait).join()
    """,
    "a signal handler": """
        signal.signal(signal.SIGALRM, lambda *_: event.set())
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        weft.spawn(event.wait).join()
    """,
    "a process-shared semaphore": """
        import multiprocessing
        semaphore = multiprocessing.get_context("fork").Semaphore(0)
        if os.fork() == 0:
            real_sleep()
            semaphore.release()
            os._exit(0)
        weft.spawn(semaphore.acquire).join()
    """,
}

BEFORE = f"""
import subprocess
SECONDS = {SUSPICIOUS_SECONDS}
HOLD = (
    "import fcntl, sys, time\\n"
    "file = open(sys.executable, 'rb'); fcntl.flock(file, fcntl.LOCK_EX)\\n"
    f"print(flush=True); time.sleep({{SECONDS}})"
)
event = threading.Event()

def real_sleep():
    time.sleep(SECONDS)
"""


@pytest.mark.parametrize("hope", HOPE)
def test_no_false_alarm(hope):
    lines = HOPE[hope].splitlines()
    program = "\n".join(line[8:] for line in lines)
    seen = run_program(BEFORE + program + "\nprint('done', flush=True)\nos._exit(0)")
    assert (seen.status, seen.output, seen.errors) == (0, "done\n", "")


UNTIL_INTERRUPTED = {
    "the main one waits, and others idle": """
        import queue
        threading.Thread(target=queue.Queue().get, daemon=True).start()
        event.wait()
    """,
    "the main one joins an idle thread": """
        threading.Thread(target=event.wait, daemon=True).start()
        threading.enumerate()[1].join()
    """,
    "daemons alone are in a cycle": """
        a, b = threading.Lock(), threading.Lock()
        def transfer(first, second):
            with first:
                time.sleep(0.01)
                with second:
                    pass
        threading.Thread(target=transfer, args=(a, b), daemon=True).start()
        threading.Thread(target=transfer, args=(b, a), daemon=True).start()
        event.wait()
    """,
}


def until_interrupted(name):
    program = "\n".join(line[8:] for line in UNTIL_INTERRUPTED[name].splitlines())
    return f"""
if os.fork() == 0:
    time.sleep({SUSPICIOUS_SECONDS})
    os.kill(os.getppid(), signal.SIGINT)
    os._exit(0)
weft.install()
event = threading.Event()
try:
{chr(10).join("    " + line for line in program.splitlines())}
except BaseException as end:
    print(type(end).__name__, flush=True)
    os._exit(0)
"""


@pytest.mark.parametrize("name", UNTIL_INTERRUPTED)
def test_threads_that_wait_for_ctrl_c_go_on_waiting(name):
    seen = run_program(until_interrupted(name))
    assert (seen.output, seen.errors) == ("KeyboardInterrupt\n", "")


@pytest.mark.parametrize("name", list(UNTIL_INTERRUPTED)[:2])
def test_but_not_if_deadlocks_shall_be_detected_where_likely(name):
    seen = run_program("weft.detect_deadlocks('likely')\n" + until_interrupted(name))
    assert (seen.output, seen.errors) == ("Deadlock\n", "")


def test_never():
    seen = run_program(
        f"""
weft.detect_deadlocks("never")
signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, {SUSPICIOUS_SECONDS})
lock = threading.Lock()
def twice():
    with lock, lock:
        pass
try:
    weft.spawn(twice).join()
except BaseException as end:
    print(type(end).__name__, flush=True)
    os._exit(0)
"""
    )
    assert seen.output == "KeyboardInterrupt\n"


def test_another_mode_is_refused():
    with pytest.raises(ValueError, match="not a way to detect deadlocks: 'often'"):
        weft.detect_deadlocks("often")


def test_a_wait_that_was_judged_is_left_in_peace():
    """Nothing runs while all are parked."""
    seen = run_program(
        """
signal.signal(signal.SIGALRM, lambda *_: event.set())
event = threading.Event()
thread = weft.spawn(event.wait)
signal.setitimer(signal.ITIMER_REAL, 2)
polls = weft.statistics().polls
thread.join()
print(weft.statistics().polls - polls)
"""
    )
    assert int(seen.output) < 10
