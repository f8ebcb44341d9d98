"""The differences that are known and cannot be cured, each with its reason, as a table in a file.

    [[difference]]
    tests = ["test.test_x.SomeTests.test_y"]   # ids, * as in a shell
    modes = ["install", "run"]                 # where it differs
    versions = ["3.13"]                        # left out: on all
    sometimes = true                           # left out: every time
    hangs = true                               # it does: give it a short time only
    reason = "why, in words a reader believes"

The table cannot rot: an entry whose tests ran and agreed with the baseline is reported and counts,
unless it says `sometimes`.
"""

from __future__ import annotations

import platform
import tomllib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

TABLE = Path(__file__).with_name("cpython_differences.toml")
VERSION = platform.python_version().rpartition(".")[0]


@dataclass
class Known:
    """One entry of the table, and what this run has seen of it."""

    tests: list[str]
    modes: list[str]
    reason: str
    versions: list[str] = field(default_factory=lambda: [VERSION])
    sometimes: bool = False
    hangs: bool = False
    differed: set[tuple[str, str]] = field(default_factory=set)  # (mode, test)
    agreed: set[tuple[str, str]] = field(default_factory=set)

    def covers(self, mode: str, test: str) -> bool:
        return mode in self.modes and any(fnmatchcase(test, pattern) for pattern in self.tests)

    @property
    def stale(self) -> bool:
        return bool(self.agreed) and not self.differed and not self.sometimes


class KnownTable:
    def __init__(self, path: Path = TABLE) -> None:
        entries = tomllib.loads(path.read_text())["difference"]
        self.entries = [
            known for known in (Known(**e) for e in entries) if VERSION in known.versions
        ]

    def knows(self, mode: str, test: str) -> bool:
        """Whether this difference is in the table; notes that it occurred."""
        found = [known for known in self.entries if known.covers(mode, test)]
        for known in found:
            known.differed.add((mode, test))
        return bool(found)

    def hangs(self, mode: str, test: str) -> bool:
        return any(known.hangs and known.covers(mode, test) for known in self.entries)

    def note_agreed(self, mode: str, test: str) -> None:
        for known in self.entries:
            if known.covers(mode, test):
                known.agreed.add((mode, test))
