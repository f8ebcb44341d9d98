"""`weft.Executor`: `concurrent.futures` with green threads for workers.

A worker lives as long as there is something to do: without a limit it makes one call, with one it
goes on to whatever waits.  Starting a green thread costs a tenth of waking one that waits on a queue, so
none is kept for later.

Its futures are `concurrent.futures.Future`, and what is promised about shutdown and about the exit
of the interpreter is what ThreadPoolExecutor promises.

Imported when `weft.Executor` is first asked for: a program run by weft should not meet modules it did
not ask for.
"""

import contextvars
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import Any, NamedTuple, ParamSpec, TypeVar

from weft import _core

P = ParamSpec("P")
T = TypeVar("T")

_names = itertools.count()
_exiting = False


class BrokenGreenPool(futures.BrokenExecutor):
    """Raised by an `Executor` whose initializer has failed."""


class _Call(NamedTuple):
    """What was submitted; `context` is None where the worker has the right one already."""

    future: futures.Future[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    context: contextvars.Context | None

    def make(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            if self.context is None:
                result = self.fn(*self.args, **self.kwargs)
            else:
                result = self.context.run(self.fn, *self.args, **self.kwargs)
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result raises it
            self.future.set_exception(error)
            del self  # the traceback has this frame, and would lead from the exception to itself
        else:
            self.future.set_result(result)


class Executor(futures.Executor):
    """Makes calls in green threads, and returns real `concurrent.futures.Future` objects.

    `max_workers`: how many calls may be in progress at once; None: any number.  Those beyond wait
    their turn, in the order they were submitted.  `thread_name_prefix` names the green threads.
    `initializer(*initargs)` is called at the start of each: of every call, where there is no limit.
    If it fails the executor is broken, and pending calls too, as with ThreadPoolExecutor.

    A call runs in a copy of the submitter's contextvars context, on the OS thread that submits it
    (or, where it had to wait, on that of an earlier one).  Raises ValueError for a limit below 1, and
    TypeError for an initializer that cannot be called.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._max_workers = max_workers
        self._prefix = thread_name_prefix or f"weft.Executor-{next(_names)}"
        self._initializer = initializer
        self._initargs = initargs
        self._lock = threading.Lock()  # for what follows
        self._started = 0
        self._workers: set[_core.GreenThread[None]] = set()
        self._waiting: deque[_Call] = deque()
        self._shutdown = False
        self._broken = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[T]:
        """Have ``fn(*args, **kwargs)`` called, and return the future of its result.  Does not park.

        Raises RuntimeError after `shutdown`, and when the interpreter is shutting down.
        """
        future: futures.Future[T] = futures.Future()
        with self._lock:
            self._refuse()
            if self._max_workers is None or len(self._workers) < self._max_workers:
                self._start(_Call(future, fn, args, kwargs, None))
            else:
                context = contextvars.copy_context()
                self._waiting.append(_Call(future, fn, args, kwargs, context))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls.  Parks, if `wait`, until all that were submitted are done.

        `cancel_futures` cancels those that have not begun.
        """
        with self._lock:
            self._shutdown = True
            cancelled = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
            workers = list(self._workers)
        for call in cancelled:
            call.future.cancel()
        if wait:
            for worker in workers:
                worker.join()

    # --- With the lock held ------------------------------------------------------------------

    def _refuse(self) -> None:
        if self._broken:
            raise BrokenGreenPool("an initializer failed, the executor is not usable any more")
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _exiting:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def _start(self, call: _Call) -> None:
        worker = _core.spawn(self._work, call)
        worker.name = f"{self._prefix}_{self._started}"
        worker.daemon = False
        self._started += 1
        self._workers.add(worker)

    def _next(self) -> _Call | None:
        """What the calling worker, which has done its work, is to do now."""
        if self._waiting:
            return self._waiting.popleft()
        self._workers.discard(_core.current())
        return None

    # --- In a worker ---------------------------------------------------------------------------

    def _work(self, call: _Call | None) -> None:
        if self._initializer is not None and not self._initialize(self._initializer):
            self._break(call)
            return
        while call is not None:
            call.make()
            del call  # nobody but the future may keep the result while the next is waited for
            with self._lock:
                call = self._next()

    def _initialize(self, initializer: Callable[..., object]) -> bool:
        try:
            initializer(*self._initargs)
        except BaseException:
            futures._base.LOGGER.critical("Exception in initializer:", exc_info=True)
            return False
        return True

    def _break(self, call: _Call | None) -> None:
        with self._lock:
            self._broken = True
            broken = [*filter(None, [call]), *self._waiting]
            self._waiting.clear()
            self._workers.discard(_core.current())
        for pending in broken:
            pending.future.set_exception(BrokenGreenPool("an initializer failed"))


def _take_no_more() -> None:
    global _exiting  # noqa: PLW0603 - there is one interpreter
    _exiting = True


# Before the green threads are waited for: those registered last are called first.
threading._register_atexit(_take_no_more)  # type: ignore[attr-defined]
