"""Calls made on OS threads: none lost, none in another's way, some to be interrupted."""

import os
import signal
import time

import pytest
from support import (
    PROMPT_SECONDS,
    REFUSE,
    results,
    run_program,
    settle,
    spawn_each,
    together,
    wait_until,
)

import weft

NO_MORE_THREADS = (
    REFUSE
    + """
SYS_CLONE3 = 435
def no_more_threads():
    refuse(SYS_CLONE3, errno.ENOSYS)
    refuse(SYS_CLONE, errno.EAGAIN)
"""
)


@pytest.fixture
def fifos(tmp_path):
    """fifos(count): the paths of so many named pipes."""

    def make(count):
        paths = [str(tmp_path / f"fifo{number}") for number in range(count)]
        for path in paths:
            os.mkfifo(path)
        return paths

    return make


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def write_file(path):
    with open(path, "wb") as file:
        return file.write(path.encode())


# --- Calls that wait for each other -------------------------------------------------------


@pytest.mark.parametrize("first", ["readers", "writers"])
def test_a_hundred_that_wait_for_those_who_come_later(fifos, first):
    """More than any pool of a fixed size lets in: the second half must not queue behind them."""
    paths = fifos(100)
    one, other = (read_file, write_file) if first == "readers" else (write_file, read_file)
    early = spawn_each(one, paths)
    settle()
    late = spawn_each(other, paths)
    outcomes = (results(early), results(late))
    contents, written = outcomes if first == "readers" else outcomes[::-1]
    assert contents == [path.encode() for path in paths]
    assert written == [len(path) for path in paths]


def test_quick_calls_are_not_held_up_by_calls_that_wait(fifos, tmp_path):
    paths = fifos(50)
    waiting = spawn_each(read_file, paths)
    settle()
    with (tmp_path / "file").open("wb") as file:
        results(spawn_each(lambda _: os.fsync(file.fileno()), range(100)))
    assert all(thread.is_alive() for thread in waiting)
    results(spawn_each(write_file, paths))
    results(waiting)


def test_quick_calls_beyond_the_limit_wait_their_turn(tmp_path):
    before = weft.statistics().offloads
    with (tmp_path / "file").open("wb") as file:
        results(spawn_each(lambda _: os.fsync(file.fileno()), range(300)))
    assert weft.statistics().offloads - before == 300


def test_the_threads_of_quick_calls_are_limited():
    program = """
weft._core._count_threads()
directory = os.open("/tmp", os.O_RDONLY)
threads = [weft.spawn(os.fsync, directory) for _ in range(500)]
for thread in threads:
    thread.join()
started, _, most = weft._core._thread_counts()
print(0 < most <= 32, weft.statistics().offloads)
"""
    assert run_program(program) == (0, "True 500\n", "")


# --- No OS threads to be had --------------------------------------------------------------


def test_without_any_os_thread_the_call_is_made_all_the_same():
    program = (
        NO_MORE_THREADS
        + """
no_more_threads()
fd = os.open("/tmp", os.O_RDONLY)
print(weft.spawn(os.fsync, fd).result(10), weft.statistics().offloads)
"""
    )
    assert run_program(program) == (0, "None 1\n", "")


def test_a_call_that_waits_is_not_made_here_while_others_wait(tmp_path):
    """One OS thread waits; the second call finds none, and must not stop everybody to wait here."""
    paths = [str(tmp_path / name) for name in "ab"]
    for path in paths:
        os.mkfifo(path)
    program = (
        NO_MORE_THREADS
        + f"""
def read(path):
    with open(path) as file:
        return file.read()
first = weft.spawn(read, {paths[0]!r})
weft.sleep(0.01)
no_more_threads()
second = weft.spawn(read, {paths[1]!r})
weft.sleep(0.05)
print(first.is_alive(), second.is_alive())
for number, path in enumerate({paths!r}):
    while True:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            weft.sleep(0.001)
        else:
            break
    os.write(fd, b"%d" % number)
    os.close(fd)
print(first.result(10), second.result(10))
"""
    )
    assert run_program(program) == (0, "True True\n0 1\n", "")


# --- Signals ------------------------------------------------------------------------------

INTERRUPTIBLE = {
    "open": "os.path.exists(path) or os.mkfifo(path); open(path)",
    "flock": "fcntl.flock(os.open(path, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)",
    "lockf": "fcntl.lockf(os.open(path, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)",
}

HOLDER = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
fcntl.lockf(fd, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("call", INTERRUPTIBLE)
def test_control_c_ends_a_call_that_waits(call, tmp_path):
    program = f"""
import fcntl, subprocess
path = {str(tmp_path / "file")!r}
if {call!r} != "open":
    holder = subprocess.Popen([sys.executable, "-c", {HOLDER!r}, path],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
weft.spawn(time.sleep, 60).daemon = True
signal.signal(signal.SIGALRM, signal.default_int_handler)
for _ in range(3):  # whoever was interrupted can be so again
    signal.setitimer(signal.ITIMER_REAL, 0.03)
    try:
        {INTERRUPTIBLE[call]}
    except KeyboardInterrupt:
        print("interrupted")
if {call!r} != "open":
    holder.communicate()
"""
    assert run_program(program) == (0, "interrupted\n" * 3, "")


def test_a_handler_that_returns_does_not_end_the_call(tmp_path):
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    calls = []
    before = signal.signal(signal.SIGUSR1, lambda *_: calls.append(1))

    def kill_then_write():
        for number in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
            wait_until(lambda: len(calls) > number)
        with open(path, "w") as file:
            file.write("argh")

    writer = weft.spawn(kill_then_write)
    try:
        with open(path) as file:  # in the main green thread
            assert file.read() == "argh"
    finally:
        signal.signal(signal.SIGUSR1, before)
        writer.join()
    assert len(calls) == 3


def test_a_call_that_has_done_part_of_its_work_is_not_interrupted(pair, tmp_path):
    left, right = pair
    size = 4 * 2**20
    (tmp_path / "file").write_bytes(bytes(size))
    before = signal.signal(signal.SIGUSR1, lambda *_: None)

    def receive():
        os.kill(os.getpid(), signal.SIGUSR1)
        return len(right.recv(size, 0x100))  # MSG_WAITALL

    try:
        receiver = weft.spawn(receive)
        with (tmp_path / "file").open("rb") as file:
            assert os.sendfile(left.fileno(), file.fileno(), 0, size) == size
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert receiver.result(PROMPT_SECONDS) == size


def test_os_threads_of_calls_take_no_signals_from_others():
    """A command has its caller's signal mask all the same, not that of who starts it."""
    program = """
print(weft.spawn(os.system, "grep SigBlk /proc/self/status").result())
import subprocess
subprocess.run(["grep", "SigBlk", "/proc/self/status"])
"""
    seen = run_program(program)
    masks = [line.split()[1] for line in seen.output.splitlines() if "SigBlk" in line]
    assert (seen.status, len(masks)) == (0, 2)
    assert masks[0] == masks[1]


# --- Fork ---------------------------------------------------------------------------------


def test_a_child_makes_its_own_os_threads(fifos):
    (path,) = fifos(1)
    reader = weft.spawn(read_file, path)
    settle()
    before = weft.statistics().offloads

    def fork():
        pid = os.fork()
        if pid == 0:
            keep = weft.spawn(time.sleep, 60)  # so that the hooks have something to do
            os.fsync(os.open("/tmp", os.O_RDONLY))
            os._exit(0 if weft.statistics().offloads > before and keep.is_alive() else 1)
        return os.waitpid(pid, 0)[1]

    assert weft.spawn(fork).result(PROMPT_SECONDS) == 0
    assert together(lambda: write_file(path))[0] == len(path)
    assert reader.result(PROMPT_SECONDS) == path.encode()


def test_exit_with_calls_that_never_return(tmp_path):
    program = f"""
path = {str(tmp_path / "fifo")!r}
os.mkfifo(path)
for _ in range(10):
    weft.spawn(open, path).daemon = True
weft.sleep(0.01)
print("bye")
"""
    assert run_program(program) == (0, "bye\n", "")
