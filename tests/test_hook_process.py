"""Children: the waits of os and subprocess park, and give what they always gave; commands too."""

import ctypes
import os
import signal
import subprocess
import sys
import time

import pytest
from support import PROMPT_SECONDS, libc, results, run_program, settle, spawn_each

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
        lambda pid: wait_by_pidfd(pid).si_status << 8,
    ]


def wait_by_pidfd(pid):
    pidfd = os.pidfd_open(pid)
    try:
        return os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    finally:
        os.close(pidfd)


@pytest.mark.parametrize("wait", waits(), ids=["waitpid", "wait4", "waitid", "pidfd"])
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


def test_a_wait_when_no_descriptors_are_left():
    program = """
import resource, subprocess
child = subprocess.Popen(["sleep", "30"])
weft.spawn(int).join()
waiting = weft.spawn(child.wait)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 100))
weft.sleep(0.005)
print(waiting.is_alive())
child.kill()
print(waiting.result(10))
"""
    assert run_program(program) == (0, "True\n-9\n", "")


def test_stops_and_continues_are_told(parked):
    process = waiting_child()
    waiter = weft.spawn(os.waitpid, process.pid, os.WUNTRACED)
    settle()
    process.send_signal(signal.SIGSTOP)
    assert os.WIFSTOPPED(waiter.result(PROMPT_SECONDS)[1])
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdin.close()


# --- Commands -----------------------------------------------------------------------------


def commands(tmp_path):
    """A command that goes on until the file is there, and the file."""
    file = tmp_path / "go on"
    return f"while ! test -e '{file}'; do sleep 0.005; done; exit 3", file


def test_others_run_while_a_command_does(tmp_path):
    command, file = commands(tmp_path)
    waiters = spawn_each(os.system, [command] * 5)
    settle()
    assert all(waiter.is_alive() for waiter in waiters)
    file.touch()
    assert results(waiters) == [3 << 8] * 5


def test_more_commands_than_the_pool_has_threads(tmp_path):
    """The last of them lets the others end."""
    command, file = commands(tmp_path)
    waiters = spawn_each(os.system, [command] * 35)
    settle()
    assert weft.spawn(os.system, f"touch '{file}'").result(PROMPT_SECONDS) == 0
    assert results(waiters) == [3 << 8] * 35


def test_pclose_waits_for_the_command(tmp_path):
    command, file = commands(tmp_path)
    libc.popen.restype = ctypes.c_void_p
    stream = libc.popen(command.encode(), b"r")
    waiter = weft.spawn(libc.pclose, ctypes.c_void_p(stream))
    settle()
    assert waiter.is_alive()
    file.touch()
    assert waiter.result(PROMPT_SECONDS) == 3 << 8


def test_is_there_a_shell(parked):
    assert libc.system(None) == 1


def test_a_command_is_out_of_reach_of_control_c():
    """As ever: the shell gets the signal, and the program ignores it while the command runs."""
    program = """
weft.spawn(time.sleep, 30).daemon = True
print(os.WEXITSTATUS(os.system("kill -INT $PPID; exit 4")))
"""
    assert run_program(program) == (0, "4\n", "")
