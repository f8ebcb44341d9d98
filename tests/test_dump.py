"""weft.dump: every green thread, what it waits for, where it stands; to people and to programs."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from support import PROMPT_SECONDS, run_program, settle, spawn_each, wait_until

import weft


def dumped():
    """The dump as JSON, and its threads by name."""
    stream = io.StringIO()
    weft.dump(stream, json=True)
    told = json.loads(stream.getvalue())
    return told, {thread["name"]: thread for thread in told["threads"]}


def text():
    stream = io.StringIO()
    weft.dump(stream)
    return stream.getvalue()


def told_of(thread):
    """What the dump tells of one green thread, when it is parked."""
    settle()
    return dumped()[1][thread.name]


def paragraph_of(thread):
    """The paragraph of the text that names it."""
    settle()
    found = [part for part in text().split("\n\n") if part.startswith(thread.name)]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def gate():
    """An event that is set at the end."""
    gate = threading.Event()
    yield gate
    gate.set()


# --- What each one waits for --------------------------------------------------------------------


def test_a_spawned_one(gate):
    def wait_at_the_gate():
        gate.wait()

    line = sys._getframe().f_lineno + 1
    thread = weft.spawn(wait_at_the_gate)
    told = told_of(thread)
    assert told["ident"] == thread.ident
    assert (told["kind"], told["state"], told["daemon"]) == ("spawned", "parked", False)
    assert told["spawned"] == {"file": __file__, "line": line}
    assert [frame["function"] for frame in told["stack"]] == [
        "test_a_spawned_one.<locals>.wait_at_the_gate",
        "Event.wait",
        "Condition.wait",
    ]
    assert told["waits"]["text"] == "waiting for an event"


def test_one_of_threading(installed, gate):
    thread = threading.Thread(target=gate.wait, name="porter", daemon=True)
    line = sys._getframe().f_lineno + 1
    thread.start()
    told = told_of(thread)
    assert (told["ident"], told["kind"], told["daemon"]) == (thread.ident, "threading", True)
    assert told["spawned"] == {"file": __file__, "line": line}
    gate.set()
    thread.join()


def test_one_that_has_not_begun(gate, cooperative):
    thread = weft.spawn(gate.wait)
    told = dumped()[1][thread.name]
    assert (told["state"], told["stack"], told["waits"]) == ("new", [], None)


def test_one_that_could_run(gate, cooperative):
    def busy():
        while not gate.is_set():
            weft.yield_now()

    thread = weft.spawn(busy)
    weft.yield_now()
    told = dumped()[1][thread.name]
    gate.set()
    thread.join()
    assert (told["state"], told["waits"]) == ("runnable", None)


def test_the_main_one_and_the_caller():
    told = dumped()[1]["MainThread"]
    assert (told["kind"], told["state"]) == ("main", "running")
    assert told["ident"] == threading.get_ident()
    functions = [frame["function"] for frame in told["stack"]]
    assert functions[-2:] == ["test_the_main_one_and_the_caller", "dumped"]


def test_a_sleeper():
    thread = weft.spawn(weft.sleep, 0.3)
    settle()
    weft.sleep(0.05)
    waits = told_of(thread)["waits"]
    assert waits["reason"] == "sleep"
    assert 0.04 < waits["seconds"] < 0.3
    assert waits["seconds"] + waits["seconds_left"] == pytest.approx(0.3, abs=0.02)


def test_a_reader_of_a_socket(tcp_pair):
    left, right = tcp_pair
    thread = weft.spawn(right.recv, 1)
    waits = told_of(thread)["waits"]
    own, peer = (":".join(map(str, end.getsockname())) for end in (right, left))
    text = f"waiting to read: descriptor {right.fileno()} (socket {own} to {peer})"
    assert waits["text"] == text
    assert waits["descriptor"] == right.fileno()
    left.send(b"x")
    thread.join()


def test_a_socket_with_a_timeout(pair):
    left, right = pair
    right.settimeout(PROMPT_SECONDS)
    thread = weft.spawn(right.recv, 1)
    waits = told_of(thread)["waits"]
    assert waits["text"] == f"waiting: descriptor {right.fileno()} (socket)"
    assert PROMPT_SECONDS - 1 < waits["seconds_left"] <= PROMPT_SECONDS
    left.send(b"x")
    thread.join()


def test_a_reader_of_a_pipe(pipe):
    reader, writer = pipe
    thread = weft.spawn(os.read, reader, 1)
    assert told_of(thread)["waits"]["text"] == f"waiting to read: descriptor {reader} (pipe)"
    os.write(writer, b"x")
    thread.join()


def test_several_descriptors(pipe):
    import select

    reader, writer = pipe
    other = os.dup(reader)
    thread = weft.spawn(select.select, [reader, other], [], [])
    assert told_of(thread)["waits"]["text"] == "waiting for any of 2 descriptors"
    os.write(writer, b"x")
    thread.join()
    os.close(other)


def test_a_child_process():
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    thread = weft.spawn(child.wait)
    assert f"(the end of process {child.pid})" in told_of(thread)["waits"]["text"]
    child.stdin.close()
    thread.join()


def test_who_joins_whom(gate):
    slow = weft.spawn(gate.wait)
    thread = weft.spawn(slow.join)
    waits = told_of(thread)["waits"]
    assert waits["text"] == f"waiting for {slow.name} to end"
    assert (waits["thread"], waits["thread_holds_it"]) == (slow.ident, False)


def test_who_joins_a_thread_of_threading(installed, gate):
    slow = threading.Thread(target=gate.wait, name="slow")
    slow.start()
    thread = weft.spawn(slow.join)
    assert told_of(thread)["waits"]["text"] == "waiting for slow to end"
    gate.set()
    thread.join()
    slow.join()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (threading.Lock, "waiting for a lock"),
        (threading.RLock, "waiting for an RLock"),
        (lambda: threading.Condition(threading.Lock()), "waiting for a lock"),
    ],
)
def test_who_holds_a_lock(make, said, gate):
    lock, decoy = make(), threading.Lock()

    def hold():
        with decoy, open("/dev/null"), lock:
            try:
                gate.wait()
            except ValueError:
                pass

    def want():
        with lock:
            pass

    holder = weft.spawn(hold)
    settle()
    thread = weft.spawn(want)
    waits = told_of(thread)["waits"]
    assert re.fullmatch(rf"{said} \(at 0x\w+\), held by {re.escape(holder.name)}", waits["text"])
    assert (waits["thread"], waits["thread_holds_it"]) == (holder.ident, True)


def test_who_waits_for_a_condition_does_not_hold_its_lock(gate):
    condition = threading.Condition(threading.Lock())

    def wait():
        with condition:
            condition.wait()

    def hold():
        condition.acquire()
        gate.wait()
        condition.notify()
        condition.release()

    waiter, _ = spawn_each(lambda fn: fn(), [wait, hold])
    settle()
    thread = weft.spawn(condition.acquire)
    assert told_of(thread)["waits"]["text"].endswith(", not known who holds it")
    assert told_of(waiter)["waits"]["text"] == "waiting for a condition"
    gate.set()
    thread.join()
    condition.release()


def test_an_os_thread_with_python_code(gate):
    with weft.os_threads():
        thread = threading.Thread(target=gate.wait, name="kernel's")
        thread.start()
    wait_until(lambda: "kernel's" in dumped()[1])
    told = dumped()[1]["kernel's"]
    assert (told["kind"], told["state"], told["os_thread"]) == (
        "OS thread",
        "OS thread",
        thread.native_id,
    )
    gate.set()
    thread.join()


def test_one_of_another_os_thread(gate):
    def run():
        weft.spawn(gate.wait).join()

    with weft.os_threads():
        thread = threading.Thread(target=run)
        thread.start()
    wait_until(
        lambda: any(
            other["kind"] == "spawned" and other["state"] == "parked"
            for other in dumped()[1].values()
        )
    )
    told, threads = dumped()
    assert {worker["native_id"] for worker in told["workers"]} >= {thread.native_id, os.getpid()}
    assert thread.native_id in {other["os_thread"] for other in threads.values()}
    gate.set()
    thread.join()


# --- The text -----------------------------------------------------------------------------------


def test_the_text_reads_like_a_traceback(gate):
    def wait_at_the_gate():
        gate.wait()

    line = sys._getframe().f_lineno + 1
    thread = weft.spawn(wait_at_the_gate)
    lines = paragraph_of(thread).splitlines()
    assert lines[0] == f"{thread.name}, {thread.ident:#x}: parked"
    assert re.fullmatch(r"  waiting for an event, for \d+ ms", lines[1])
    assert lines[2] == f"  spawned at {__file__}:{line}"
    assert lines[4] == "      gate.wait()"


def test_a_crowd_is_one_paragraph(gate):
    threads = spawn_each(lambda _: gate.wait(), range(500))
    settle()
    told = text()
    assert "500 threads: parked" in told
    assert told.count("Condition.wait") == 1
    assert f"... and 496 more, up to {threads[-1].name}, for" in told
    assert len(told) < 10_000


def test_the_oldest_come_first(gate):
    short, older = weft.spawn(int), weft.spawn(gate.wait)
    short.join()
    younger = weft.spawn(gate.wait)  # where the short one was
    settle()
    told = text()
    assert told.index(older.name) < told.index(younger.name)


def test_the_heading(gate):
    weft.spawn(gate.wait)
    settle()
    heading = text().split("\n\n")[0]
    assert re.match(r"weft: 2 green threads, process \d+ \(.*pytest.*\)\n", heading)
    assert f"OS thread {os.getpid()}: 1 running, 1 parked; 0 timers, 0 waits" in heading
    assert "preemption: " in heading


def test_standard_error_is_the_default(capsys):
    weft.dump()
    assert capsys.readouterr().err.startswith("weft: 1 green thread, ")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0004, "0 ms"),
        (0.35, "350 ms"),
        (12.34, "12.3 s"),
        (320, "5 min 20 s"),
        (11100, "3 h 5 min"),
    ],
)
def test_durations(seconds, said):
    from weft import _dump_text

    assert _dump_text._seconds(seconds) == said


@pytest.mark.slow
def test_ten_thousand(gate):
    spawn_each(lambda _: gate.wait(), range(10_000))
    settle()
    began = time.process_time()
    told = text()
    assert time.process_time() - began < 1
    assert "10,000 threads: parked" in told


# --- The signal -----------------------------------------------------------------------------------


def run_command(program, *options, send=signal.SIGQUIT):
    """`weft run` a program that prints a line when it wants the signal, and give what it wrote."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write("import os, signal, sys, threading, time\n" + program)
        script.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", "weft", "run", *options, script.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                process.stdout.readline()
                process.send_signal(send)
                output, errors = process.communicate(timeout=PROMPT_SECONDS)
            finally:
                process.kill()
    return process.returncode, output, errors


READY = "print(flush=True)\n"
END_SOON = """
signal.signal(signal.SIGALRM, lambda *_: os._exit(7))
signal.setitimer(signal.ITIMER_REAL, 0.5)
"""


def test_sigquit():
    program = END_SOON + "threading.Thread(target=time.sleep, args=(5,)).start()\n"
    status, _, errors = run_command(program + READY + "threading.Event().wait()\n")
    assert status == 7
    assert "MainThread (main)" in errors
    assert "Thread-1 (sleep)" in errors


def test_while_a_green_thread_is_in_a_loop():
    program = f"""
{END_SOON}
def loop():
    {READY}
    while True: pass
threading.Thread(target=loop, name="looper").start()
threading.Event().wait()
"""
    status, _, errors = run_command(program)
    assert status == 7
    assert re.search(r"^looper, 0x\w+: runnable$", errors, re.MULTILINE)
    assert "while True: pass" in errors


def test_while_the_main_one_is_in_a_loop():
    status, _, errors = run_command(f"{END_SOON}{READY}while True: pass\n")
    assert status == 7
    assert re.search(r"MainThread \(main\), 0x\w+: running\n    File \".*\", line", errors)


def test_another_signal():
    program = END_SOON + READY + "threading.Event().wait()\n"
    options = ("--dump-signal", "SIGUSR1")
    status, _, errors = run_command(program, *options, send=signal.SIGUSR1)
    assert (status, "MainThread" in errors) == (7, True)
    assert run_command(program, *options)[0] == -signal.SIGQUIT


def test_no_signal():
    status, _, errors = run_command(READY + "time.sleep(5)\n", "--dump-signal", "none")
    assert (status, errors) == (-signal.SIGQUIT, "")


def test_no_such_signal():
    seen = subprocess.run(
        [sys.executable, "-m", "weft", "run", "--dump-signal", "SIGARGH", "x.py"],
        capture_output=True,
        text=True,
    )
    assert seen.returncode == 2
    assert "no signal is called 'SIGARGH'" in seen.stderr


def test_a_program_that_sets_its_own_wins():
    program = "signal.signal(signal.SIGQUIT, lambda *_: os._exit(3))\n" + READY + "time.sleep(5)\n"
    assert run_command(program) == (3, "", "")


def test_a_signal_that_is_ignored_stays_so():
    from weft._dump import dump_on

    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    dump_on(signal.SIGUSR2)
    assert signal.signal(signal.SIGUSR2, before) is signal.SIG_IGN


# --- What others see ----------------------------------------------------------------------------


def test_current_frames_has_green_threads(gate):
    def wait_at_the_gate():
        gate.wait()

    thread = weft.spawn(wait_at_the_gate)
    settle()
    frame = sys._current_frames()[thread.ident]
    functions = []
    while frame is not None:
        functions.append(frame.f_code.co_name)
        frame = frame.f_back
    assert functions == ["wait", "wait", "wait_at_the_gate"]


def test_faulthandler_shows_green_threads():
    # In a process of its own: it shows a hundred threads, idle ones of earlier tests among them.
    seen = run_program(
        """
import faulthandler
gate = threading.Event()
def wait_at_the_gate():
    gate.wait()
thread = weft.spawn(wait_at_the_gate)
weft.yield_now()
print(f"Thread {thread.ident:#018x}")
faulthandler.dump_traceback()
gate.set()
"""
    )
    parts = seen.errors.split("\n\n")
    part = next(part for part in parts if part.startswith(seen.output.strip()))
    assert "in wait_at_the_gate" in part


SPIED_ON = """
import threading, weft
gate = threading.Event()
def wait_at_the_gate():
    gate.wait()
def compute():
    while not gate.is_set():
        pass
weft.install()
weft.spawn(wait_at_the_gate)
threading.Thread(target=wait_at_the_gate, name="named").start()
weft.spawn(compute)
weft.yield_now()
print("ready", flush=True)
input()
gate.set()
"""


def test_py_spy_shows_green_threads():
    spy = Path(sys.executable).with_name("py-spy")
    if not spy.exists():
        pytest.skip("py-spy is not installed here")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", SPIED_ON], stdin=pipe, stdout=pipe) as program:
        program.stdout.readline()
        seen = subprocess.run(
            [spy, "dump", "--pid", str(program.pid)], capture_output=True, text=True, timeout=20
        )
        program.communicate(b"\n")
    if seen.returncode != 0 and "ermission" in seen.stderr + seen.stdout:
        pytest.skip("py-spy may not look into processes here")
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout.count("wait_at_the_gate (") == 2
    assert '"named"' in seen.stdout
    assert "compute (" in seen.stdout


def test_a_dump_from_another_os_thread(gate):
    weft.spawn(gate.wait)
    settle()
    before = weft.statistics().os_threads
    told = weft.to_thread(text)
    assert "waiting for an event" in told
    assert weft.statistics().os_threads == before


def test_nobody_runs_during_a_dump(gate, monkeypatch):
    """It is one moment that is told of."""
    from weft import _waits

    turns, seen = [], []

    def take_turns():
        while not gate.is_set():
            turns.append(None)
            weft.yield_now()

    def explain(threads):
        seen.append(len(turns))
        end = time.perf_counter() + 0.02
        while time.perf_counter() < end:
            pass
        seen.append(len(turns))
        return real(threads)

    real = _waits.explain
    monkeypatch.setattr(_waits, "explain", explain)
    before = weft.get_preemption()
    weft.set_preemption(0.0001)
    thread = weft.spawn(take_turns)
    weft.yield_now()
    text()
    gate.set()
    thread.join()
    weft.set_preemption(before)
    assert seen[0] == seen[1] > 0


def test_sockets_have_addresses(tcp_pair, pair):
    left, _ = tcp_pair
    name, peer = (":".join(map(str, end.getsockname())) for end in tcp_pair)
    assert weft._core._socket_addresses(left.fileno()) == (name, peer)
    assert weft._core._socket_addresses(pair[0].fileno()) == ("", "")
    with socket.socket(socket.AF_INET6) as other:
        other.bind(("::1", 0))
        port = other.getsockname()[1]
        assert weft._core._socket_addresses(other.fileno()) == (f"[::1]:{port}", "")


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="3.11 has one allocator for all interpreters"
)
def test_the_place_of_a_start_does_not_outlive_its_interpreter():
    pytest.importorskip("test.support")
    seen = run_program(
        """
from test import support
weft.install()
start = "import threading; thread = threading.Thread(target=int); thread.start(); thread.join()"
for _ in range(3):
    assert support.run_in_subinterp_with_config(
        start, use_main_obmalloc=False, allow_fork=True, allow_exec=True, allow_threads=True,
        allow_daemon_threads=True, check_multi_interp_extensions=True, own_gil=False) == 0
    threads = [threading.Thread(target=int) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("alive")
"""
    )
    assert (seen.status, seen.output) == (0, "alive\n"), seen.errors
