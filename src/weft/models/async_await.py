"""async and await, over promises: a function that stops where it waits.

An ``async def`` is a function that the compiler has cut at each ``await``.  Somebody must carry
what it waits for to where it stopped: `go` does, and that is all there is to it.  The coroutine
hands out a promise and stops; when that settles, it is sent the value, or thrown the exception,
and runs on to the next one.

As in JavaScript it is eager: the first step is taken in `go`.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from weft.models.callbacks import Runtime
from weft.models.promises import Promise

T = TypeVar("T")


def go(runtime: Runtime, coroutine: Coroutine[Promise[Any], Any, T]) -> Promise[T]:
    """Run the coroutine until it first waits; the promise of what it returns in the end.

    It may await promises, and other coroutines that do.
    """

    def begin(resolve: Callable[[Any], None], reject: Callable[[BaseException], None]) -> None:
        def step(resume: Callable[[Any], Promise[Any]], outcome: Any) -> None:
            try:
                promise = resume(outcome)
            except StopIteration as stop:
                resolve(stop.value)
            except Exception as error:  # noqa: BLE001 - that is what rejections are
                reject(error)
            else:
                promise.then(
                    lambda value: step(coroutine.send, value),
                    lambda error: step(coroutine.throw, error),
                )

        step(coroutine.send, None)

    return Promise(runtime, begin)
