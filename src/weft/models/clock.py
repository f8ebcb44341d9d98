"""Time for the models, and the one place where an OS thread of theirs waits.

A `Parker` is that place: `park` waits, `unpark` ends the wait.  An unpark that comes first is kept,
so no wake is lost between "nothing to do" and going to sleep; several count as one.  A sleep is a
park that nobody ends but its deadline.

Since all waiting is done there, a clock can know when nothing more can happen by itself:

- `Clock` tells the machine's time, counted from when the clock was made.
- `VirtualClock` stands still while anybody runs.  When the last one parks, the earliest deadline
  is the next thing that can happen, so it is now, and its owner goes on.  An hour passes in no
  time and a program prints the same times in every run.

Invariants of `VirtualClock`
    one deadline at a time wakes somebody: equal deadlines in the order in which they were set
    who is unparked counts as running from that moment, not from when the system lets it run;
    otherwise time could pass between the two
    `enter` comes before an OS thread starts, `leave` is its last act

Rejected: to let time run ten times as fast.  On a busy machine a tenth of 50 ms is nothing, and
the order of two events that are so far apart would be the machine's to choose.
"""

import threading
import time


class Clock:
    """Real time, in seconds since this was made."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._start = time.monotonic()

    def now(self) -> float:
        """Seconds since the beginning.  Does not wait."""
        return time.monotonic() - self._start

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`; none at all if that is 0 or less."""
        Parker(self).park(self.now() + seconds)

    def enter(self) -> None:
        """Another OS thread takes part from now on; it need not have started."""

    def leave(self) -> None:
        """The calling OS thread takes part no longer."""

    # --- for Parker, with the lock held ---

    def wait(self, parker: "Parker", deadline: float | None) -> None:
        """Wait until the parker has its permit, or the deadline has come."""
        timeout = None if deadline is None else max(0, deadline - self.now())
        parker.changed.wait_for(lambda: parker.permit, timeout)

    def woken(self, parker: "Parker") -> None:
        """The parker has just got its permit."""


class VirtualClock(Clock):
    """Time that passes only when all who take part wait; whoever makes it is the first of them."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._running = 1
        self._parked: dict[Parker, float | None] = {}  # in the order of their parks
        self._hopeless = False

    def now(self) -> float:
        """The deadline that was last reached."""
        return self._now

    def enter(self) -> None:
        """As `Clock.enter`: time will not pass without it."""
        with self.lock:
            self._running += 1

    def leave(self) -> None:
        """As `Clock.leave`: time may pass, if that was the last who ran."""
        with self.lock:
            self._running -= 1
            self._pass_time()

    def wait(self, parker: "Parker", deadline: float | None) -> None:
        """As `Clock.wait`.

        Raises RuntimeError if from now on everybody waits, and for nothing that will happen.
        """
        if parker.permit:
            return
        self._parked[parker] = deadline
        self._running -= 1
        self._pass_time()
        parker.changed.wait_for(lambda: parker not in self._parked or self._hopeless)
        if self._hopeless:
            raise RuntimeError("everybody waits, and for nothing that will happen")

    def woken(self, parker: "Parker") -> None:
        """It counts as running from now on."""
        if parker in self._parked:
            del self._parked[parker]
            self._running += 1

    def _pass_time(self) -> None:
        """If nobody runs, wake who has the earliest deadline, and let that be the time."""
        if self._running > 0:
            return
        due = {parker: when for parker, when in self._parked.items() if when is not None}
        if not due:
            self._give_up()
            return
        first = min(due, key=lambda parker: due[parker])  # of equals the first
        self._now = max(self._now, due[first])
        self.woken(first)
        first.changed.notify()

    def _give_up(self) -> None:
        self._hopeless = bool(self._parked)
        for parker in self._parked:
            parker.changed.notify()


class Parker:
    """Where one OS thread at a time waits until another says: go on."""

    def __init__(self, clock: Clock) -> None:
        self.changed = threading.Condition(clock.lock)
        self.permit = False
        self._clock = clock

    def park(self, deadline: float | None = None) -> bool:
        """Wait for an unpark, or until the clock says `deadline`.  True if it was the unpark.

        Returns at once, and True, if there was an unpark since the last park.
        """
        with self.changed:
            self._clock.wait(self, deadline)
            woken, self.permit = self.permit, False
            return woken

    def unpark(self) -> None:
        """End the park, or the next one if there is none now.  From any OS thread; never waits."""
        with self.changed:
            self.permit = True
            self._clock.woken(self)
            self.changed.notify()
