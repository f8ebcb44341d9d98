"""Futures: values that nobody computes until somebody polls.

Where a promise has begun when it is made, a future is *lazy*: a thing with one method,

    poll(wake)      the value, or PENDING; and then `wake` is called when to poll again is worth it

and no thread, loop or callback behind it.  Futures are built of futures, so a poll goes down from
the outermost to the *leaf* that waits for something outside: a `Timer` leaves the waker with the
reactor.  On the way each one remembers how far it got; it is a state machine.  `Then` is one
written by hand.  For `Coroutine` the compiler has written it: each ``await`` is a state.

A waker may be called any number of times, too early, and from any OS thread; that costs a poll.
"""

from collections.abc import Callable, Generator, Iterable
from collections.abc import Coroutine as PythonCoroutine
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from weft.models.reactor import Reactor, Wake

T = TypeVar("T")
U = TypeVar("U")
T_co = TypeVar("T_co", covariant=True)


class Poll(Enum):
    """What a poll says that has no value yet."""

    PENDING = "pending"


PENDING = Poll.PENDING


class Future(Protocol[T_co]):
    """Whatever can be polled.  Not again, once it has given its value."""

    def poll(self, wake: Wake) -> T_co | Poll:
        """The value, or PENDING once `wake` is where it will be called."""


class Awaitable(Generic[T]):
    """Lets a coroutine ``await`` a future of ours: it hands the future to who drives it."""

    def __await__(self) -> Generator["Awaitable[T]", T, T]:
        return (yield self)


class Timer(Awaitable[T]):
    """A leaf: gives `value` so many seconds after it was first polled."""

    def __init__(self, reactor: Reactor, seconds: float, value: T) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._value = value
        self._token: int | None = None

    def poll(self, wake: Wake) -> T | Poll:
        """As `Future.poll`.  Of several wakers only the newest is called."""
        if self._token is None:
            self._token = self._reactor.register(self._seconds, wake)
            return PENDING
        return PENDING if self._reactor.rearm(self._token, wake) else self._value


class Then(Awaitable[U], Generic[T, U]):
    """First one future, then another that a function makes of its value.

    States: waiting for the first; waiting for the second.
    """

    def __init__(self, first: Future[T], following: Callable[[T], Future[U]]) -> None:
        self._first = first
        self._following = following
        self._second: Future[U] | None = None

    def poll(self, wake: Wake) -> U | Poll:
        """As `Future.poll`."""
        if self._second is None:
            value = self._first.poll(wake)
            if isinstance(value, Poll):
                return PENDING
            self._second = self._following(value)
        return self._second.poll(wake)


class JoinAll(Awaitable[list[T]], Generic[T]):
    """All of them side by side; gives their values, in their order.

    A wake does not say for whom it is, so all that are pending are polled again.
    """

    def __init__(self, futures: Iterable[Future[T]]) -> None:
        self._pending = dict(enumerate(futures))
        self._values: dict[int, T] = {}

    def poll(self, wake: Wake) -> list[T] | Poll:
        """As `Future.poll`."""
        for number, future in list(self._pending.items()):
            value = future.poll(wake)
            if not isinstance(value, Poll):
                self._values[number] = value
                del self._pending[number]
        if self._pending:
            return PENDING
        return [self._values[number] for number in sorted(self._values)]


class Begin:
    """What a coroutine waits for that has not begun: nothing."""

    def poll(self, _: Wake) -> None:
        """As `Future.poll`."""


class Coroutine(Awaitable[T]):
    """A Python coroutine as a future; it may await futures, and coroutines that do.

    It keeps the future that the coroutine waits for.  A poll polls that; once that has its value,
    the coroutine runs on to the next one.
    """

    def __init__(self, coroutine: PythonCoroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._awaited: Future[Any] = Begin()

    def poll(self, wake: Wake) -> T | Poll:
        """As `Future.poll`.  Raises what the coroutine raises."""
        try:
            while (value := self._poll_awaited(wake)) is not PENDING:
                self._awaited = self._coroutine.send(value)
        except StopIteration as stop:
            result: T = stop.value
            return result
        return PENDING

    def _poll_awaited(self, wake: Wake) -> object:
        """The value of what is awaited, if need be after a failure that the coroutine handled."""
        while True:
            try:
                return self._awaited.poll(wake)
            except Exception as error:  # noqa: BLE001 - it is raised at the `await`
                self._awaited = self._coroutine.throw(error)
