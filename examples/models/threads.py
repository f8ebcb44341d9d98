"""Waits in turn and side by side, on OS threads.

Three tasks: one takes 200 ms; another 100 ms and then, inside it, a third that takes 50.
The same in callbacks.py, promises.py and async_await.py.
"""

from weft.models.clock import Clock
from weft.models.threads import Thread


def main(clock: Clock) -> None:
    def first() -> None:
        clock.sleep(0.200)
        print("We create tasks which gets run when they're finished!")

    def second() -> None:
        clock.sleep(0.100)
        print("We can even chain callbacks...")
        Thread(clock, third).join()

    def third() -> None:
        clock.sleep(0.050)
        print("...like this!")

    print("So we start the program here!")
    threads = [Thread(clock, first), Thread(clock, second)]
    print("While our tasks are executing we can do other stuff here.")
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Clock())
