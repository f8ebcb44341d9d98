"""Web servers under load: the same command under `weft run` and under plain Python, in turn.

wrk keeps all connections busy and counts; at the same time clients of ours check every byte
of what they get.  What is measured is the server: requests per second, its processors' time for
one, and the OS threads of each of its processes.  weft passes with a server if

    no request failed    wrk saw no error and no status but 200, and our clients no wrong byte
    no OS threads        but the first of each process, the watchdog, and a few helpers (WEFT_OWN)
    concurrent           many times the requests that one thread could answer (CONCURRENT)
    it ends              when SIGTERM asks it to, with the exit status it has under plain Python

On a machine that is busy with other things, hundreds of OS threads get a larger share of it than
one does, and so more requests per second; the time for one request then says more.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import debian
from debian import UnavailableError
from environment import say
from page import page
from servers import STOP_SECONDS, free_port, port_answers, wait_for
from web_app import DELAY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from web_case import WebCase

HERE = Path(__file__).parent
PYTHON = (sys.executable,)
COMMANDS = {"green": (*PYTHON, "-m", "weft", "run"), "threads": PYTHON}

ROUNDS = 3
LOAD_SECONDS = 2
LOOK_SECONDS = 0.1  # from one count of OS threads to the next
CHECKING_CLIENTS = 4
LOG_LINES = 20  # of the server's, where something is wrong
WEFT_OWN = 4  # seen from outside, its helpers cannot be told from a server's threads
CONCURRENT = 5  # of 50 and more; the rest is for a machine that is busy
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Load:
    """One server under load, once."""

    requests_per_second: float = 0
    cpu_ms: float = 0  # for one request
    os_threads: int = 0  # of the process that has most
    status: int | None = None  # with which it ended
    troubles: list[str] = field(default_factory=list)
    log: str = ""


@dataclass
class WebResult:
    """What became of a web case: why it was skipped, or its loads by mode."""

    case: WebCase
    skipped: str = ""
    loads: dict[str, list[Load]] = field(default_factory=lambda: {mode: [] for mode in COMMANDS})

    def median(self, mode: str, name: str) -> float:
        return float(statistics.median(getattr(load, name) for load in self.loads[mode]))

    def troubles(self) -> list[str]:
        """What is wrong, in a few words each; empty if all is well."""
        found = [
            f"{mode}: {each}"
            for mode, loads in self.loads.items()
            for load in loads
            for each in load.troubles
        ]
        return found if found or self.skipped else list(self.complaints())

    def complaints(self) -> Iterator[str]:
        os_threads = max(load.os_threads for load in self.loads["green"])
        if os_threads > 1 + WEFT_OWN:
            yield f"{os_threads} OS threads, {1 + WEFT_OWN} allowed"
        if self.median("green", "requests_per_second") < CONCURRENT / DELAY_SECONDS:
            yield "not concurrent"
        statuses = {mode: {load.status for load in loads} for mode, loads in self.loads.items()}
        if statuses["green"] != statuses["threads"]:
            yield f"exit status differs: {statuses}"


# --- the server's processes -----------------------------------------------------------------------


@contextmanager
def serving(case: WebCase, mode: str, load: Load) -> Iterator[tuple[int, int]]:
    """The port, and the server's process group; notes in `load` how it ended."""
    port = free_port()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [
                *COMMANDS[mode],
                *(each.format(port=port, threads=case.connections) for each in case.command),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=HERE,
            start_new_session=True,
        )
        try:
            wait_for(process, port_answers(port), Path(f"/dev/fd/{log.fileno()}"))
            yield port, process.pid
        finally:
            end(process, load)
            log.seek(0)
            load.log = "\n".join(log.read().splitlines()[-LOG_LINES:])


def end(process: subprocess.Popen[bytes], load: Load) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        load.status = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        load.troubles.append("SIGTERM does not end it")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def members(group: int) -> list[Path]:
    """Folders in /proc of the processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(path.name)) == group:
                found.append(path)
    return found


def cpu_seconds(group: int) -> float:
    # Behind the name in brackets; user and system time are fields 14 and 15 of proc(5).
    fields = [
        path.joinpath("stat").read_text().rpartition(")")[2].split() for path in members(group)
    ]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICKS


def most_os_threads(group: int) -> int:
    return max(len(os.listdir(path / "task")) for path in members(group))


# --- load -----------------------------------------------------------------------------------------


@contextmanager
def checking(port: int, load: Load) -> Iterator[list[int]]:
    """While the block runs, clients of ours ask and check; the list has an entry per answer."""
    answers: list[int] = []
    over = threading.Event()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STOP_SECONDS)
        try:
            while not over.is_set():
                path = f"/{number}/{len(answers)}"
                connection.request("GET", path)
                answer = connection.getresponse()
                assert answer.status == http.HTTPStatus.OK, f"status {answer.status}"
                assert answer.read() == page(path), "an answer is wrong"
                answers.append(number)
        except (AssertionError, OSError, http.client.HTTPException) as error:
            load.troubles.append(f"our client: {error!r}")
        finally:
            connection.close()

    clients = [threading.Thread(target=client, args=(each,)) for each in range(CHECKING_CLIENTS)]
    for each in clients:
        each.start()
    try:
        yield answers
    finally:
        over.set()
        for each in clients:
            each.join()


def wrk(port: int, connections: int, seconds: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(str(debian.find("wrk", "wrk")), "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{seconds}s", "--timeout", "10s", f"http://127.0.0.1:{port}/wrk"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=debian.environment(),
    )


def read_wrk(said: str) -> tuple[float, int, list[str]]:
    """Requests per second, requests, and the lines that tell of failures."""
    rate = re.search(r"Requests/sec:\s*([\d.]+)", said)
    count = re.search(r"(\d+) requests in", said)
    assert rate is not None
    assert count is not None
    bad = [line.strip() for line in said.splitlines() if re.search("Non-2xx|Socket errors", line)]
    return float(rate[1]), int(count[1]), bad


def measure(case: WebCase, mode: str, seconds: int) -> Load:
    load = Load()
    try:
        with serving(case, mode, load) as (port, group):
            # Threads start, and Python imports what it imports late.
            wrk(port, case.connections, 1).communicate()
            put_under_load(port, group, case.connections, seconds, load)
    except UnavailableError as error:
        load.troubles.append(str(error))
    return load


def put_under_load(port: int, group: int, connections: int, seconds: int, load: Load) -> None:
    cpu = cpu_seconds(group)
    with checking(port, load) as answers, wrk(port, connections, seconds) as loading:
        while loading.poll() is None:
            load.os_threads = max(load.os_threads, most_os_threads(group))
            time.sleep(LOOK_SECONDS)
        said, _ = loading.communicate()
    load.requests_per_second, count, bad = read_wrk(said)
    load.cpu_ms = 1000 * (cpu_seconds(group) - cpu) / (count + len(answers))
    load.troubles += bad


# --- cases ----------------------------------------------------------------------------------------


def run_web_case(case: WebCase, rounds: int) -> WebResult:
    result = WebResult(case)
    for number in range(rounds):
        for mode in COMMANDS:
            say(f"{case.name}: {mode}, {number + 1} of {rounds} ...")
            result.loads[mode].append(measure(case, mode, LOAD_SECONDS))
    return result


def run_web_cases(
    cases: list[WebCase], missing: Mapping[str, str], *, quick: bool
) -> Iterator[WebResult]:
    try:
        debian.find("wrk", "wrk")
        reason = ""
    except UnavailableError as error:
        reason = f"no wrk: {error}"
    for case in cases:
        skipped = reason or missing.get(case.key, "")
        yield WebResult(case, skipped) if skipped else run_web_case(case, 1 if quick else ROUNDS)
