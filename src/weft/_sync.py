"""What `weft` offers of `threading` without anything of its own underneath.

`local` is threading's: a green thread has a thread state, so it has locals.  `Barrier` is
threading's too, over weft's own condition: its work is counting, and a wait in it costs what the
condition costs.
"""

import threading
from collections.abc import Callable
from threading import local as local  # noqa: PLC0414 - handed on

from weft import _core


class Barrier(threading.Barrier):
    """`threading.Barrier`, for green threads and OS threads; raises its `BrokenBarrierError`.

    `wait` parks.
    """

    def __init__(
        self, parties: int, action: Callable[[], None] | None = None, timeout: float | None = None
    ) -> None:
        super().__init__(parties, action, timeout)
        self._cond = _core.Condition(_core.Lock())


Barrier.__module__ = "weft"  # where people find it
