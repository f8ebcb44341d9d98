"""`weft doctor`: is all well here, and if not, what to do.

The examination, in this order:

1. *Hooks*: weft installs itself, as `weft run` does, and looks whose calls it has caught.
2. *Self-check*: green threads really sleep, read and wait for a lock at the same time.  What
   counts is how many of them were parked at once, not how long it took.
3. *The module* given with `-m` is imported, so that what it brings along is there to be judged.
4. *Packages* (_packages.py) and 5. *this machine* (_machine.py).

Each finding is "ok", a "note" or a "problem"; a problem makes the exit status 1.
"""

import contextlib
import dataclasses
import json
import os
import platform
import socket
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial

from weft import _core, _machine, _packages
from weft._finding import Finding

CROWD = 10
FAILED_SECONDS = 5  # a wait that long was not ended by us
WIDTH = 96
INDENT = " " * 11

Sections = dict[str, list[Finding]]
Waiting = tuple[list[Callable[[], object]], Callable[[], None]]
"""What each green thread of a crowd does, and what ends their wait."""


def main(*, module: str | None, verbose: bool, as_json: bool) -> int:
    """Examine, report on standard output, and return the exit status."""
    hooks = [_install()]
    check = _self_check() if _core.installed() else []
    if module is not None and not _import(module):
        return 2
    sections: Sections = {
        "Hooks": hooks if hooks[0].mark == "problem" else _hooks(),
        "Self-check": check,
        "Packages": _packages.findings(),
        "This machine": _machine.findings(),
    }
    _print(_as_json(sections) if as_json else _as_text(sections, verbose=verbose))
    return 1 if _count(sections, "problem") else 0


def _print(text: str) -> None:
    """To a reader who may have seen enough, as `head` does."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # What is left over is flushed at exit, and shall not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# --- Hooks -------------------------------------------------------------------------------


def _install() -> Finding:
    try:
        _core.install()
    except RuntimeError as error:
        return Finding("problem", f"weft cannot be installed: {error}.")
    return Finding("ok", "weft is installed.")


def _import(module: str) -> bool:
    """Import as `python -m` would find it; False, with the traceback shown, if it fails.

    Standard output is for the report: what the module prints goes to standard error.
    """
    if not sys.flags.safe_path:
        sys.path.insert(0, os.getcwd())
    try:
        with contextlib.redirect_stdout(sys.stderr):
            __import__(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever an import may raise
        ours = error.__traceback__
        traceback.print_exception(error.with_traceback(ours and ours.tb_next))
        print(f"weft doctor: {module} could not be imported", file=sys.stderr)
        return False
    return True


def _hooks() -> list[Finding]:
    symbols = _core._hooked_symbols()
    objects = _core._hooked_objects()
    missing = [name for name, _, found in symbols if not found]
    hooked = [(path, names) for path, slots, _, names in objects if slots]
    slots = sum(slots for _, slots, _, _ in objects)
    found = [
        Finding(
            "ok",
            f"{len(symbols) - len(missing)} functions of libc are hooked, in {slots} places of "
            f"{len(hooked)} of the {len(objects)} loaded libraries.",
            details=tuple(f"{path}: {', '.join(names)}" for path, names in hooked),
        )
    ]
    if missing:
        text = f"{len(missing)} more are not in this libc: {', '.join(missing)}."
        found.append(Finding("ok", text))
    return found + [
        Finding("ok", f"{os.path.basename(path)} {POLICIES[policy]}", details=(path,))
        for path, _, policy, _ in objects
        if policy in POLICIES
    ]


POLICIES = {
    "exclude": "is left alone: its calls block the OS thread (policy: exclude).",
    "release-only": "parks only where it has released the GIL (policy: release-only).",
    "own-thread-locals": (
        "has its thread-local variables once for each green thread (policy: own-thread-locals)."
    ),
}


# --- Self-check ----------------------------------------------------------------------------


def _self_check() -> list[Finding]:
    return [
        _together("slept", _sleepers),
        _together("waited for a socket", _readers),
        _together("waited for a lock", _lockers),
        _threads_are_green(),
    ]


def _sleepers() -> Waiting:
    return [lambda: time.sleep(0.01)] * CROWD, lambda: None


def _readers() -> Waiting:
    pairs = [socket.socketpair() for _ in range(CROWD)]

    def read(receiver: socket.socket) -> None:
        receiver.settimeout(FAILED_SECONDS)  # should nothing park, we would never send
        with receiver:
            receiver.recv(1)

    def send() -> None:
        for _, sender in pairs:
            with sender:
                sender.send(b"x")

    return [partial(read, receiver) for receiver, _ in pairs], send


def _lockers() -> Waiting:
    lock = threading.Lock()
    lock.acquire()

    def take() -> None:
        if lock.acquire(timeout=FAILED_SECONDS):
            lock.release()

    return [take] * CROWD, lock.release


def _together(what: str, prepare: Callable[[], Waiting]) -> Finding:
    """Whether a crowd of green threads can wait at once, without another OS thread."""
    waits, end = prepare()
    os_threads: set[int] = set()
    failures: list[str] = []

    def run(wait: Callable[[], object]) -> None:
        os_threads.add(threading.get_native_id())
        try:
            wait()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            failures.append(repr(error))

    before = _core.statistics().parks
    crowd = [_core.spawn(run, wait) for wait in waits]
    _core.yield_now()
    parked = _core.statistics().parks - before
    end()
    for member in crowd:
        member.join()
    if parked >= CROWD and os_threads == {threading.get_native_id()} and not failures:
        return Finding("ok", f"{CROWD} green threads {what} at once, on one OS thread.")
    text = (
        f"Of {CROWD} green threads that {what} only {min(parked, CROWD)} were parked at once, on "
        f"{len(os_threads)} OS thread(s)."
    )
    return Finding("problem", text, details=tuple(failures))


def _threads_are_green() -> Finding:
    os_threads: set[int] = set()
    threads = [
        threading.Thread(target=lambda: os_threads.add(threading.get_native_id()))
        for _ in range(CROWD)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if os_threads == {threading.get_native_id()}:
        return Finding("ok", f"{CROWD} threads made by threading.Thread were green threads.")
    return Finding("problem", f"threading.Thread made {len(os_threads)} OS threads.")


# --- The report ----------------------------------------------------------------------------


def _count(sections: Sections, mark: str) -> int:
    return sum(finding.mark == mark for found in sections.values() for finding in found)


def _versions() -> dict[str, str]:
    return {
        "weft": sys.modules["weft"].__version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
    }


def _as_json(sections: Sections) -> str:
    report = {
        "versions": _versions(),
        "problems": _count(sections, "problem"),
        "notes": _count(sections, "note"),
        "sections": {
            title: [dataclasses.asdict(finding) for finding in found]
            for title, found in sections.items()
        },
    }
    return json.dumps(report, indent=2)


def _as_text(sections: Sections, *, verbose: bool) -> str:
    versions = _versions()
    lines = ["weft {weft}, CPython {python}, Linux {kernel}, {libc}".format_map(versions)]
    for title, found in sections.items():
        if found:
            lines += ["", title]
        for finding in found:
            lines += _lines(finding, verbose=verbose)
    return "\n".join([*lines, "", _verdict(sections)])


def _lines(finding: Finding, *, verbose: bool) -> list[str]:
    lines = textwrap.wrap(
        finding.text,
        WIDTH,
        initial_indent=f"  {finding.mark:<9}",
        subsequent_indent=INDENT,
        break_long_words=False,
    )
    if finding.advice:
        arrow = INDENT + "-> "
        lines += textwrap.wrap(
            finding.advice, WIDTH, initial_indent=arrow, subsequent_indent=" " * len(arrow)
        )
    if verbose:
        lines += [f"{INDENT}{detail}" for detail in finding.details]
    return lines


def _verdict(sections: Sections) -> str:
    problems, notes = _count(sections, "problem"), _count(sections, "note")
    if problems == 0:
        return "All is well." if notes == 0 else f"All is well ({_plural(notes, 'note')})."
    return f"{_plural(problems, 'problem')}, {_plural(notes, 'note')}."


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
