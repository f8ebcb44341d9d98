"""Locks on files: waiting for one parks, the kernel's rules stay."""

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
import subprocess
import sys

import pytest
from support import PROMPT_SECONDS, libc, results, settle, spawn_each

import weft

F_OFD_SETLKW = 38
WHOLE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)

# Takes a lock, says so, and keeps it until its input ends.
HOLDER = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
getattr(fcntl, sys.argv[2])(fd, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.touch()
    return str(path)


@contextlib.contextmanager
def opened(path):
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


@contextlib.contextmanager
def held(path, how):
    """Another process holds the lock; yields a function that makes it let go."""
    command = [sys.executable, "-S", "-c", HOLDER, path, how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        yield holder.stdin.close


def by_libc_lockf(fd):
    assert libc.lockf(fd, 1, ctypes.c_long(0)) == 0  # F_LOCK


WAYS = {
    "flock": (lambda fd: fcntl.flock(fd, fcntl.LOCK_EX), "flock"),
    "F_SETLKW": (lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX), "lockf"),
    "F_OFD_SETLKW": (lambda fd: fcntl.fcntl(fd, F_OFD_SETLKW, WHOLE), "lockf"),
    "lockf": (by_libc_lockf, "lockf"),
}
ways = pytest.mark.parametrize(("lock", "how"), WAYS.values(), ids=WAYS.keys())


@ways
def test_a_lock_held_elsewhere_is_waited_for(path, lock, how):
    with held(path, how) as let_go, opened(path) as fd:
        waiter = weft.spawn(lock, fd)
        settle()
        assert waiter.is_alive()
        let_go()
        waiter.result(PROMPT_SECONDS)


@ways
def test_a_free_lock_costs_no_os_thread(path, lock, how, parked):
    before = weft.statistics().offloads
    with opened(path) as fd:
        lock(fd)
    assert weft.statistics().offloads == before


def test_forty_wait_in_turn_for_one_lock(path):
    """More than the pool has OS threads, each with an open file of its own; nobody is lost."""
    inside = 0

    def use(_):
        nonlocal inside
        with opened(path) as fd:
            fcntl.flock(fd, fcntl.LOCK_EX)
            inside += 1
            weft.yield_now()
            assert inside == 1
            inside -= 1

    results(spawn_each(use, range(40)))


def test_shared_locks_go_together(path):
    with opened(path) as one, opened(path) as two:
        fcntl.flock(one, fcntl.LOCK_SH)
        weft.spawn(fcntl.flock, two, fcntl.LOCK_SH).result(PROMPT_SECONDS)
        upgrade = weft.spawn(fcntl.flock, two, fcntl.LOCK_EX)
        settle()
        assert upgrade.is_alive()
        fcntl.flock(one, fcntl.LOCK_UN)
        upgrade.result(PROMPT_SECONDS)


def test_locks_that_shall_not_be_waited_for(path, parked):
    with held(path, "flock"), opened(path) as fd, pytest.raises(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with held(path, "lockf"), opened(path) as fd, pytest.raises(BlockingIOError):
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_ring_of_record_locks_is_refused(path):
    """Two processes, two bytes: each has one and wants the other's."""
    program = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1)
print(flush=True)
sys.stdin.readline()
fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
"""
    command = [sys.executable, "-S", "-c", program, path]
    with (
        opened(path) as fd,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
    ):
        other.stdout.readline()
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
        mine = weft.spawn(fcntl.lockf, fd, fcntl.LOCK_EX, 1, 1)
        wait_until_blocked(path)
        other.stdin.write(b"\n")
        other.stdin.flush()
        assert other.wait(PROMPT_SECONDS) == 1  # the kernel refuses the second who waits
        mine.result(PROMPT_SECONDS)


def wait_until_blocked(path):
    inode = f":{os.stat(path).st_ino} "
    for _ in range(10_000):
        with open("/proc/locks") as file:
            if any("->" in line and inode in line for line in file):
                return
        weft.sleep(0.001)
    raise AssertionError("nobody waits for the lock")


@pytest.mark.parametrize("how", ["flock", "lockf"])
def test_what_is_no_descriptor(how, parked):
    with pytest.raises(OSError) as caught:
        getattr(fcntl, how)(10**6, fcntl.LOCK_EX)
    assert caught.value.errno == errno.EBADF
