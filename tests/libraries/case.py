"""A case: one library, used by many jobs at once.

A case is a file in `cases`.  It defines `job(i)`, ordinary blocking code that checks what it gets
and raises if that is wrong, and says the rest in upper-case literals, so that it can be read
before the library it imports is there:

    NAME            what the table calls it
    PACKAGES        what pip installs for it
    DEBIAN          Debian packages that building or running it needs (put into a folder of ours)
    PIP_ENVIRONMENT variables for pip; {root} and {libraries} stand for where those packages are
    SERVERS         names from servers.py; each leaves its address in the environment
    FRESH_SERVERS   True: servers of its own for every run, since the case breaks them
    JOBS, QUICK     how many jobs, and how many with --quick
    SECONDS         what one job blocks for
    SPEEDUP         serial time over green time is at least this; 0: jobs that must wait in turn
    MODES           of MODES below: all, unless the jobs need each other
    THREADS_GREEN   True: jobs are threading.Threads after weft.install(), not weft.spawn
    FOREIGN_THREADS OS threads that the library makes for itself
    SOAK            False: not to be mixed with others in one process

It may define `setup()`, called before the clock starts; `teardown()`, which closes what setup and
the jobs left open; and `unavailable()`, which says why it cannot run here, or returns "".
"""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

CASES = Path(__file__).with_name("cases")

MODES = ("green", "threads", "serial")


@dataclass(frozen=True)
class Case:
    """What a case says of itself; the field names are its literals in lower case."""

    path: Path
    name: str
    packages: tuple[str, ...] = ()
    debian: tuple[str, ...] = ()
    pip_environment: dict[str, str] = field(default_factory=dict)
    servers: tuple[str, ...] = ()
    fresh_servers: bool = False
    jobs: int = 50
    quick: int = 20
    seconds: float = 0.2
    speedup: float = 4
    modes: tuple[str, ...] = MODES
    threads_green: bool = False
    foreign_threads: int = 0
    soak: bool = True

    @property
    def key(self) -> str:
        """What --only calls it."""
        return self.path.stem


def literals(path: Path) -> Iterator[tuple[str, object]]:
    """The upper-case names that a file sets to literals."""
    for statement in ast.parse(path.read_text(), path).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name.isupper():
                try:
                    yield name, ast.literal_eval(value)
                except ValueError:
                    continue  # an expression: the case's own business


def read_case(path: Path) -> Case:
    known = {each.name for each in fields(Case)} - {"path"}
    said = {name.lower(): value for name, value in literals(path)}
    return Case(path, **{name: said[name] for name in known & said.keys()})  # type: ignore[arg-type]


def all_cases() -> list[Case]:
    return [read_case(path) for path in sorted(CASES.glob("*.py"))]


def load(case: Case) -> ModuleType:
    """Import the case, and with it the library."""
    spec = importlib.util.spec_from_file_location(case.key, case.path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
