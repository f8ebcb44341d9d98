"""`weft.dump`: every green thread, what it waits for and where it stands.

The signal of ``weft run`` (SIGQUIT) calls it from a Python signal handler.  That runs in the main
green thread, which is woken for it and, if another one computes, gets its turn by preemption.
So all it takes is that Python code can run at all: not while C code holds the GIL.

What looks and what writes is imported when needed: a program run by weft should not meet modules
it did not ask for.
"""

import contextlib
import signal
import sys
import types
from typing import TextIO

from weft import _core
from weft._preemption import no_preempt


def dump(file: TextIO | None = None, *, json: bool = False) -> None:
    """Write all green threads to `file`, by default `sys.stderr`, as text or as one JSON object.

    Of each: its name, its state, what it waits for and for how long, where it was spawned, its
    Python stack.  OS threads that run Python are there too.  May be called from any thread, and
    from a signal handler.  Parks only if writing does.
    """
    from weft import _dump_json, _dump_text, _snapshot, _waits  # noqa: PLC0415

    # Nobody shall run between the look at the one and the look at the other.
    with no_preempt() if _core._has_worker() else contextlib.nullcontext():
        snapshot = _snapshot.take()
        waits = _waits.explain(snapshot.threads)
        told = (_dump_json if json else _dump_text).told(snapshot, waits)
    stream = sys.stderr if file is None else file
    stream.write(told)
    stream.flush()


def dump_on(number: signal.Signals) -> None:
    """Dump to standard error when the signal comes, unless somebody has other plans for it."""
    if signal.getsignal(number) is signal.SIG_DFL:
        signal.signal(number, on_signal)


def on_signal(number: int, frame: types.FrameType | None) -> None:  # noqa: ARG001
    """To the descriptor: the signal may have come while `sys.stderr` was being written to."""
    try:
        with open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False) as stream:
            dump(stream)
    except OSError:
        pass  # nobody reads it
