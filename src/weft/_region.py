"""Regions of code in which the running green thread is treated in a way of its own.

Each kind is a number that the C core keeps for every green thread: how many reasons there are now.
So regions nest, and one green thread's say nothing of another's.
"""

from collections.abc import Callable

from weft import _core


class Region(_core.Guarded):
    """A context manager that is a reason while its block runs; a subclass says for what."""

    _add: Callable[[int], None]  # adds to the running green thread's number

    def _enter(self) -> None:
        self._add(1)

    def _exit(self, _exception: BaseException | None) -> None:
        self._add(-1)
