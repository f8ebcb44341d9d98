"""`weft explore`: run a program under many seeds, and say which is the first that fails.

Runs are made by *servers*, processes that are ``weft run`` with everything done but the program
itself: each forks once for every seed (`_seed.serve`), so a run costs a fork and not the start of an
interpreter.  This process hands out the seeds in order, watches the time, and judges.

A run has failed when its exit status is not 0, when a thread died of an exception, when
`weft.Deadlock` was raised, or when it was not over in time.  Then it is asked for its green threads
(SIGQUIT), and killed.

Seeds are tried in order, several at once if there are several processors.  The *first* failing seed
is the lowest, so those below one that has failed are waited for.
"""

import argparse
import contextlib
import fcntl
import os
import selectors
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

LAST_WORDS_SECONDS = 0.5
"""How long a run that is out of time may take to say where its green threads are."""

LOOK_SECONDS = 0.05
"""The time is looked at so often."""

SHOWN_BYTES = 20_000
"""So much of the end of the failing run's output is printed."""

HIGH = 100
"""Descriptors of ours are numbered from here, so that a program's are those it has without us."""

MET = {"exception": "an exception in a thread", "deadlock": "a deadlock"}


def main(options: argparse.Namespace, program: list[str]) -> int:
    """Explore `program`; 0: no run failed; 1: one did."""
    environment = {"PYTHONHASHSEED": "0"} | os.environ
    began = time.monotonic()
    seeds = range(options.first, options.first + options.runs)
    servers = [_Server(options, program, environment) for _ in range(options.jobs)]
    try:
        found, tried = _search(servers, iter(seeds))
    finally:
        for server in servers:
            server.close()
    took = f"{tried:,} {'run' if tried == 1 else 'runs'}, {time.monotonic() - began:.1f} s"
    if found is None:
        print(f"weft explore: no seed from {seeds[0]} to {seeds[-1]} fails ({took})")
        return 0
    print(f"weft explore: seed {found.seed} fails: {found.failure} ({took})")
    print("--- its output", found.output.rstrip("\n"), sep="\n")
    print("--- to see it again", _replay(options, program, environment, found.seed), sep="\n")
    return 1


@dataclass
class _Failed:
    """A seed that fails, and how."""

    seed: int
    failure: str
    output: str


@dataclass
class _Run:
    """A seed that is being tried."""

    seed: int
    deadline: float
    pid: int = 0
    out_of_time: bool = False
    met: list[str] = field(default_factory=list)
    status: int | None = None  # None after its end: the server is no more


class _Server:
    """A process that makes one run after the other, and the file with the output of the latest."""

    run: _Run | None = None

    def __init__(
        self, options: argparse.Namespace, program: list[str], environment: dict[str, str]
    ) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self.replies, replies = _pipe()
        commands, self._commands = _pipe()
        self._process = subprocess.Popen(
            _command(options, ["--serve", f"{commands},{replies}"], program),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            pass_fds=(commands, replies),
            env=environment,
        )
        os.close(commands)
        os.close(replies)
        self._timeout: float = options.timeout
        self._rest = b""

    def start(self, seed: int) -> None:
        """Let it try a seed."""
        self._output.seek(0)  # the server's place in the file is ours
        self._output.truncate()
        self.run = _Run(seed, time.monotonic() + self._timeout)
        with contextlib.suppress(BrokenPipeError):  # which its replies will tell as well
            os.write(self._commands, b"%d\n" % seed)

    def is_over(self, run: _Run) -> bool:
        """Take in what it says of its run.  Is that over?"""
        data = os.read(self.replies, 4096)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, _, number = line.decode().partition(" ")
            if word == "pid":
                run.pid = int(number)
            elif word == "done":
                run.status = int(number)
            else:
                run.met.append(word)
        return run.status is not None or not data

    def look_at_the_time(self) -> None:
        """Ask a run that is out of time where it is, and a little later end it."""
        run = self.run
        if run is None or run.pid == 0 or time.monotonic() < run.deadline:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGKILL if run.out_of_time else signal.SIGQUIT)
        run.out_of_time = True
        run.deadline = time.monotonic() + LAST_WORDS_SECONDS

    def failure(self, run: _Run) -> _Failed | None:
        """How it has failed, if it has."""
        reasons = [MET[word] for word in dict.fromkeys(run.met)]
        if run.out_of_time:
            reasons.append(f"still running after {self._timeout:g} s")
        elif run.status is None:
            reasons.append("the process that was to run it has died")
        elif run.status < 0:
            reasons.append(f"killed by {signal.Signals(-run.status).name}")
        elif run.status > 0:
            reasons.append(f"exit status {run.status}")
        return _Failed(run.seed, ", ".join(reasons), self._printed()) if reasons else None

    def _printed(self) -> str:
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - SHOWN_BYTES))
        return self._output.read().decode(errors="replace")

    def close(self) -> None:
        """End it, and what it is running."""
        os.close(self._commands)  # at the end of its run it finds that there are no more
        if self.run is not None and self.run.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.run.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self.replies)
        self._output.close()


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH) for fd in ends]
    for fd in ends:
        os.close(fd)
    return moved[0], moved[1]


def _search(servers: list[_Server], seeds: Iterator[int]) -> tuple[_Failed | None, int]:
    """The lowest of the seeds that fails, and how many were tried."""
    first: _Failed | None = None
    tried = 0
    with selectors.DefaultSelector() as selector:
        for server in servers:
            selector.register(server.replies, selectors.EVENT_READ, server)
        while True:
            if first is None:
                _keep_busy(servers, seeds)
            if not any(_matters(server.run, first) for server in servers):
                return first, tried
            for key, _ in selector.select(LOOK_SECONDS):
                server, run = key.data, key.data.run
                if not server.is_over(run):
                    continue
                failed = server.failure(run)
                if failed is not None and _matters(run, first):
                    first = failed
                server.run = None
                tried += 1
            for server in servers:
                server.look_at_the_time()


def _keep_busy(servers: list[_Server], seeds: Iterator[int]) -> None:
    for server in servers:
        if server.run is None and (seed := next(seeds, None)) is not None:
            server.start(seed)


def _matters(run: _Run | None, first: _Failed | None) -> bool:
    return run is not None and (first is None or run.seed < first.seed)


def _command(options: argparse.Namespace, more: list[str], program: list[str]) -> list[str]:
    """The command that runs the program under `weft run`, in an interpreter as this one."""
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [sys.executable, *flags, "-m", "weft", "run", *_run_options(options), *more, *program]


def _run_options(options: argparse.Namespace) -> list[str]:
    wanted = ["--real-time"] * options.real_time + ["-m"] * options.module
    if options.deadlocks != "certain":
        wanted[:0] = ["--deadlocks", options.deadlocks]
    return wanted


def _replay(
    options: argparse.Namespace, program: list[str], environment: dict[str, str], seed: int
) -> str:
    """The command for a person: by the name that this one was called by."""
    command = ["weft", "run", "--seed", str(seed), *_run_options(options), *program]
    if os.path.basename(sys.argv[0]) == "__main__.py":
        command[:1] = [sys.executable, "-m", "weft"]
    return f"PYTHONHASHSEED={environment['PYTHONHASHSEED']} {shlex.join(command)}"
