"""Promises: a callback's value as a thing that can be handed on.

    pending --> fulfilled, with a value
            --> rejected, with an exception

A promise settles once; a second attempt changes nothing.  It is *eager*: the work has begun when
it is made, whether or not anybody will look.  `then` says what to do with the outcome and is
itself the promise of what that returns; so waits follow each other down the page instead of
inward.

Rules, as in the Promises/A+ specification (https://promisesaplus.com):

- What was given to `then` is called later, from the runtime, never inside `then` or `resolve`;
  in the order in which it was given.
- To resolve with a promise is to settle as that one does, when it does.
- What a callback raises rejects the promise that `then` returned.
- A rejection passes down the chain to the first who handles it.  One that reaches the end comes
  out of the runtime's `run`, as it ends a Node program.
"""

from collections.abc import Callable, Generator, Iterable
from enum import Enum
from functools import partial
from typing import Any, Generic, TypeVar

from weft.models.callbacks import Runtime

T = TypeVar("T")
U = TypeVar("U")


class State(Enum):
    """What can be said of a promise."""

    PENDING = "pending"
    FULFILLED = "fulfilled"
    REJECTED = "rejected"


class Promise(Generic[T]):
    """A value that is there, or will be, or will never be, and then why.

    ``executor(resolve, reject)`` is called at once; it begins the work, and sees to it that one of
    its two arguments is called when that is done.  What it raises rejects the promise.
    """

    def __init__(
        self,
        runtime: Runtime,
        executor: Callable[[Callable[[Any], None], Callable[[BaseException], None]], object],
    ) -> None:
        self.state = State.PENDING
        self._runtime = runtime
        self._resolved = False  # settled, or bound to settle as another promise does
        self._outcome: Any = None
        self._reactions: list[Callable[[], None]] = []
        self._handled = False
        try:
            executor(self._resolve, self._reject)
        except Exception as error:  # noqa: BLE001 - that is what rejections are
            self._reject(error)

    def then(
        self,
        on_fulfilled: Callable[[T], Any] | None = None,
        on_rejected: Callable[[BaseException], Any] | None = None,
    ) -> "Promise[Any]":
        """When this settles, call one of the two with the outcome; the promise of its result.

        Without the one that is needed, the outcome is handed on as it is.
        """
        self._handled = True

        def chain(resolve: Callable[[Any], None], reject: Callable[[BaseException], None]) -> None:
            def react() -> None:
                fulfilled = self.state is State.FULFILLED
                handler = on_fulfilled if fulfilled else on_rejected
                if handler is None:
                    (resolve if fulfilled else reject)(self._outcome)
                    return
                try:
                    resolve(handler(self._outcome))
                except Exception as error:  # noqa: BLE001 - it is the next one's to handle
                    reject(error)

            self._when_settled(react)

        return Promise(self._runtime, chain)

    def catch(self, on_rejected: Callable[[BaseException], Any]) -> "Promise[Any]":
        """`then`, for rejections only."""
        return self.then(None, on_rejected)

    def __await__(self) -> "Generator[Promise[T], T, T]":
        return (yield self)

    # --- settling ---

    def _resolve(self, value: Any) -> None:
        if self._resolved:
            return
        self._resolved = True
        if value is self:
            self._settle(State.REJECTED, TypeError("a promise cannot wait for itself"))
        elif isinstance(value, Promise):
            value.then(
                lambda outcome: self._settle(State.FULFILLED, outcome),
                lambda error: self._settle(State.REJECTED, error),
            )
        else:
            self._settle(State.FULFILLED, value)

    def _reject(self, error: BaseException) -> None:
        if not self._resolved:
            self._resolved = True
            self._settle(State.REJECTED, error)

    def _settle(self, state: State, outcome: Any) -> None:
        self.state = state
        self._outcome = outcome
        for reaction in self._reactions:
            self._runtime.call_soon(reaction)
        self._reactions.clear()
        if state is State.REJECTED:
            self._runtime.call_soon(self._complain)

    def _when_settled(self, reaction: Callable[[], None]) -> None:
        if self.state is State.PENDING:
            self._reactions.append(reaction)
        else:
            self._runtime.call_soon(reaction)

    def _complain(self) -> None:
        if not self._handled:
            raise self._outcome


def timer(runtime: Runtime, ms: float) -> Promise[None]:
    """A promise that is fulfilled in `ms` milliseconds."""
    return Promise(runtime, lambda resolve, _: runtime.set_timeout(ms, lambda: resolve(None)))


def join_all(runtime: Runtime, promises: Iterable[Promise[T]]) -> "Promise[list[T]]":
    """The promise of all their values in their order; rejected as soon as one of them is."""
    waited_for = list(promises)
    values: dict[int, T] = {}

    def begin(resolve: Callable[[Any], None], reject: Callable[[BaseException], None]) -> None:
        def note(number: int, value: T) -> None:
            values[number] = value
            if len(values) == len(waited_for):
                resolve([values[number] for number in range(len(waited_for))])

        if not waited_for:
            resolve([])
        for number, promise in enumerate(waited_for):
            promise.then(partial(note, number), reject)

    return Promise(runtime, begin)
