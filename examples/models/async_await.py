"""The chain of promises.py, as a function that stops where it waits."""

from weft.models.async_await import go
from weft.models.callbacks import Runtime
from weft.models.clock import Clock
from weft.models.promises import timer


def main(clock: Clock) -> None:
    runtime = Runtime(clock)

    async def chain() -> None:
        await timer(runtime, 200)
        await timer(runtime, 100)
        await timer(runtime, 50)
        print("I'm the last one")

    runtime.run(lambda: go(runtime, chain()))


if __name__ == "__main__":
    main(Clock())
