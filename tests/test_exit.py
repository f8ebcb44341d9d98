"""The end of the program, with green threads parked in whatever there is to be parked in."""

import signal
import sys

import pytest
from support import run_program

# Daemons parked like this must not keep the program from ending cleanly.
PARKS = {
    "nothing": "lambda: None",
    "sleep": "lambda: time.sleep(1000)",
    "weft.sleep": "lambda: weft.sleep(1000)",
    "lock": "lock.acquire",
    "lock with timeout": "lambda: lock.acquire(timeout=1000)",
    "rlock": "rlock.acquire",
    "event": "threading.Event().wait",
    "condition": "wait_for_condition",
    "queue": "__import__('queue').Queue().get",
    "simple queue": "__import__('queue').SimpleQueue().get",
    "recv": "lambda: right.recv(1)",
    "recv with timeout": "lambda: (other.settimeout(1000), other.recv(1))",
    "send": "lambda: right.sendall(bytes(10**7))",
    "accept": "server.accept",
    "read": "lambda: os.read(pipe[0], 1)",
    "select": "lambda: __import__('select').select([right], [], [])",
    "poll": "lambda: __import__('select').poll().poll(1000_000)",
    "join": "lambda: sleeper.join()",
    "result": "lambda: sleeper.result()",
    "finally": "in_finally",
    "with": "in_with",
    "generator": "lambda: next(park_in_generator())",
    "asyncio": "lambda: __import__('asyncio').run(__import__('asyncio').sleep(1000))",
    "getaddrinfo": "lambda: [socket.getaddrinfo('localhost', 80) for _ in iter(int, 1)]",
    "spin": "spin",
}

PARKED = """
lock, rlock = threading.Lock(), threading.RLock()
lock.acquire(), rlock.acquire()
left, right = socket.socketpair()
other, another = socket.socketpair()
server = socket.create_server(("127.0.0.1", 0))
pipe = os.pipe()
sleeper = weft.spawn(time.sleep, 1000)
sleeper.daemon = True
def wait_for_condition():
    condition = threading.Condition()
    with condition:
        condition.wait()
def in_finally():
    try:
        time.sleep(1000)
    finally:
        print("finally")
def in_with():
    import tempfile
    with lock, tempfile.TemporaryDirectory():
        time.sleep(1000)
def park_in_generator():
    try:
        time.sleep(1000)
        yield
    finally:
        print("finally")
def spin():
    while True:
        weft.yield_now()
"""


@pytest.mark.parametrize("install", [False, True], ids=["spawn", "thread"])
@pytest.mark.parametrize("park", PARKS)
def test_a_parked_daemon_does_not_prevent_a_clean_exit(park, install):
    start = (
        f"weft.install(); threading.Thread(target={PARKS[park]}, daemon=True).start()"
        if install
        else f"weft.spawn({PARKS[park]}).daemon = True"
    )
    program = f"{PARKED}{start}\nweft.sleep(0.002)\nprint('end')\n"
    assert run_program(program, timeout=10) == (0, "end\n", "")


def test_a_thousand_parked_daemons():
    program = """
for park in (time.sleep, weft.sleep) * 500:
    weft.spawn(park, 1000).daemon = True
weft.sleep(0)
print("end")
"""
    assert run_program(program, timeout=10) == (0, "end\n", "")


def test_parked_daemons_of_another_os_thread():
    program = """
def os_thread():
    weft.spawn(time.sleep, 1000).daemon = True
    time.sleep(1000)
threading.Thread(target=os_thread, daemon=True).start()
weft.spawn(time.sleep, 0.01).join()
print("end")
"""
    assert run_program(program, timeout=10) == (0, "end\n", "")


# --- Ways to end --------------------------------------------------------------------------


def test_sys_exit_in_main_with_daemons_parked():
    program = "weft.spawn(time.sleep, 1000).daemon = True\nweft.sleep(0)\nsys.exit(3)"
    assert run_program(program) == (3, "", "")


def test_sys_exit_in_a_green_thread_ends_that_one_only():
    program = """
thread = weft.spawn(sys.exit, 3)
thread.join()
print("goes on")
"""
    assert run_program(program) == (0, "goes on\n", "")


def test_os_exit_in_a_green_thread_ends_all():
    program = """
weft.spawn(time.sleep, 1000)
weft.spawn(os._exit, 3)
time.sleep(1000)
"""
    assert run_program(program) == (3, "", "")


def test_an_exception_in_main_while_others_are_parked():
    program = """
weft.spawn(time.sleep, 1000).daemon = True
thread = weft.spawn(lambda: (time.sleep(0.01), print("waited for")))
weft.sleep(0)
1 / 0
"""
    seen = run_program(program)
    assert (seen.status, seen.output) == (1, "waited for\n")
    assert seen.errors.endswith("ZeroDivisionError: division by zero\n")


def test_being_killed():
    program = "weft.spawn(os.kill, os.getpid(), signal.SIGKILL)\nweft.sleep(1000)"
    assert run_program(program).status == -signal.SIGKILL


def test_abort_in_a_green_thread_shows_where():
    program = "def at_fault():\n    os.abort()\nweft.spawn(at_fault).join()"
    seen = run_program(program)
    assert seen.status == -signal.SIGABRT
    assert "in at_fault" in seen.errors


# --- atexit -------------------------------------------------------------------------------


def test_atexit_callbacks_may_wait_while_daemons_are_parked():
    program = """
import atexit
def callback():
    left, right = socket.socketpair()
    left.send(b"argh")
    print(right.recv(10))
    right.settimeout(0.001)
    try:
        right.recv(1)
    except TimeoutError:
        print("timed out")
    lock = threading.Lock()
    lock.acquire()
    print(lock.acquire(timeout=0.001))
    time.sleep(0.001)
atexit.register(callback)
weft.spawn(time.sleep, 1000).daemon = True
weft.sleep(0)
"""
    expected = "b'argh'\ntimed out\nFalse\n"
    assert run_program(program) == (0, expected, "")


def test_atexit_callbacks_registered_before_weft():
    program = """
import importlib, atexit
"""
    before = """
import atexit, socket
def callback():
    left, right = socket.socketpair()
    right.settimeout(0.001)
    try:
        right.recv(1)
    except TimeoutError:
        print("timed out")
    import time
    time.sleep(0.001)
atexit.register(callback)
import weft, time
weft.spawn(time.sleep, 1000).daemon = True
weft.sleep(0)
"""
    # Run last of all, after weft has stopped switching.
    wrapped = f"import subprocess; sys.exit(subprocess.call([sys.executable, '-c', {before!r}]))"
    assert run_program(program + wrapped) == (0, "timed out\n", "")


def test_green_threads_may_be_used_in_atexit_callbacks():
    program = """
import atexit
atexit.register(lambda: print(weft.spawn(pow, 2, 3).result(10)))
"""
    assert run_program(program) == (0, "8\n", "")


def test_one_spawned_in_an_atexit_callback_is_waited_for():
    program = """
import atexit
def late():
    time.sleep(0.01)
    print("late")
atexit.register(weft.spawn, late)
"""
    assert run_program(program) == (0, "late\n", "")


def test_executors_are_shut_down_at_exit():
    program = """
import concurrent.futures
weft.install()
pool = concurrent.futures.ThreadPoolExecutor(3)
for number in range(3):
    pool.submit(lambda n=number: (time.sleep(0.01 * n), print(n)))
"""
    assert run_program(program) == (0, "0\n1\n2\n", "")


# --- During the end -----------------------------------------------------------------------


def test_one_spawned_at_the_very_end_is_refused():
    program = """
class Late:
    def __del__(self, weft=weft, print=print, RuntimeError=RuntimeError):
        try:
            weft.spawn(print, "green")
        except RuntimeError:
            print("refused")
late = Late()
weft.spawn(time.sleep, 1000).daemon = True
weft.sleep(0)
sys.modules["late"] = late
del late
"""
    assert run_program(program) == (0, "refused\n", "")


@pytest.mark.skipif(
    sys.version_info >= (3, 15), reason="from 3.15 on CPython refuses to wait for a lock that late"
)
def test_destructors_that_block_at_the_end():
    program = """
class Late:
    def __init__(self):
        self.left, self.right = socket.socketpair()
        self.lock, self.sleep, self.print = threading.Lock(), time.sleep, print
    def __del__(self):
        self.left.send(b"x")
        self.right.recv(1)
        self.lock.acquire()
        self.lock.acquire(timeout=0.001)
        self.sleep(0.001)
        self.print("deleted")
late = Late()
weft.spawn(time.sleep, 1000).daemon = True
weft.sleep(0)
"""
    assert run_program(program) == (0, "deleted\n", "")


def test_output_of_daemons_is_not_lost():
    program = """
def work():
    print("said before the end")
    time.sleep(1000)
weft.spawn(work).daemon = True
weft.sleep(0)
"""
    assert run_program(program) == (0, "said before the end\n", "")


def test_handles_that_outlive_the_scheduler():
    program = """
import builtins
builtins.kept = [weft.spawn(time.sleep, 1000), weft.current()]
kept[0].daemon = True
weft.sleep(0)
"""
    assert run_program(program) == (0, "", "")


@pytest.mark.parametrize("flags", [["-X", "dev"], ["-I"], ["-S"], ["-O"], ["-X", "importtime"]])
def test_other_ways_to_start_python(flags):
    path = "import sys; sys.path.insert(0, __import__('os').environ.get('PYTHONPATH', ''))\n"
    program = (
        path + "import weft, time\nweft.spawn(time.sleep, 1000).daemon = True\nweft.sleep(0)\n"
    )
    import os
    import subprocess
    import sys

    environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(weft_file()))}
    result = subprocess.run(
        [sys.executable, *flags, "-c", program],
        capture_output=True,
        text=True,
        timeout=20,
        env=environment,
    )
    assert result.returncode == 0, result.stderr


def weft_file():
    import weft

    return weft.__file__
