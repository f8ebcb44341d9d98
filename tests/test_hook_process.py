"""Waiting for children: the waits of os and subprocess park, and give what they always gave."""

import os
import subprocess
import sys
import time

import pytest
from support import PROMPT_SECONDS, results, settle, spawn_each

import weft


def child(status, delay=0.0):
    """A child process that ends by itself."""
    program = f"import os, time; time.sleep({delay}); os._exit({status})"
    return os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-S", "-c", program])


def waiting_child():
    """A child process that ends when its standard input does."""
    return subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)


def waits():
    return [
        lambda pid: os.waitpid(pid, 0)[1],
        lambda pid: os.wait4(pid, 0)[1],
        lambda pid: os.waitid(os.P_PID, pid, os.WEXITED).si_status << 8,
    ]


@pytest.mark.parametrize("wait", waits(), ids=["waitpid", "wait4", "waitid"])
def test_each_wait_gives_the_status(wait):
    assert weft.spawn(wait, child(7)).result(PROMPT_SECONDS) == 7 << 8


@pytest.mark.parametrize("wait", [os.wait, lambda: os.waitpid(-1, 0), lambda: os.wait3(0)])
def test_waiting_for_any_child(wait):
    pid = child(3)
    assert weft.spawn(wait).result(PROMPT_SECONDS)[:2] == (pid, 3 << 8)


def test_others_run_while_a_process_is_waited_for():
    process = waiting_child()
    waiter = weft.spawn(process.wait)
    settle()
    assert waiter.is_alive()
    assert weft.spawn(time.time).result(PROMPT_SECONDS) > 0
    process.stdin.close()
    assert waiter.result(PROMPT_SECONDS) == 1  # input() met the end of file


def test_processes_are_waited_for_side_by_side():
    processes = [waiting_child() for _ in range(5)]
    waiters = spawn_each(subprocess.Popen.wait, processes)
    settle()
    for process in processes:
        process.stdin.close()
    assert results(waiters) == [1] * 5


def test_no_child_and_no_waiting():
    with pytest.raises(ChildProcessError):
        weft.spawn(os.waitpid, -1, 0).result(PROMPT_SECONDS)
    process = waiting_child()
    assert weft.spawn(os.waitpid, process.pid, os.WNOHANG).result(PROMPT_SECONDS) == (0, 0)
    process.stdin.close()
    process.wait()


def test_a_wait_leaves_no_descriptor_behind():
    before = len(os.listdir("/proc/self/fd"))
    results(spawn_each(lambda _: os.waitpid(child(0), 0), range(5)))
    assert len(os.listdir("/proc/self/fd")) == before
