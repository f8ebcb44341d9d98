#!/usr/bin/env python3
"""Runs uvloop's own test-suite inside a green thread, and says what differs from a plain thread.

    python tools/uvloop_tests.py                    all of it
    python tools/uvloop_tests.py test_tcp test_udp  these modules

The interpreter that runs this tool is the one that is tested; weft and uvloop must be installed in
it, and aiohttp, psutil and pyOpenSSL, which some of the tests use.  The tests are in uvloop's
source distribution, which pip fetches into a temporary folder.

Each module runs four times, in a process of its own each:

    green     in a green thread, compared with a `threading.Thread` that is not the main thread
    run       in the main thread after weft.install(), compared with the plain main thread

The second pair is there because the half of the tests that uses asyncio's own loop for comparison
sets signal handlers, and so fails in any other thread.

A process that does not end in time is killed, which costs the test it was in and those behind it.
What differs is run again alone, twice; if both agree then, it is called flaky.

What differs and cannot be cured stands in KNOWN.  Exit status: 0 when nothing else does.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.metadata
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import traceback
import unittest
from collections import Counter
from pathlib import Path

from cpython_tests_child import IN_MODE, Journal, Recorder, flatten, named

MODULE_SECONDS = 300
RERUNS = 2

# Style checks of uvloop's sources, and a set-up that needs Cython.
LEFT_OUT = ("test_sourcecode", "test_cython", "test_libuv_api")

BASELINES = {"green": "thread", "run": "main"}

# Pattern of test ids -> why it differs.
KNOWN: dict[str, str] = {}

Outcomes = dict[str, str]


# --- in the process under test --------------------------------------------------------------------


def run_tests(mode: str, journal_path: str, names: list[str]) -> None:
    journal = Journal(journal_path)
    finished = threading.Event()

    def body() -> None:
        try:
            loaded = unittest.defaultTestLoader.loadTestsFromNames(names)
            tests = list(named(flatten(loaded)))
            ids = {id(test): name for name, test in tests}
            unittest.TestSuite(test for _, test in tests).run(Recorder(journal, ids))
        except BaseException:
            traceback.print_exc()
            journal.write(broken=traceback.format_exc())
        finally:
            finished.set()

    threading.stack_size(16 << 20)
    IN_MODE[mode](body)
    finished.wait()


# --- watching it ----------------------------------------------------------------------------------


def run(folder: Path, mode: str, names: list[str]) -> Outcomes:
    """What became of each test, as "kind" or "error Type"."""
    journal = folder / "journal"
    journal.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--child", mode, str(journal), *names]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output
        )
        try:
            status = process.wait(MODULE_SECONDS)
            end = "" if status == 0 else f"exit status {status}"
        except subprocess.TimeoutExpired:
            end = f"no end in {MODULE_SECONDS} s"
        finally:
            process.kill()
            process.wait()
    return read(journal, end)


def read(journal: Path, end: str) -> Outcomes:
    outcomes: Outcomes = {}
    running = "(module)"
    for line in journal.read_text().splitlines() if journal.exists() else []:
        entry = json.loads(line)
        if "start" in entry:
            running = entry["start"]
        elif "id" in entry:
            kind, reason = entry["kind"], entry["reason"].split(":")[0]
            outcomes[entry["id"]] = f"{kind} {reason}" if kind == "error" else kind
            running = "(module)"
        else:
            outcomes["(module)"] = entry["broken"].splitlines()[-1]
    if end:
        outcomes[running] = end
    return outcomes


def differing(plain: Outcomes, green: Outcomes) -> list[str]:
    names = sorted(plain | green)
    return [name for name in names if plain.get(name) != green.get(name)]


def agrees_alone(folder: Path, mode: str, name: str) -> bool:
    if not name.startswith("tests."):
        return False
    return all(
        run(folder, BASELINES[mode], [name]).get(name) == run(folder, mode, [name]).get(name)
        for _ in range(RERUNS)
    )


def why_known(name: str) -> str:
    return next((KNOWN[pattern] for pattern in KNOWN if fnmatch.fnmatch(name, pattern)), "")


def compare(folder: Path, mode: str, module: str) -> int:
    """Print a module's row and its differences; how many of them count."""
    plain = run(folder, BASELINES[mode], [f"tests.{module}"])
    green = run(folder, mode, [f"tests.{module}"])
    names = differing(plain, green)
    kinds = Counter(outcome.split()[0] for outcome in green.values())
    counts = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    print(f"{module:24}{mode:8}{len(green):5} tests: {counts}; {len(names)} differ", flush=True)
    counted = 0
    for name in names:
        verdict = why_known(name) or ("flaky" if agrees_alone(folder, mode, name) else "")
        counted += not verdict
        print(f"    {name}: {BASELINES[mode]} {plain.get(name)}, {mode} {green.get(name)}")
        print(f"        {verdict or 'COUNTS'}", flush=True)
    return counted


# --- the command ----------------------------------------------------------------------------------


def fetch_tests(folder: Path) -> None:
    """The tests of the uvloop that is installed."""
    wanted = f"uvloop=={importlib.metadata.version('uvloop')}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*command, "--no-binary", ":all:", "--dest", folder, wanted], check=True)
    (archive,) = folder.glob("uvloop-*.tar.gz")
    with tarfile.open(archive) as tar:
        inside = [member for member in tar.getmembers() if "/tests/" in member.name]
        tar.extractall(folder, inside, filter="data")
    (source,) = folder.glob("uvloop-*/tests")
    source.rename(folder / "tests")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run uvloop's tests in a green thread.")
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        fetch_tests(folder)
        found = sorted(path.stem for path in (folder / "tests").glob("test_*.py"))
        modules = options.modules or [each for each in found if each not in LEFT_OUT]
        counted = sum([compare(folder, mode, name) for name in modules for mode in BASELINES])
    print(f"\n{counted} differences that count, in {len(modules)} modules")
    return 1 if counted else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run_tests(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        sys.exit(main())
