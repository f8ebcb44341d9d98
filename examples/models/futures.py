"""Two lazy futures, awaited in turn and then side by side.

Lazy: the second begins when the first is done, unless it is spawned.
"""

from weft.models.clock import Clock
from weft.models.executor import Executor
from weft.models.futures import Coroutine, Timer
from weft.models.reactor import Reactor


def main(clock: Clock, *, spawn: bool = False) -> None:
    with Reactor(clock) as reactor:
        executor = Executor(clock)
        start = clock.now()

        async def report(number: int) -> None:
            value = await Timer(reactor, number, number)
            print(f"Got {value} at time: {clock.now() - start:.2f}.")

        async def both() -> None:
            futures = [Coroutine(report(1)), Coroutine(report(2))]
            for future in [executor.spawn(future) for future in futures] if spawn else futures:
                await future

        executor.block_on(Coroutine(both()))


if __name__ == "__main__":
    print("in turn")
    main(Clock())
    print("side by side")
    main(Clock(), spawn=True)
