"""Waits in turn and side by side, as callbacks; compare threads.py."""

from weft.models.callbacks import Runtime
from weft.models.clock import Clock


def main(clock: Clock) -> None:
    runtime = Runtime(clock)

    def first() -> None:
        print("We create tasks with a callback that runs once the task finished!")

    def second() -> None:
        print("We can even chain sub-tasks...")
        runtime.set_timeout(50, lambda: print("...like this!"))

    def program() -> None:
        print("So we start the program here!")
        runtime.set_timeout(200, first)
        runtime.set_timeout(100, second)
        print("While our tasks are executing we can do other stuff instead of waiting.")

    runtime.run(program)


if __name__ == "__main__":
    main(Clock())
