"""Reports of stalls: a green thread kept the others of its OS thread from running for too long.

Preemption ends most of that by itself.  What it cannot end: C code, whether it holds the GIL or has
released it, and code inside `no_preempt`.  The watchdog in `_core` notices, looks at what the green
thread is doing, and calls a `Reporter`; each place in a program is reported once.

A report is written by the watchdog while the program is stuck, so it must not wait for anybody: it
takes no lock of the program's, which whoever stalls might hold.  Hence `os.write`, past the buffers
of the file, and nothing is imported while reporting.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, TextIO

from weft import _core
from weft._region import Region

if TYPE_CHECKING:
    import types

    Frame = tuple[types.CodeType, int]  # and the offset of the instruction it is at
    FormatStack = Any  # traceback.StackSummary and FrameSummary, once imported

REASONS = {
    "released": "in C code that has released the GIL",
    "held": "in C code that holds the GIL",
    "no_preempt": "inside weft.no_preempt()",
    "destructor": "inside a destructor",
    "inside": "inside weft",
    "off": "with preemption switched off",
}

ADVICE = {
    "released": "weft.to_thread(fn, ...) makes the call on an OS thread while the others run here",
    "held": "no thread at all runs meanwhile: do it in smaller pieces, or in another process",
    "no_preempt": "weft.yield_now() inside it lets the others run",
    "destructor": "nobody is preempted there: let __del__ only note what is to be done",
    "inside": "this should not happen; please report it",
    "off": "weft.set_preemption(seconds) or weft.yield_now() lets the others run",
}


def warn_stalls(seconds: float | None, /, file: TextIO | None = None) -> None:
    """Report each place where a green thread keeps others waiting for `seconds`; None: stop that.

    A report names the green thread, how long it has kept its OS thread, its Python stack, and where
    it is C code the native function.  It goes to `file`, `sys.stderr` by default, as soon as the
    GIL can be had: for C code that holds it, when the call is over.  If that takes ten times
    `seconds`, what can be seen without the GIL is written to the file's descriptor at once, if it
    has one.  Nobody is reported while nobody else could run, nor inside `blocking`.  Does not park.

    Raises ValueError unless `seconds` is positive.
    """
    reporter = Reporter(file) if seconds is not None else None
    _core._pause_preemption()  # the watchdog has descriptors only if it may have to write
    try:
        _core._watch_stalls(seconds, reporter, _descriptor(file or sys.stderr))
    finally:
        _core._resume_preemption()


class blocking(Region):  # noqa: N801 - read as a word of the language, like contextlib's
    """``with weft.blocking():`` around code that is known to stall: it is not reported.

    The others still wait: the code runs on the same OS thread, because a green thread stays on the
    one on which it started.  `to_thread` is what runs a function elsewhere.  Nests; does not park.
    """

    _add = staticmethod(_core._hold_stalls)


class Reporter:
    """What the watchdog calls, at most once per stall."""

    def __init__(self, file: TextIO | None) -> None:
        import traceback  # noqa: PLC0415 - large, and few programs want it; not in the watchdog

        self._traceback = traceback
        self._file = file
        self._reported: set[tuple[str, int | None]] = set()

    def __call__(  # noqa: PLR0917 - C code calls it
        self,
        green_thread: _core.GreenThread[Any] | None,
        ident: int,
        seconds: float,
        reason: str,
        native: str,
        stack: list[Frame],
    ) -> None:
        """Report it, unless this place was.  `stack` is innermost first."""
        if stack:
            code, offset = stack[0]
            place = code.co_filename, _position(code, offset)[0]
            if place in self._reported:
                return
            self._reported.add(place)
        text = self._text(_name(green_thread, ident), seconds, reason, native, stack)
        _write(self._file or sys.stderr, text)

    def _text(self, name: str, seconds: float, reason: str, native: str, stack: list[Frame]) -> str:
        where = REASONS[reason]
        if native and reason in ("released", "held"):
            where += f": {native}"
        lines = [
            f"weft: {name} has kept its OS thread for {seconds:.2f} s, {where}\n",
            *self._format(_program_part(stack)),
            f"weft: {ADVICE[reason]}\n",
        ]
        return "".join(lines)

    def _format(self, stack: list[Frame]) -> list[str]:
        """As in a traceback: the innermost last, with marks under the call."""
        summary = [
            self._traceback.FrameSummary(
                code.co_filename,
                line,
                code.co_name,
                lookup_line=False,
                end_lineno=end_line,
                colno=column,
                end_colno=end_column,
            )
            for code, offset in reversed(stack)
            for line, end_line, column, end_column in [_position(code, offset)]
        ]
        return self._traceback.StackSummary.from_list(summary).format()


def _position(
    code: types.CodeType, offset: int
) -> tuple[int | None, int | None, int | None, int | None]:
    """Line, last line, column, last column of the instruction there."""
    instruction = max(offset, 0) // 2
    return next(itertools.islice(code.co_positions(), instruction, None), (None,) * 4)


def _program_part(stack: list[Frame]) -> list[Frame]:
    """What the program called, without `weft run` around it."""
    command = __file__.replace("_stalls.py", "cli.py")
    for depth, (code, _) in enumerate(stack):
        if code.co_filename == command:
            return stack[:depth]
    return stack


def _name(green_thread: _core.GreenThread[Any] | None, ident: int) -> str:
    if green_thread is not None:
        return green_thread.name
    thread = threading._active.get(ident)  # type: ignore[attr-defined]  # enumerate() locks
    return f"Thread-{ident}" if thread is None else str(thread.name)


def _descriptor(file: TextIO) -> int:
    """The file's, or -1: it lives in memory."""
    try:
        return file.fileno()
    except (AttributeError, OSError):
        return -1


def _write(file: TextIO, text: str) -> None:
    fd = _descriptor(file)
    if fd < 0:
        file.write(text)
        return
    data = text.encode(errors="backslashreplace")
    while data:
        data = data[os.write(fd, data) :]
