"""Regions in which a green thread relies on not being preempted.

Preemption (see `set_preemption`) makes green threads take turns as OS threads do: between any two
bytecodes.  Code written for gevent or asyncio may count on switches happening only where
it waits; `no_preempt` gives it that, for the green thread that enters it.

The watchdog that preempts is an OS thread.  It is not there while the process forks, so that a
program without threads of its own is not told (by CPython, since 3.12) that it has some.
"""

import os

from weft import _core
from weft._region import Region


class no_preempt(Region):  # noqa: N801 - read as a word of the language, like contextlib's
    """``with weft.no_preempt():`` lets the others run only where this green thread waits.

    Nests.  It is no lock: others do run while it waits, and those of other OS threads always.
    Computing for long inside it stalls all green threads of the OS thread.
    """

    _add = staticmethod(_core._hold_preemption)


os.register_at_fork(before=_core._pause_preemption, after_in_parent=_core._resume_preemption)
