"""Three waits in turn, 350 ms in all, as a chain of promises."""

from weft.models.callbacks import Runtime
from weft.models.clock import Clock
from weft.models.promises import timer


def main(clock: Clock) -> None:
    runtime = Runtime(clock)

    def program() -> None:
        (
            timer(runtime, 200)
            .then(lambda _: timer(runtime, 100))
            .then(lambda _: timer(runtime, 50))
            .then(lambda _: print("I'm the last one"))
        )

    runtime.run(program)


if __name__ == "__main__":
    main(Clock())
