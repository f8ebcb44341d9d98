"""The stall reporter: who keeps the others of his OS thread waiting is named, with place and cause.

Each test stalls on purpose for a few times the threshold, beside a green thread that would run.
"""

import contextlib
import ctypes
import hashlib
import io
import re
import subprocess
import sys
import threading
import time

import pytest
from support import PROMPT_SECONDS, SYS_NANOSLEEP, run_program, together

import weft

THRESHOLD = 0.05
STALL = 0.2


@pytest.fixture
def reports():
    """What is reported from now on: a text file in memory."""
    file = io.StringIO()
    weft.warn_stalls(THRESHOLD, file)
    yield file
    weft.warn_stalls(None)


@contextlib.contextmanager
def somebody_waiting():
    """A green thread that is runnable again and again."""
    done = []

    def tick():
        while not done:
            weft.sleep(0.001)

    ticker = weft.spawn(tick)
    yield
    done.append(None)
    ticker.join()


def stall(fn):
    with somebody_waiting():
        weft.spawn(fn).join()


def report_of(fn, reports):
    """Stalls until there is a report: on a busy machine the watchdog may be late, too."""
    end = time.monotonic() + PROMPT_SECONDS
    while not reports.getvalue() and time.monotonic() < end:
        stall(fn)
    return reports.getvalue()


def spin(seconds=STALL):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def nap_out_of_reach(holding_gil=False):
    """Sleep by the system call itself, which no hook sees."""
    libc = (ctypes.PyDLL if holding_gil else ctypes.CDLL)(None)
    libc.syscall(SYS_NANOSLEEP, (ctypes.c_long * 2)(0, int(STALL * 1e9)), None)


DATA = bytes(200 << 20)


def digest():
    hashlib.sha256(DATA).digest()


def hold():
    with weft.no_preempt():
        spin()


def test_c_code_that_has_released_the_gil(reports):
    text = report_of(digest, reports)
    assert "in C code that has released the GIL" in text
    assert "hashlib.sha256(DATA)" in text
    assert "weft.to_thread" in text


def test_c_code_that_computes_is_named(reports):
    text = report_of(digest, reports)
    assert "libcrypto" in text or "_sha2" in text


def test_c_code_that_sleeps_is_named_and_not_disturbed(reports):
    lasted = []

    def nap():
        start = time.monotonic()
        nap_out_of_reach()
        lasted.append(time.monotonic() - start)

    text = report_of(nap, reports)
    assert "(libffi" in text
    assert ", in nap_out_of_reach\n    libc.syscall(" in text
    assert min(lasted) >= STALL  # no signal has ended it


def test_c_code_that_holds_the_gil_is_reported_afterwards(reports):
    text = report_of(lambda: nap_out_of_reach(holding_gil=True), reports)
    assert "in C code that holds the GIL" in text
    assert ", in nap_out_of_reach\n    libc.syscall(" in text


HOLDING = """
import ctypes, re
weft.warn_stalls(0.02)
over = []
def tick():
    while not over:
        weft.sleep(0.001)
def nap():
    ctypes.PyDLL(None).syscall(SYS_NANOSLEEP, (ctypes.c_long * 2)(0, 600_000_000), None)
def match():
    re.match("(a+)+$", "a" * 25 + "b")
def add():
    sum(range(60_000_000))
weft.spawn(tick)
"""
EARLY = re.compile(
    r"weft: green-2 \((\w+)\) with ident \d+ has kept its OS thread for (\d+) ms and still does, "
    r"in C code that holds the GIL(?:: (.*))?\n((?:  File .*\n)*)weft: no thread at all"
)


@pytest.mark.parametrize("function", ["nap", "match", "add"])
def test_c_code_that_holds_the_gil_for_long_is_reported_meanwhile(function):
    seen = run_program(HOLDING + f"weft.spawn({function}).join()\nover.append(None)\n")
    early = EARLY.match(seen.errors)
    assert early, seen.errors
    assert early[1] == function
    assert 200 <= int(early[2])
    assert early[3] or function == "match"  # the matcher's functions have no names to be found by
    assert f", in {function}\n" in early[4]
    afterwards = seen.errors[early.end() :]
    assert "s, in C code that holds the GIL" in afterwards  # with the line, now


def test_each_place_that_holds_the_gil_is_reported_once_meanwhile():
    seen = run_program(
        HOLDING + "for _ in range(3):\n    weft.spawn(nap).join()\nover.append(None)\n"
    )
    assert seen.errors.count("and still does") == 1


def test_where_there_is_no_descriptor_there_is_a_report_afterwards_only(reports):
    weft.warn_stalls(0.01, reports)
    text = report_of(lambda: nap_out_of_reach(holding_gil=True), reports)
    assert "and still does" not in text


def test_nothing_is_said_of_a_region_that_is_known_to_block():
    seen = run_program(
        HOLDING
        + """
def block():
    with weft.blocking():
        nap()
weft.spawn(block).join()
over.append(None)
"""
    )
    assert seen.errors == ""


def test_a_region_without_preemption(reports):
    text = report_of(hold, reports)
    assert "inside weft.no_preempt()" in text
    assert ", in hold\n    spin()" in text


def test_preemption_switched_off(reports, cooperative):
    assert "with preemption switched off" in report_of(spin, reports)


def test_the_main_green_thread_is_named_as_threading_names_it(reports):
    with somebody_waiting():
        while not reports.getvalue():
            hold()
    assert reports.getvalue().startswith("weft: MainThread has kept its OS thread for 0.")


def test_green_threads_are_named(reports):
    def named():
        weft.current().name = "argh"
        hold()

    assert report_of(named, reports).startswith("weft: argh has kept its OS thread for 0.")


def test_another_os_threads_green_threads_are_seen(reports):
    os_thread = threading.Thread(target=report_of, args=[hold, reports])
    os_thread.start()
    os_thread.join()
    assert ", in hold\n" in reports.getvalue()


def test_installed_threads_are_named(installed, reports):
    def run():
        thread = threading.Thread(target=hold, name="argh")
        thread.start()
        thread.join()

    report_of(run, reports)
    assert reports.getvalue().startswith("weft: argh has kept")


def test_a_place_is_reported_once(reports):
    report_of(nap_out_of_reach, reports)
    for _ in range(2):
        stall(nap_out_of_reach)
    assert reports.getvalue().count("has kept its OS thread") == 1


def test_who_is_preempted_is_not_reported(reports):
    stall(spin)
    assert reports.getvalue() == ""


def test_nobody_stalls_while_nobody_waits(reports):
    sleeper = weft.spawn(weft.sleep, 3 * STALL)
    weft.yield_now()
    nap_out_of_reach()
    assert reports.getvalue() == ""
    sleeper.join()


def test_blocking_is_not_reported(reports):
    def block():
        with weft.blocking(), weft.blocking():
            nap_out_of_reach()

    stall(block)
    assert reports.getvalue() == ""


def test_blocking_is_for_one_green_thread_only(reports):
    gate = threading.Event()

    def block():
        with weft.blocking():
            gate.wait()

    def nap():
        report_of(nap_out_of_reach, reports)
        gate.set()

    together(block, nap)
    assert ", in nap_out_of_reach\n" in reports.getvalue()


def test_it_can_be_switched_off(reports):
    weft.warn_stalls(None)
    stall(nap_out_of_reach)
    assert reports.getvalue() == ""


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_threshold_is_positive(seconds):
    with pytest.raises(ValueError):
        weft.warn_stalls(seconds)


def test_a_failing_file_harms_nobody():
    seen = run_program(
        """
class Broken:
    def write(self, text):
        raise OSError("argh")
weft.warn_stalls(0.02, Broken())
def hold():
    with weft.no_preempt():
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
weft.spawn(time.sleep, 0.001)
weft.spawn(hold).join()
print("done")
"""
    )
    assert (seen.status, seen.output) == (0, "done\n")
    assert "OSError: argh" in seen.errors


STALLING = """\
import time, weft

def hold():
    with weft.no_preempt():
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            pass

weft.spawn(time.sleep, 0.01)
weft.spawn(hold).join()
"""


def weft_run(path, *options):
    command = [sys.executable, "-m", "weft", "run", *options, path]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_command_reports_on_standard_error_the_programs_part_of_the_stack(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(STALLING.replace("weft.spawn(hold).join()", "hold()"))
    seen = weft_run(program, "--warn-stall", "50ms")
    first, place, *_ = seen.stderr.splitlines()
    assert first.startswith("weft: MainThread has kept its OS thread for 0.")
    assert place == f'  File "{program}", line 10, in <module>'


@pytest.mark.parametrize("option", ["--warn-stall=0.05s", "--warn-stall=0.05", "--warn-stall=50ms"])
def test_the_command_knows_units(tmp_path, option):
    program = tmp_path / "program.py"
    program.write_text(STALLING)
    assert ", in hold\n" in weft_run(program, option).stderr


@pytest.mark.parametrize("time", ["", "soon", "-1", "0ms", "nan"])
def test_the_command_refuses_what_is_no_time(tmp_path, time):
    seen = weft_run(tmp_path / "program.py", f"--warn-stall={time}")
    assert seen.returncode == 2
    assert "--warn-stall" in seen.stderr
