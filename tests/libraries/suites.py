"""Other people's test-suites under `weft run`, compared with plain Python.

    python3 tests/libraries/suites.py [--only NAME ...] [--version 3.11]

What a library's authors test of it is more than our cases (run.py) ask for.  Each suite runs twice,
as `python -m pytest` and as `weft run -m pytest`, where every thread it makes is green.  A test
that ends differently runs again alone, both ways, RERUNS times; if it then agrees each time it is
called flaky.  Suites stand in SUITES, with versions, so that a difference is never the library's
news.  A test that fails both ways, for want of something here, is no difference.

Most suites are in the source distribution only, which pip fetches; some are installed with the
library.  Everything is in an environment of its own, .venv/suites-VERSION.

Exit status: 1 if anything differs that is not flaky.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import environment
from debian import UnavailableError
from servers import SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNNERS = {
    "plain": [sys.executable, "-m", "pytest"],
    "green": [sys.executable, "-m", "weft", "run", "-m", "pytest"],
}
SUITE_SECONDS = 600
TEST_SECONDS = 100
RERUNS = 3

PLAIN_PYTEST = [
    *("-q", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "filterwarnings="),
    *("-o", "junit_family=xunit1"),  # names the file
]
SETTINGS = ("conftest.py", "pyproject.toml", "pytest.ini", "setup.cfg", "tox.ini")
RAN = (0, 1)  # pytest's exit status when all tests ran
BROKEN = "(all)"
COUNT = {"passed": "passed", "failure": "failed", "error": "errors", "skipped": "skipped"}

Outcomes = dict[str, str]  # of each test, by its id for pytest


@dataclass(frozen=True)
class Suite:
    """A library's tests, and what they need."""

    name: str
    library: str  # with its version
    packages: tuple[str, ...] = ()  # what else pip installs
    wheel: str = ""  # what pip installs of it, where that is another project
    tests: str = "tests"  # where they are in the source distribution, or,
    installed: bool = False  # if they are installed with the library, in site-packages
    helpers: str = ""  # a folder beside them that they import
    options: tuple[str, ...] = ("-p", "no:asyncio")
    server: str = ""
    variables: tuple[tuple[str, str], ...] = ()  # {NAME} stands for what the server is at


SUITES = [
    Suite("joblib", "joblib==1.6.0", tests="joblib/test", installed=True),
    Suite(
        "psycopg2",
        "psycopg2==2.9.13",
        wheel="psycopg2-binary==2.9.13",
        server="postgresql",
        variables=(
            ("PSYCOPG2_TESTDB", "postgres"),
            ("PSYCOPG2_TESTDB_HOST", "{POSTGRESQL_FOLDER}"),
            ("PSYCOPG2_TESTDB_PORT", "{POSTGRESQL_PORT}"),
            ("PSYCOPG2_TESTDB_USER", "weft"),
        ),
    ),
    Suite("pyzmq", "pyzmq==27.3.0", ("tornado", "pytest-asyncio"), options=()),
    Suite(
        "trio",
        "trio==0.35.0",
        ("trustme", "pyopenssl", "astor", "jedi", "async_generator"),
        tests="trio/_tests",
        installed=True,
        options=(
            *("-p", "no:asyncio", "-p", "trio._tests.pytest_plugin", "--run-slow"),
            *("--ignore-glob", "*test_exports*", "--ignore-glob", "*tools*"),
        ),
    ),
    Suite(
        "urllib3",
        "urllib3==2.8.0",
        ("PySocks", "trustme", "hypercorn", "quart", "quart-trio", "httpx", "h2", "backports.zstd"),
        tests="test",
        helpers="dummyserver",
    ),
    Suite("waitress", "waitress==3.0.2"),
    Suite("watchdog", "watchdog==7.1.0", ("flaky", "PyYAML")),
]


# --- what they need -------------------------------------------------------------------------------


def provide(suite: Suite, folder: Path) -> Path:
    """Install what the suite needs; the folder its tests are relative to."""
    tools = ("pytest", "pytest-timeout", "pytest-asyncio")
    environment.install_packages((*tools, suite.wheel or suite.library, *suite.packages))
    if suite.installed:
        return Path(sysconfig.get_path("platlib"))
    command = ["download", "--no-deps", "--no-binary", ":all:", "--dest", str(folder)]
    environment.pip(sys.executable, *command, suite.library)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, wanted(suite, tar), filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


def wanted(suite: Suite, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The tests and pytest's settings; not the library, which is not built there."""
    for member in tar.getmembers():
        inside = member.name.partition("/")[2]
        if inside in SETTINGS or inside.partition("/")[0] in (suite.tests, suite.helpers):
            yield member


@contextlib.contextmanager
def prepared(suite: Suite) -> Iterator[tuple[Path, dict[str, str]]]:
    """Its root folder and environment variables, while its server runs."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        root = provide(suite, Path(scratch))
        where = stack.enter_context(SERVERS[suite.server]()) if suite.server else {}
        yield root, {name: value.format(**where) for name, value in suite.variables}


# --- running them ---------------------------------------------------------------------------------


def run(suite: Suite, runner: str, root: Path, variables: dict[str, str], *tests: str) -> Outcomes:
    """What became of each test; or of BROKEN, if pytest did not come to its end."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        options = [f"--timeout={TEST_SECONDS}", f"--rootdir={root}", f"--junitxml={report}"]
        command = [*RUNNERS[runner], *PLAIN_PYTEST, *suite.options, *options]
        done = subprocess.run(
            [*command, *(tests or (suite.tests,))],
            check=False,
            cwd=root,
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SUITE_SECONDS,
        )
        if done.returncode not in RAN:
            last = (done.stdout.strip().splitlines() or ["no output"])[-1]
            return {BROKEN: f"exit status {done.returncode}: {last}"}
        return dict(outcome(case) for case in ET.parse(report).iter("testcase"))


def outcome(case: ET.Element) -> tuple[str, str]:
    file, name = case.get("file", ""), case.get("name", "")
    module = file.removesuffix(".py").replace("/", ".")
    inside = case.get("classname", "").removeprefix(module).strip(".").replace(".", "::")
    kind = next((child.tag for child in case if child.tag in COUNT), "passed")
    return "::".join(part for part in (file, inside, name) if part), kind


def agrees_alone(suite: Suite, name: str, root: Path, variables: dict[str, str]) -> bool:
    if name == BROKEN:
        return False
    return all(
        run(suite, "plain", root, variables, name) == run(suite, "green", root, variables, name)
        for _ in range(RERUNS)
    )


def summary(outcomes: Outcomes) -> str:
    counts = Counter(outcomes.values())
    return ", ".join(f"{count} {COUNT.get(kind, kind)}" for kind, count in counts.most_common())


def compare(suite: Suite) -> int:
    """Print the suite's line and its differences; how many of them count."""
    with prepared(suite) as (root, variables):
        plain, green = (run(suite, runner, root, variables) for runner in RUNNERS)
        names = [
            name
            for name in sorted(plain | green)
            if plain.get(name) != green.get(name) or name == BROKEN
        ]
        print(f"{suite.library:20} plain: {summary(plain)}", flush=True)
        print(f"{'':20} green: {summary(green)}; {len(names)} differ", flush=True)
        counted = 0
        for name in names:
            flaky = agrees_alone(suite, name, root, variables)
            counted += not flaky
            print(f"    {name}: plain {plain.get(name)}, green {green.get(name)}")
            print(f"        {'flaky' if flaky else 'COUNTS'}", flush=True)
        return counted


def main() -> int:
    parser = argparse.ArgumentParser(description="Run libraries' own tests under weft run.")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[s.name for s in SUITES])
    parser.add_argument("--version", default="3.11", help="of CPython (default: 3.11)")
    parser.add_argument("--no-build", action="store_true", help="take the weft built last time")
    options = parser.parse_args()
    environment.enter(options.version, build=not options.no_build, name="suites")
    counted = 0
    for suite in SUITES:
        if options.only and suite.name not in options.only:
            continue
        try:
            counted += compare(suite)
        except (UnavailableError, RuntimeError) as error:
            print(f"{suite.library:20} skipped: {str(error).splitlines()[-1]}", flush=True)
    print(f"\n{counted} differences that count")
    return 1 if counted else 0


if __name__ == "__main__":
    sys.exit(main())
