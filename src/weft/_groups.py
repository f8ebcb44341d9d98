"""TaskGroup: green threads that end together.

A group is a block of code; the green threads spawned in it are its *children*, and the block does
not end before they have.  So nothing is left behind, and nothing fails unseen.  Semantics are those
of `asyncio.TaskGroup`.

The body runs in a cancel scope.  The first child that fails *stops* the group: the scope is
cancelled, which ends what the body waits for, and so is each child that is left.  Stopping happens
once: what a child does in `finally` is its own affair, and is waited for.

`_enter` and `_exit` run unpreempted (see `Guarded`), so that `Cancelled` cannot be raised in them
but where they wait.

Rejected: children that inherit the scopes around the group, as in Trio.  A scope here belongs to
one green thread, and its deadline is found where that parks; it reaches the children through the
group, which waits for them inside it.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, ParamSpec, Self, TypeVar, final

from weft import _core
from weft._preemption import no_preempt

_P = ParamSpec("_P")
_T = TypeVar("_T")


@final
class TaskGroup(_core.Guarded):
    """A block that ends when all green threads spawned in it have; one that fails ends the others.

    ``with weft.TaskGroup() as group: group.spawn(fn, 1); group.spawn(fn, 2)``

    When a child fails with anything but `Cancelled`, or the body does, the other children and the
    body are cancelled.  After all have ended, the block raises a `BaseExceptionGroup` (an
    `ExceptionGroup`, if it can be one) of what they raised.  KeyboardInterrupt and SystemExit stop
    the group too, and then are raised as they are.  If the block is cancelled from outside, so are
    the children, and the cancellation goes on when they have ended.

    `max_concurrency`: at most so many children run at a time; `spawn` waits for its turn.
    """

    __slots__ = (
        "_children",
        "_errors",
        "_fatal",
        "_gates",
        "_limit",
        "_lock",
        "_scope",
        "_state",
        "_stopping",
    )

    def __init__(self, *, max_concurrency: int | None = None) -> None:
        if max_concurrency is not None and max_concurrency < 1:
            raise ValueError("max_concurrency must be at least 1")
        self._limit = max_concurrency
        self._scope = _core.CancelScope()
        self._state = "new"  # then "open", then "closed"
        self._stopping = False
        self._lock = threading.Lock()  # children of several OS threads may end at the same time
        self._children: set[_core.GreenThread[Any]] = set()
        self._gates: deque[threading.Lock] = deque()  # of those who wait in spawn
        self._errors: list[BaseException] = []
        self._fatal: BaseException | None = None  # the first KeyboardInterrupt or SystemExit

    def __repr__(self) -> str:
        stopping = " stopping" if self._stopping and self._state == "open" else ""
        return f"<TaskGroup {self._state}{stopping} children={len(self._children)}>"

    # --- Children ------------------------------------------------------------------------

    def spawn(
        self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _core.GreenThread[_T]:
        """Start ``fn(*args, **kwargs)`` in a new green thread of the group, as `weft.spawn` does.

        From any thread, while the group is open.  Parks while `max_concurrency` children run.
        Raises RuntimeError if the group is not entered, is stopping, or is closed.
        """
        with no_preempt():
            while True:
                with self._lock:
                    self._check_open()
                    if self._limit is None or len(self._children) < self._limit:
                        child = _core.spawn(fn, *args, **kwargs)
                        self._children.add(child)
                        break
                    gate = threading.Lock()
                    gate.acquire()
                    self._gates.append(gate)
                self._wait_at(gate)
            child.add_done_callback(self._collect)
            return child

    def _check_open(self) -> None:
        if self._state != "open":
            raise RuntimeError(f"the task group is {self._state}: nothing can be spawned in it")
        if self._stopping:
            raise RuntimeError("the task group is stopping: nothing can be spawned in it")

    def _wait_at(self, gate: threading.Lock) -> None:
        try:
            gate.acquire()
        except BaseException:
            if gate in self._gates:
                self._gates.remove(gate)
            else:
                self._open_gate()  # the turn was ours; it is the next one's
            raise

    def _open_gate(self) -> None:
        if self._gates:
            self._gates.popleft().release()

    def _collect(self, child: _core.GreenThread[Any]) -> None:
        """The child has ended.  Called by itself, and by whoever joined it and may be earlier."""
        with no_preempt():
            with self._lock:
                if child not in self._children:
                    return
                self._children.remove(child)
                self._open_gate()
            if not child.cancelled() and (error := child.exception()) is not None:
                self._fail(error)

    # --- Stopping ------------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel the children and the body; the block then ends without an exception.

        From any thread.  Nothing can be spawned any more.  Does nothing in a group that is stopping
        or closed.  Does not park.
        """
        self._stop()

    def _stop(self) -> None:
        if self._stopping or self._state == "closed":
            return
        self._stopping = True
        self._scope.cancel()
        for child in list(self._children):
            child.cancel()
        while self._gates:  # they will find that it is stopping
            self._open_gate()

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, KeyboardInterrupt | SystemExit):
            self._errors.append(error)
        elif self._fatal is None:
            self._fatal = error
        self._stop()

    # --- The block -----------------------------------------------------------------------

    def _enter(self) -> Self:
        if self._state != "new":
            raise RuntimeError("a task group can be entered only once")
        self._scope.__enter__()
        self._state = "open"
        return self

    def _join_all(self) -> _core.Cancelled | None:
        """Wait for the children, whatever comes; the last cancellation that did."""
        cancelled = None
        while self._children:
            child = next(iter(self._children))
            try:
                child.join()
                self._collect(child)
            except _core.Cancelled as error:
                cancelled = error
                self._stop()
            except BaseException as error:  # noqa: BLE001 - a signal handler's, which may be any
                self._fail(error)
        return cancelled

    def _exit(self, exception: BaseException | None) -> bool:
        cancelled = exception if isinstance(exception, _core.Cancelled) else None
        if exception is not None and cancelled is None:
            self._fail(exception)
        elif cancelled is not None:
            self._stop()
        cancelled = self._join_all() or cancelled
        self._state = "closed"
        try:
            absorbed = self._scope.__exit__(type(cancelled) if cancelled else None, cancelled, None)
            self._raise_what_failed(exception)
            if cancelled is not None and not absorbed and cancelled is not exception:
                raise cancelled
            return absorbed and self._fatal is None
        finally:
            self._errors, self._fatal = [], None  # they refer to frames that refer to us

    def _raise_what_failed(self, exception: BaseException | None) -> None:
        if self._fatal is not None and self._fatal is not exception:
            raise self._fatal
        if self._fatal is None and self._errors:
            raise BaseExceptionGroup("unhandled errors in a TaskGroup", self._errors) from None
