"""The executor: it polls futures, and sleeps until a waker says which to poll again.

A *task* is a future that an executor polls.  Its waker puts it on the ready queue, once however
often it is called, and ends the executor's sleep.  The reactor calls wakers; executor and
reactor know no more of each other than that.

    executor: poll a task --PENDING--> the leaf leaves the waker with the reactor
                ^                                                 |
                +----- ready queue <------ wake() <--- it is due -+

No wake is lost: one that comes between the poll and the sleep has filled the queue, and the
parker keeps it.  One for a task that is done is ignored.

There may be an executor on each of several OS threads, with one reactor for all of them.
"""

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from weft.models.clock import Clock, Parker
from weft.models.futures import PENDING, Awaitable, Future, Poll
from weft.models.reactor import Wake

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Task(Awaitable[T], Generic[T]):
    """A future that an executor polls; and the future of its outcome, for other tasks."""

    def __init__(self, executor: "Executor", future: Future[T]) -> None:
        self._executor = executor
        self._future = future
        self._outcome: Callable[[], T] | None = None
        self._waiting: Wake | None = None
        self.ready = False

    @property
    def done(self) -> bool:
        """Has its future given its value, or failed?"""
        return self._outcome is not None

    def result(self) -> T:
        """What its future gave, once it is done; raises what that raised."""
        if self._outcome is None:
            raise RuntimeError("the task is not done")
        return self._outcome()

    def wake(self) -> None:
        """Have it polled again.  From any OS thread, any number of times."""
        self._executor.enqueue(self)

    def poll(self, wake: Wake) -> T | Poll:
        """For those who wait for it: its outcome, or PENDING and the newest waker is kept."""
        if self._outcome is None:
            self._waiting = wake
            return PENDING
        return self.result()

    def run(self) -> None:
        """For the executor: poll the future, unless it is done."""
        if self._outcome is not None:
            return
        try:
            value = self._future.poll(self.wake)
        except Exception as error:  # noqa: BLE001 - it is raised where the task is awaited
            failure = error

            def fail() -> T:
                raise failure

            self._outcome = fail
        else:
            if isinstance(value, Poll):
                return
            self._outcome = lambda: value
        if self._waiting is not None:
            self._waiting()


class Executor:
    """Polls tasks, all on the OS thread that calls `block_on`."""

    def __init__(self, clock: Clock) -> None:
        self._lock = threading.Lock()
        self._ready: deque[Task[Any]] = deque()
        self._parker = Parker(clock)

    def block_on(self, future: Future[T]) -> T:
        """Poll the future, and tasks that it spawns, until it has its value.

        Raises what the future raises.  Tasks not done by then are polled in the next `block_on`.
        """
        main = Task(self, future)
        self.enqueue(main)
        while not main.done:
            task = self._next()
            if task is None:
                self._parker.park()
            else:
                task.run()
        return main.result()

    def spawn(self, future: Future[T]) -> Task[T]:
        """Poll it beside the others; the first time right now, so it is under way."""
        task = Task(self, future)
        task.run()
        return task

    def enqueue(self, task: Task[Any]) -> None:
        """Put it on the ready queue, unless it is there.  From any OS thread."""
        with self._lock:
            if task.ready:
                return
            task.ready = True
            self._ready.append(task)
        self._parker.unpark()

    def _next(self) -> Task[Any] | None:
        with self._lock:
            if not self._ready:
                return None
            task = self._ready.popleft()
            task.ready = False  # from here on a wake asks for one more poll
            return task
