"""Preemption: a green thread that computes does not keep the others from running.

Most tests let one green thread spin until another has done something.  Without preemption they
would not end: the time limit of every test is what fails them.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support import REFUSE, run_program, settle

import weft

ALONE_SECONDS = 0.05  # ten slices: long enough for a switch that must not happen


@pytest.fixture
def slices():
    """Restores what a test does to the time slice."""
    before = weft.get_preemption()
    yield
    weft.set_preemption(before)


def spin_until(condition):
    while not condition():
        pass


def spin_for(seconds):
    end = time.monotonic() + seconds
    spin_until(lambda: time.monotonic() > end)


def test_a_spinning_main_thread_lets_another_run():
    done = []
    thread = weft.spawn(done.append, 1)
    spin_until(lambda: done)
    thread.join()


def test_a_spinning_green_thread_lets_another_run():
    done = []
    spinner = weft.spawn(spin_until, lambda: done)
    other = weft.spawn(done.append, 1)
    spinner.join()
    other.join()


def test_a_spinning_green_thread_lets_the_main_one_run():
    done = []
    spinner = weft.spawn(spin_until, lambda: done)
    weft.yield_now()
    done.append(1)
    spinner.join()


def test_green_threads_that_wait_for_each_other_by_spinning():
    turn = [0]

    def play(mine, other):
        for _ in range(5):
            spin_until(lambda: turn[0] == mine)
            turn[0] = other

    players = [weft.spawn(play, 0, 1), weft.spawn(play, 1, 2), weft.spawn(play, 2, 0)]
    for player in players:
        player.join()


def test_who_waits_for_time_runs_beside_a_hog():
    done = []

    def sleep():
        time.sleep(0.001)
        done.append(1)

    sleeper = weft.spawn(sleep)
    settle()
    spin_until(lambda: done)
    sleeper.join()


def test_who_waits_for_a_descriptor_runs_beside_a_hog(pair):
    left, right = pair
    received = []
    reader = weft.spawn(lambda: received.append(left.recv(1)))
    settle()
    right.send(b"x")
    spin_until(lambda: received)
    reader.join()


def test_who_is_woken_by_an_os_thread_runs_beside_a_hog():
    event, done = threading.Event(), []

    def wait():
        event.wait()
        done.append(1)

    waiter = weft.spawn(wait)
    settle()
    os_thread = threading.Thread(target=event.set)
    os_thread.start()
    spin_until(lambda: done)
    os_thread.join()
    waiter.join()


def test_an_os_thread_other_than_the_main_one_has_preemption_too():
    seen = []

    def run():
        done = []
        thread = weft.spawn(done.append, 1)
        spin_until(lambda: done)
        thread.join()
        seen.append(weft.current() is not thread)

    os_thread = threading.Thread(target=run)
    os_thread.start()
    os_thread.join()
    assert seen == [True]


def test_installed_threads_are_preempted(installed):
    done = []
    thread = threading.Thread(target=done.append, args=[1])
    thread.start()
    spin_until(lambda: done)
    thread.join()


def test_every_hog_keeps_its_own_state():
    """Exceptions being handled, recursion and locals stay with who was preempted."""

    def compute(number):
        total = 0
        try:
            raise ValueError(number)
        except ValueError:
            for step in range(200_000):
                total += step % (number + 1)
            assert sys.exception().args == (number,)
        return total

    expected = [compute(number) for number in range(4)]
    threads = [weft.spawn(compute, number) for number in range(4)]
    assert [thread.result() for thread in threads] == expected


def test_switched_off_it_does_not_happen(cooperative):
    done = []
    assert weft.get_preemption() is None
    thread = weft.spawn(done.append, 1)
    spin_for(ALONE_SECONDS)
    assert done == []
    thread.join()


def test_switched_on_again_it_does(slices):
    done = []
    weft.set_preemption(None)
    weft.set_preemption(0.001)
    thread = weft.spawn(done.append, 1)
    spin_until(lambda: done)
    thread.join()


def test_no_preempt_keeps_the_others_waiting():
    done = []
    with weft.no_preempt():
        thread = weft.spawn(done.append, 1)
        with weft.no_preempt():
            spin_for(ALONE_SECONDS / 2)
        spin_for(ALONE_SECONDS / 2)
        assert done == []
    spin_until(lambda: done)
    thread.join()


def test_no_preempt_is_left_by_parking():
    done = []
    with weft.no_preempt():
        thread = weft.spawn(done.append, 1)
        thread.join()
    assert done == [1]


def test_no_preempt_is_for_one_green_thread_only():
    done = []

    def hold():
        with weft.no_preempt():
            weft.yield_now()
            done.append("held")

    holder = weft.spawn(hold)
    weft.yield_now()
    spin_until(lambda: done)
    holder.join()


def test_the_slice_is_the_switch_interval_until_it_is_set():
    seen = run_program(
        """
print(weft.get_preemption() == sys.getswitchinterval())
sys.setswitchinterval(0.002)
print(round(weft.get_preemption(), 6))
weft.set_preemption(0.25)
print(weft.get_preemption())
"""
    )
    assert seen.output.split() == ["True", "0.002", "0.25"]


@pytest.mark.parametrize("seconds", [0, -1, 1e-6, float("nan"), float("inf")])
def test_a_slice_that_is_none(seconds):
    with pytest.raises(ValueError, match="time slice"):
        weft.set_preemption(seconds)


def test_a_slice_that_is_no_number():
    with pytest.raises(TypeError):
        weft.set_preemption("fast")


def test_a_forked_child_has_preemption():
    seen = run_program(
        """
weft.spawn(int).join()
pid = os.fork()
if pid == 0:
    done = []
    thread = weft.spawn(done.append, 1)
    while not done:
        pass
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    )
    assert seen.output.split() == ["7"]


def test_the_program_ends_beside_a_hog_that_is_a_daemon():
    seen = run_program(
        """
def hog():
    while True:
        pass
thread = weft.spawn(hog)
thread.daemon = True
time.sleep(0.01)
print("end")
"""
    )
    assert (seen.status, seen.output, seen.errors) == (0, "end\n", "")


def test_ctrl_c_reaches_the_main_thread_beside_a_hog():
    seen = run_program(
        """
def hog():
    while True:
        pass
thread = weft.spawn(hog)
thread.daemon = True
threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()
try:
    time.sleep(100)
except KeyboardInterrupt:
    print("interrupted")
"""
    )
    assert (seen.status, seen.output) == (0, "interrupted\n")


def test_a_fork_meets_no_watchdog_and_the_parent_has_one_again():
    seen = run_program(
        """
def os_threads():
    return len(os.listdir("/proc/self/task"))
weft.spawn(int).join()
if os.fork() == 0:
    os._exit(0)
os.wait()
done = []
while os_threads() == 1:
    pass
thread = weft.spawn(done.append, 1)
while not done:
    pass
thread.join()
print(os_threads())
""",
        flags=["-W", "error"],
    )
    assert (seen.output, seen.errors) == ("2\n", "")


def test_a_hog_that_has_forked_is_preempted():
    """Nothing passes through us after the fork: neither the main thread nor a park nor a spawn."""
    seen = run_program(
        """
done = []
def hog():
    if os.fork() == 0:
        os._exit(0)
    while not done:
        pass
def other():
    weft.yield_now()
    done.append(1)
threads = [weft.spawn(hog), weft.spawn(other)]
for thread in threads:
    thread.join()
print(done)
""",
        flags=["-W", "error"],
    )
    assert (seen.output, seen.errors) == ("[1]\n", "")


def test_uninstall_ends_the_watchdog():
    seen = run_program(
        """
def os_threads():
    return len(os.listdir("/proc/self/task"))
weft.spawn(int).join()
before = os_threads()
weft.uninstall()
print(before, os_threads())
"""
    )
    assert seen.output.split() == ["2", "1"]


PARK_ALL = """
import threading, weft
release = threading.Event()
threads = [weft.spawn(release.wait) for _ in range(10)]
print("parked", flush=True)
release.wait()
"""


def wakes(pid):
    """How often each OS thread of the process has left the CPU so far."""
    counts = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        counts[task.name] = sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return counts


@pytest.mark.slow
def test_nothing_runs_while_all_are_parked():
    command = [sys.executable, "-c", PARK_ALL]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(0.2)  # the watchdog goes to sleep a little later than the others
        before = wakes(process.pid)
        time.sleep(1)
        after = wakes(process.pid)
        process.kill()
    assert sum(after.values()) - sum(before.values()) <= 2


# --- The watchdog's descriptors ----------------------------------------------------------------

DESCRIPTORS = """
weft.spawn(int).join()
def seen():
    (watchdog,) = set(os.listdir("/proc/self/task")) - {str(os.getpid())}
    return len(os.listdir(f"/proc/self/task/{watchdog}/fd"))
"""


def test_it_has_none_so_that_the_kernel_need_not_count_users():
    assert run_program(DESCRIPTORS + "print(seen())\n") == (0, "0\n", "")


def test_but_those_of_the_process_while_it_may_have_to_report():
    program = """
weft.warn_stalls(1)
print(seen() >= 3)
weft.warn_stalls(None)
print(seen())
"""
    assert run_program(DESCRIPTORS + program) == (0, "True\n0\n", "")


def test_where_the_kernel_refuses_they_are_shared():
    SYS_CLOSE_RANGE = 436
    program = f"refuse({SYS_CLOSE_RANGE}, errno.EPERM)\n" + DESCRIPTORS + "print(seen() >= 3)\n"
    assert run_program(REFUSE + program) == (0, "True\n", "")
