"""Green threads: our own scheduler, which takes turns.

A *slot* holds one green thread and its state:

    AVAILABLE   free: the next spawn may have it
    READY       could run
    RUNNING     runs: always exactly one

Slot 0 is the base: whoever called `run`.  To yield is to look for the next READY slot, beginning
behind our own and going round, and to switch to it.  So it is round robin by slot, and a green
thread spawned into the next slot runs before those that have waited for longer in earlier ones.

The stacks and the switch itself are weft's: each slot's green thread waits for a baton of its own,
and to switch is to hand over the baton and wait for ours.  (The same lines would run on OS threads.
They would be many times slower.)

Unlike the well-known small ones, this has as many slots as are asked for.
"""

import _thread
from collections.abc import Callable
from enum import Enum

from weft import _core


class State(Enum):
    """What can be said of a slot."""

    AVAILABLE = "available"
    READY = "ready"
    RUNNING = "running"


class Slot:
    """Room for one green thread; used again when that one has returned."""

    def __init__(self, number: int, state: State) -> None:
        self.number = number
        self.state = state
        self.baton = _thread.allocate_lock()
        self.baton.acquire()


class Runtime:
    """Slots and a scheduler.  For the green threads of one OS thread.

    `guard` is called with the number of each green thread that has returned, still inside it.
    """

    def __init__(self, guard: Callable[[int], object] | None = None) -> None:
        self._slots = [Slot(0, State.RUNNING)]
        self._current = self._slots[0]
        self._guard = guard
        self._failures: list[BaseException] = []

    @property
    def size(self) -> int:
        """How many slots there are, the base's included."""
        return len(self._slots)

    def spawn(self, fn: Callable[[], object]) -> int:
        """Let ``fn()`` run in a free slot when its turn comes; returns the slot's number."""
        slot = next((slot for slot in self._slots if slot.state is State.AVAILABLE), None)
        if slot is None:
            slot = Slot(len(self._slots), State.AVAILABLE)
            self._slots.append(slot)
        slot.state = State.READY
        _core.spawn(self._body, slot, fn)
        return slot.number

    def run(self) -> None:
        """Take turns until only the base is left.  Raises the first exception of a green thread."""
        while self.yield_thread():
            pass
        if self._failures:
            raise self._failures[0]

    def yield_thread(self) -> bool:
        """Let the next one that is ready run, until our turn comes again.  False: there is none."""
        own = self._current
        following = self._next_ready()
        if following is None:
            return False
        own.state = State.READY
        self._switch(following)
        own.baton.acquire()
        return True

    def _next_ready(self) -> Slot | None:
        behind = self._current.number + 1
        round_ = self._slots[behind:] + self._slots[:behind]
        return next((slot for slot in round_ if slot.state is State.READY), None)

    def _switch(self, to: Slot) -> None:
        to.state = State.RUNNING
        self._current = to
        to.baton.release()

    def _body(self, slot: Slot, fn: Callable[[], object]) -> None:
        slot.baton.acquire()  # our first turn
        try:
            fn()
            if self._guard is not None:
                self._guard(slot.number)
        except BaseException as error:  # noqa: BLE001 - it is raised in run
            self._failures.append(error)
        slot.state = State.AVAILABLE
        self._switch(self._next_ready() or self._slots[0])
